"""Opens the app with the first request, where nobody has opened it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from starlette.requests import Request

from stepwell.app import Stepwell
from stepwell.errors import DatabaseTooNew, DatabaseUnavailable
from stepwell.web.api.answers import problem_response

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

HEALTH: Final = "/healthz"
"""What is asked for there opens the app by itself, and waits no longer than it says."""


class Opening:
    """Opens an app once, however many ask for it at the same time."""

    def __init__(self, app: Stepwell) -> None:
        self._app = app
        self._task: asyncio.Task[None] | None = None

    async def opened(self) -> None:
        """Wait until the app is open. Who stops waiting does not stop the others.

        Raises:
            DatabaseUnavailable: it could not be opened. The next call tries again.
            DatabaseTooNew: nor will it be.
        """
        if self._app.is_open:
            return
        loop = asyncio.get_running_loop()
        if self._task is None or self._task.done() or self._task.get_loop() is not loop:
            self._task = loop.create_task(self._app.open(), name="stepwell-web-open")
            self._task.add_done_callback(seen)
        await asyncio.shield(self._task)


def seen(task: asyncio.Task[None]) -> None:
    """All who waited may have gone: nobody else looks at its error then."""
    if not task.cancelled():
        task.exception()


class Opened:
    """Opens the app before a request is answered. Files need none: without it there is a page that says so, which has them.

    Args:
        app: what answers.
        opening: of the app of Stepwell.
        problem_page: makes that page.
    """

    def __init__(self, app: ASGIApp, opening: Opening, problem_page: Callable[[Request, Exception], Response]) -> None:
        self._app = app
        self._opening = opening
        self._problem_page = problem_page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] == "http" and _path(scope) != HEALTH and not _path(scope).startswith("/static/"):
            try:
                await self._opening.opened()
            except (DatabaseUnavailable, DatabaseTooNew) as error:
                answer = problem_response(error) if is_of_program(scope) else self._problem_page(Request(scope), error)
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)


def is_of_program(scope: Scope) -> bool:
    """Whether it was asked for by a program rather than a person."""
    return _path(scope) == "/metrics" or _path(scope).startswith("/api/")


def _path(scope: Scope) -> str:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))
