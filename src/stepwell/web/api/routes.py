"""The addresses of the API: finds the operation of a request, sees that it may be done, does it, and answers."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote

from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route

from stepwell.web.access import NotAllowed, Role, User
from stepwell.web.addresses import prefix_of
from stepwell.web.api.answers import Reply, json_response, problem_response
from stepwell.web.api.calls import Call, Operation
from stepwell.web.api.given import Given, Misfit, Which, from_body, from_query
from stepwell.web.api.openapi import document
from stepwell.web.api.operations import OPERATIONS
from stepwell.web.api.runs import list_runs
from stepwell.web.problems import EXPECTED

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from stepwell.web.site import Site, Visit


_TOLD: Final[tuple[type[Exception], ...]] = (*EXPECTED, HTTPException, Misfit)


def api_routes(site: Site) -> list[BaseRoute]:
    """All of them: the page for people, the document, the operations, and what is none."""
    return [
        Route("/api", site.page(show), name="api", methods=["GET"]),
        Route("/api/openapi.json", Answering(site, {"GET": _document}), name="openapi"),
        *(_AnyName(f"/api{path}", _endpoint(site, found)) for path, found in groupby(OPERATIONS, lambda operation: operation.path)),
        _AnyName("/api/{rest:path}", Answering(site, {})),
    ]


class _AnyName(Route):
    """A route whose names may hold whatever a name can: a line break, and, where it is encoded as `%2F`, a slash."""

    def __init__(self, path: str, endpoint: Answering) -> None:
        super().__init__(path, endpoint)
        self.path_regex = re.compile(self.path_regex.pattern, re.DOTALL)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As Starlette has it, on the path as it was sent: in a decoded one, nobody can tell whose a slash is."""
        sent = _path_as_sent(scope)
        if sent is None:
            return super().matches(scope)
        found, child = super().matches({**scope, "path": sent, "root_path": ""})
        if found is not Match.NONE:
            child["path_params"] = {name: unquote(part) for name, part in child["path_params"].items()}
        return found, child


def _path_as_sent(scope: Scope) -> str | None:
    """Below the prefix; None: the server does not tell, or what lies between has changed it."""
    sent = scope.get("raw_path", b"").decode("latin-1").partition("?")[0]
    prefix = quote(scope.get("root_path", ""))
    is_same = unquote(sent) == scope["path"] and sent.startswith(prefix)
    return sent.removeprefix(prefix) if is_same and scope["type"] == "http" else None


class Answering:
    """One address of programs: what is done there by each method, for those whom the site knows. Problems are told as JSON."""

    def __init__(self, site: Site, methods: dict[str, Callable[[Site, Request, User], Awaitable[Response]]]) -> None:
        self._site = site
        self.methods = methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        request = Request(scope, receive)
        try:
            user = await self._site.access.user(request)
            response = await self._method(request)(self._site, request, user)
        except _TOLD as error:
            response = problem_response(error)
        await response(scope, receive, send)

    def _method(self, request: Request) -> Callable[[Site, Request, User], Awaitable[Response]]:
        if not self.methods:
            raise HTTPException(404, f"there is nothing at {request.url.path}; /api says what there is")
        found = self.methods.get("GET" if request.method == "HEAD" else request.method)
        if found is None:
            allowed = [*self.methods, *(["HEAD"] if "GET" in self.methods else [])]
            raise HTTPException(405, f"this address takes {', '.join(allowed)}", headers={"allow": ", ".join(allowed)})
        return found


def _endpoint(site: Site, operations: Iterable[Operation]) -> Answering:
    return Answering(site, {operation.method: _doing(operation) for operation in operations})


def _doing(operation: Operation) -> Callable[[Site, Request, User], Awaitable[Response]]:
    async def do(site: Site, request: Request, user: User) -> Response:
        if not user.may(operation.role):
            raise NotAllowed(operation.role)
        given: Given = await _given(request, operation)
        if isinstance(given, Which):
            given.without_finding(site.redact.names)
        answer: Any = await operation.handler(Call(app=site.app, request=request, user=user, given=given, hides=site.redact.hides))
        if operation.answers is None:
            return Response(status_code=operation.status)
        if isinstance(answer, Reply):
            return json_response(answer.value, site.redact, answer.status, answer.headers)
        return json_response(answer, site.redact, operation.status)

    return do


async def _given(request: Request, operation: Operation) -> Given:
    return await from_body(request, operation.takes) if operation.method == "POST" else from_query(request, operation.takes)


async def _document(_: Site, request: Request, user: User) -> Response:
    if not user.may(Role.VIEWER):
        raise NotAllowed(Role.VIEWER)
    return Response(to_json(document(OPERATIONS, prefix_of(request.scope))), media_type="application/json")


async def show(visit: Visit) -> Response:
    """The page for people."""
    groups = [(tag, list(found)) for tag, found in groupby(OPERATIONS, lambda operation: operation.path.split("/")[1])]
    return visit.page(
        "api.html",
        tab="api",
        groups=groups,
        given=given_names,
        base=f"{visit.request.url.scheme}://{visit.request.url.netloc}{visit.url('api')}",
    )


def given_names(operation: Operation) -> list[tuple[str, bool, str]]:
    """What an operation takes: name, whether it must be given, and what it is. The filters of runs are named once."""
    fields = operation.takes.model_fields
    said_before = Which.model_fields.keys() if issubclass(operation.takes, Which) and operation.handler is not list_runs else ()
    own = [(name, field.is_required(), field.description or "") for name, field in fields.items() if name not in said_before]
    return [("filters", False, "Those of GET /api/runs: status, workflow and so on"), *own] if said_before else own
