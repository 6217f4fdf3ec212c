"""Serves the pages of an app from this process: the socket, who may come, and how it ends."""

from __future__ import annotations

import ipaddress
import logging
import socket
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final

from stepwell.cli.command import BadUsage, Failed
from stepwell.config import web_tokens

if TYPE_CHECKING:
    from stepwell.app import Stepwell

PORT: Final = 8265

_NEXT: Final = 20
"""Ports after the one that was asked for, among which a free one is looked for."""

_TO_END: Final = 2
"""Seconds that answers under way have when it stops. Streams of events have no end of their own."""

_HERE: Final = ("localhost", "127.0.0.1", "::1", "[::1]")


def bound(host: str, port: int, *, or_next: bool = False) -> socket.socket:
    """A socket that listens there; with `or_next`, on the next free port if that one is taken.

    Raises:
        BadUsage: there is no such address.
        Failed: the port is taken, or not ours to take.
    """
    family, address = _address(host, port)
    for number in range(port, port + (_NEXT if or_next and port else 1)):
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((address, number))
            listening.listen(128)
        except OSError as error:
            listening.close()
            problem = error
        else:
            return listening
    raise Failed(f"port {port} on {host} cannot be had: {problem.strerror or problem}; give another one with --port, or 0 for any")


def _address(host: str, port: int) -> tuple[socket.AddressFamily, str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise BadUsage(f"--host {host!r} is no address of this machine: {error.strerror or error}") from None
    family, _, _, _, address = found[0]
    return family, str(address[0])


def refuse_open_door(host: str) -> None:
    """Raises BadUsage: others than this machine could come in, and nobody would ask who they are."""
    if is_loopback(host) or web_tokens():
        return
    raise BadUsage(
        f"--host {host} lets others in, and nobody is asked who he is; set STEPWELL_WEB_TOKENS, such as `a-long-random-text=admin`, or "
        "mount stepwell.web.create_app(app, auth=…) in an application of yours"
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches that address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def url_of(listening: socket.socket) -> str:
    """Where a browser finds it."""
    host, port = listening.getsockname()[:2]
    shown = "localhost" if host in {"0.0.0.0", "::"} else host  # noqa: S104  # only looked at
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


def server_of(app: Stepwell, host: str, *, read_only: bool = False) -> Any:
    """A server of the app's pages; `serve(sockets=[…])` serves until `should_exit` is set. It leaves signals alone.

    On an address of this machine alone, without tokens, it answers only to the names of this machine: a page from elsewhere that a browser
    was led to believe lies here finds nobody.
    """
    import uvicorn  # noqa: PLC0415  # only what serves pages takes it
    from starlette.middleware.trustedhost import TrustedHostMiddleware  # noqa: PLC0415

    from stepwell.web import create_app  # noqa: PLC0415

    application: Any = create_app(app, read_only=read_only)
    if is_loopback(host) and not web_tokens():
        application = TrustedHostMiddleware(application, allowed_hosts=[*_HERE, host], www_redirect=False)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)

    class Server(uvicorn.Server):
        def capture_signals(self) -> Any:  # of a generator, as it is there
            """Whoever serves hears of signals by himself."""
            return nullcontext()

    config = uvicorn.Config(
        application,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_TO_END,
    )
    return Server(config)
