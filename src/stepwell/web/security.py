"""What every answer says to browsers, and which requests were made on purpose. Who may do what is `access`'s."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response

from stepwell.web.api.answers import problem_response
from stepwell.web.opening import is_of_program

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'none'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
"""Nothing from elsewhere, and nothing that is written into a page."""

HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
"""Of every answer."""

_HOST: Final = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::\d*)?")
"""The header of that name: the first group is without the port."""

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Security:
    """Puts the headers on every answer, and refuses what another site has made a browser send.

    Args:
        app: who answers.
        has_token: whether a request shows a bearer token that is known.
    """

    def __init__(self, app: ASGIApp, has_token: Callable[[Headers], bool]) -> None:
        self._app = app
        self._has_token = has_token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    told.setdefault(name, value)
                told.setdefault("cache-control", "no-store")
            await send(message)

        headers = Headers(scope=scope)
        # No browser adds a bearer token by itself: whoever has sent a right one has it. Any other proves nothing, since a cookie, or what
        # `auth` goes by, may decide whose the request is.
        if scope["method"] not in _SAFE and not is_same_site(headers) and not self._has_token(headers):
            await _refusal(scope)(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)


def _refusal(scope: Scope) -> Response:
    said = "this request comes from another site, and nothing was done"
    return problem_response(HTTPException(403, said)) if is_of_program(scope) else PlainTextResponse(f"{said}\n", 403)


def is_same_site(headers: Headers) -> bool:
    """Whether a request that changes something was made by a page of ours, or by a program.

    Browsers say where a request comes from; what says nothing is no browser.
    """
    fetch_site = headers.get("sec-fetch-site")
    if fetch_site is not None:
        return fetch_site == "same-origin"
    origin = headers.get("origin")
    return origin is None or (bool(_host_in(origin)) and _host_in(origin) == headers.get("host"))


def _host_in(origin: str) -> str:
    """With its port; empty: there is none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


class KnownHosts:
    """Answers only to names that are known.

    For what everybody on this machine may use, without being asked who he is: a page from elsewhere whose name was made to lead here
    (DNS rebinding) is then refused, though its browser runs on this machine.

    Args:
        app: who answers.
        names: of hosts, without ports; those of IPv6 in brackets or not.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self._app = app
        self._names = frozenset(_bare(name) for name in names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] == "http" and _bare(_host_of(scope)) not in self._names:
            answer = PlainTextResponse(
                "this name is not one of this machine; come by localhost, or set STEPWELL_WEB_TOKENS to let others in\n", 400, HEADERS
            )
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _host_of(scope: Scope) -> str:
    """The header `Host`, without the port; two of them are none."""
    given = Headers(scope=scope).getlist("host")
    found = _HOST.fullmatch(given[0]) if len(given) == 1 else None
    return found[1] if found else ""


def _bare(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()
