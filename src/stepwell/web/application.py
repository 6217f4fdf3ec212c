"""The ASGI application: which address is which page, and what lies around all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from stepwell.app import Stepwell
from stepwell.config import checked_tokens, web_tokens
from stepwell.errors import DefinitionError
from stepwell.web import (
    addresses,
    charts,
    download,
    live,
    matching,
    metrics,
    run,
    schedules,
    settings,
    starting,
    system,
    tasks,
    views,
    workers,
    workflows,
)
from stepwell.web.access import Access, Auth, Role, User, role_of
from stepwell.web.api.answers import problem_response
from stepwell.web.api.routes import Answering, api_routes
from stepwell.web.health import health_of
from stepwell.web.opening import HEALTH, Opened, Opening, is_of_program
from stepwell.web.redaction import Redactor
from stepwell.web.security import HEADERS, Security
from stepwell.web.site import Site, Visit

REDACT: Final = ("password", "token", "secret")


def create_app(
    app: Stepwell,
    *,
    auth: Auth | None = None,
    read_only: bool = False,
    redact: Iterable[str] = REDACT,
    tokens: Mapping[str, str] | None = None,
) -> Starlette:
    """The pages and the HTTP API of an app, as an ASGI application. It can be mounted under any prefix.

    Served by itself, it opens the app when it starts, and closes it when it is shut down. Where it is mounted, nobody tells it of either:
    it opens the app with the first request, unless the application around it has done so, which can also close it (`async with app`).

    Args:
        app: whose runs are shown.
        auth: given each request, says whose it is: a role (`"viewer"`, `"operator"` or `"admin"`), a `stepwell.web.User`, or None for
            nobody. It may be an `async def`. Left out, whoever has a token gets in; where there are no tokens either, everybody.
        read_only: nobody may do more than look.
        redact: parts of names of fields whose values are hidden in inputs, outputs and payloads.
        tokens: roles by bearer token, each of 16 characters or more. Left out: STEPWELL_WEB_TOKENS, else `web_tokens` of
            [tool.stepwell] in pyproject.toml.

    Raises:
        DefinitionError: an option is not what it should be.

    Example:
        fastapi_app.mount("/stepwell", create_app(app, auth=lambda request: "admin" if request.user.is_staff else None))
    """
    if not isinstance(app, Stepwell):
        raise DefinitionError(f"create_app takes a Stepwell, not {app!r}")
    if isinstance(redact, str):
        raise DefinitionError(f"redact takes several names, such as ({redact!r},)")
    roles = {token: role_of(word) for token, word in (web_tokens() if tokens is None else checked_tokens(tokens)).items()}
    access = Access(auth, roles, read_only=read_only)
    site = Site(app, access, Redactor(redact))
    opening = Opening(app)
    application = Starlette(
        routes=_routes(site, opening),
        middleware=[
            Middleware(Security, has_token=access.has_token),
            Middleware(GZipMiddleware, minimum_size=1_000, compresslevel=5),
            Middleware(Opened, opening=opening, problem_page=_problem_page(site)),
        ],
        exception_handlers={HTTPException: site.refused, Exception: _broken(site)},
        lifespan=_lifespan(site),
    )
    site.router = application.router
    application.state.site = site
    return application


def _routes(site: Site, opening: Opening) -> list[BaseRoute]:
    addresses.register()

    def page(path: str, handler: Any, name: str) -> Route:
        return Route(path, site.page(handler), name=name, methods=["GET"])

    def deed(path: str, handler: Any, name: str, role: Role = Role.OPERATOR) -> Route:
        return Route(path, site.page(handler, role), name=name, methods=["POST"])

    return [
        page("/", _home, "home"),
        page("/tasks", tasks.show, "tasks"),
        deed("/tasks", tasks.act, "act_on_tasks"),
        page("/tasks/matching", matching.show, "matching"),
        page("/runs/new", starting.show, "new_run"),
        deed("/runs/new", starting.start, "start_run"),
        page("/runs/{run_id}.json", download.run_json, "run_json"),
        page("/runs/{run_id}", run.show, "run"),
        page("/runs/{run_id}/rerun", starting.show_again, "rerun"),
        deed("/runs/{run_id}/rerun", starting.start_again, "start_again"),
        deed("/runs/{run_id}/{action}", run.act, "act_on_run"),
        page("/workflows", workflows.show, "workflows"),
        page("/workflows/{name:name}", workflows.show_one, "workflow"),
        deed("/workflows/{name:name}", workflows.act, "act_on_workflow", Role.ADMIN),
        page("/schedules", schedules.show, "schedules"),
        page("/schedules/{workflow:name}/{name:names}", schedules.show_one, "schedule"),
        deed("/schedules/{workflow:name}/{name:names}", schedules.act, "act_on_schedule"),
        page("/workers", workers.show, "workers"),
        deed("/workers", workers.act, "act_on_workers", Role.ADMIN),
        page("/charts", charts.show, "charts"),
        page("/charts.json", charts.data, "charts_json"),
        page("/system", system.show, "system"),
        page("/-/events", live.stream, "events"),
        deed("/-/views", views.change, "views", Role.VIEWER),
        deed("/-/settings", settings.change, "settings", Role.VIEWER),
        *api_routes(site),
        Route(HEALTH, health_of(site, opening), name="health", methods=["GET"]),
        Route("/metrics", Answering(site, {"GET": metrics.show}), name="metrics"),
        Route("/static/{hash}/{name:path}", site.static.serve, name="static", methods=["GET"]),
    ]


async def _home(visit: Visit) -> Response:
    return RedirectResponse(visit.url("tasks"), status_code=307)


def _broken(site: Site) -> Callable[[Request, Exception], Awaitable[Response]]:
    """What is answered where something is wrong with the program. It tells nothing of the error, which the server logs."""
    page = _problem_page(site)

    async def broken(request: Request, error: Exception) -> Response:
        answer = problem_response(error) if is_of_program(request.scope) else page(request, error)
        answer.headers.update({**HEADERS, "cache-control": "no-store"})  # this is around all else
        return answer

    return broken


def _problem_page(site: Site) -> Callable[[Request, Exception], Response]:
    """A page for somebody of whom nobody knows who it is."""
    return lambda request, error: site.problem_page(request, User(role=Role.VIEWER), error)


def _lifespan(site: Site) -> Any:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with site.app:
            site.live.open()
            try:
                yield
            finally:
                site.live.close()
                await site.live.closed()
                await site.batches.close()

    return lifespan
