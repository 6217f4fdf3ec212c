"""Asks pages as whoever it may be: the addresses of all routes, and clients with tokens, without, and behind a prefix."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from httpx import ASGITransport, AsyncClient, Response
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from stepwell import Stepwell
from stepwell.web import create_app
from stepwell.web.security import HEADERS

UNKNOWN: Final = "0197aaaa-0000-7000-8000-000000000000"

GIVEN: Final = {
    "run_id": UNKNOWN,
    "action": "pause",
    "name": "send_mail",
    "workflow": "send_mail",
    "worker": "w",
    "queue": "q",
    "hash": "0",
    "rest": "x",
}


def paths_of(method: str) -> list[str]:
    """An address for each route that takes this method. Streams have a test of their own."""
    routes = [route for route in create_app(Stepwell("sqlite://"), tokens={}).routes if isinstance(route, Route)]
    taking = [route for route in routes if method in (route.methods or {"GET", "POST"}) and route.name != "events"]
    return sorted({_filled(route) for route in taking})


def _filled(route: Route) -> str:
    path = route.path
    for name, convertor in route.param_convertors.items():
        path = path.replace(f"{{{name}:{_kind(route, name)}}}", GIVEN[name]).replace(f"{{{name}}}", GIVEN[name])
        assert convertor is not None
    return path


def _kind(route: Route, name: str) -> str:
    return route.path.partition(f"{{{name}:")[2].partition("}")[0]


GETS: Final = paths_of("GET")
POSTS: Final = paths_of("POST")


@asynccontextmanager
async def client_of(
    app: Stepwell, *, prefix: str = "", headers: dict[str, str] | None = None, **options: Any
) -> AsyncIterator[AsyncClient]:
    """Somebody who asks the pages; without tokens and `auth` he may do all."""
    pages = create_app(app, **{"tokens": {}, **options})
    asgi = Starlette(routes=[Mount(prefix, pages)]) if prefix else pages
    transport = ASGITransport(asgi, raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://testserver", headers=headers) as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def basic(name: str, token: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{token}".encode()).decode()}


def lacking(answer: Response) -> set[str]:
    """The headers of every answer that this one has not, or with another value."""
    return {name for name, value in HEADERS.items() if answer.headers.get_list(name) != [value]}
