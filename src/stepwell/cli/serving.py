"""Serves the pages of an app from this process: the socket, who may come, and how it ends."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import os
import socket
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final

from stepwell.cli.command import BadUsage, Failed
from stepwell.config import web_tokens

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from stepwell.app import Stepwell

PORT: Final = 8265

_NEXT: Final = 50
"""Ports after the one that was asked for, among which a free one is looked for."""

_LAST: Final = 65_535

_WAITING: Final = 128
"""Connections that wait to be taken. While code is reloaded they wait for the new one."""

_TO_END: Final = 2
"""Seconds that answers under way have when it stops."""

_HERE: Final = ("localhost", "127.0.0.1", "[::1]")


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        BadUsage: there is no such address, or it is not this machine's.
        Failed: the port is taken, or not ours to take.
    """
    family, address = _address(host)
    try:
        return _listening(family, address, port)
    except OSError as error:
        free = _free_after(family, address, port) if _is_taken(error) else None
        advice = f"{free} is free: --port {free}" if free else "give another one with --port, or 0 for any that is free"
        raise Failed(f"port {port} on {host} cannot be had: {error.strerror or error}; {advice}") from None


def bound_or_next(host: str, port: int) -> socket.socket:
    """A socket that listens there, or on the next port that is free. Raises BadUsage and Failed, as `bound` does."""
    family, address = _address(host)
    for number in range(port, min(port + _NEXT, _LAST) + 1):
        try:
            return _listening(family, address, number)
        except OSError as error:
            if not _is_taken(error):
                break
    return bound(host, port)


def _address(host: str) -> tuple[socket.AddressFamily, str]:
    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE) if host else []
    except (OSError, UnicodeError) as error:
        raise BadUsage(f"--host {host!r} is no address: {getattr(error, 'strerror', None) or error}") from None
    if not found:
        raise BadUsage("--host takes an address of this machine, such as 127.0.0.1")
    family, _, _, _, address = found[0]
    return family, str(address[0])


def _listening(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere it would let others have the same port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, port))
        listening.listen(_WAITING)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise BadUsage(f"--host: this machine has no address {address}") from None
        raise
    return listening


def _is_taken(error: OSError) -> bool:
    return error.errno == errno.EADDRINUSE


def _free_after(family: socket.AddressFamily, address: str, port: int) -> int | None:
    """The next port that is free just now."""
    for number in range(port + 1, min(port + _NEXT, _LAST) + 1):
        try:
            _listening(family, address, number).close()
        except OSError:
            continue
        return number
    return None


# -- who may come


def refuse_open_door(host: str) -> None:
    """Raises BadUsage: others than this machine could come in, and nobody would ask who they are; or there is no such address."""
    if is_loopback(host) or web_tokens():
        return
    raise BadUsage(
        f"--host {host} lets others in, and nobody is asked who they are; set STEPWELL_WEB_TOKENS=a-long-random-text=admin, or web_tokens "
        "in [tool.stepwell] of pyproject.toml, or mount stepwell.web.create_app(app, auth=…) in an application of yours"
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches that address. Raises BadUsage: it is none."""
    return ipaddress.ip_address(_address(host)[1].partition("%")[0]).is_loopback


def url_of(listening: socket.socket) -> str:
    """Where a browser on this machine finds it."""
    host, port = listening.getsockname()[:2]
    shown = "localhost" if host in {"0.0.0.0", "::"} else host  # noqa: S104  # only looked at
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


# -- the server


@asynccontextmanager
async def serving(app: Stepwell, listening: socket.socket, host: str, *, read_only: bool = False) -> AsyncIterator[None]:
    """Serve the pages of an open app meanwhile. What is asked for when it ends is still answered, and streams of events are closed.

    On an address of this machine alone, without tokens, it answers only to the names of this machine: a page from elsewhere that a browser
    was led to believe lies here finds nobody.
    """
    from stepwell.web import create_app  # noqa: PLC0415  # only what serves pages takes it
    from stepwell.web.security import KnownHosts  # noqa: PLC0415

    pages = create_app(app, read_only=read_only)
    is_open = is_loopback(host) and not web_tokens()
    server = _server(KnownHosts(pages, (*_HERE, host)) if is_open else pages)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve(sockets=[listening]))
        try:
            yield
        finally:
            pages.state.site.live.close()  # streams have no end of their own
            server.should_exit = True


def _server(application: Any) -> Any:
    import uvicorn  # noqa: PLC0415  # it takes a while, and only what serves pages needs it

    class Server(uvicorn.Server):
        def capture_signals(self) -> Any:  # of a generator, as it is there
            """Whoever serves hears of signals by himself."""
            return nullcontext()

    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    config = uvicorn.Config(
        application,
        lifespan="on",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_TO_END,
    )
    return Server(config)
