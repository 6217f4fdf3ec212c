"""The addresses of the API: finds the operation of a request, sees that it may be done, does it, and answers."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from stepwell.web.access import NotAllowed, User
from stepwell.web.api.answers import Reply, json_response, problem_response
from stepwell.web.api.calls import Call, Operation
from stepwell.web.api.given import Given, Misfit, from_body, from_query
from stepwell.web.api.openapi import document, parameters
from stepwell.web.api.operations import OPERATIONS
from stepwell.web.problems import EXPECTED

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from stepwell.web.site import Site, Visit


def api_routes(site: Site) -> list[BaseRoute]:
    """All of them: the page for people, the document, the operations, and what is none."""
    return [
        Route("/api", site.page(show), name="api", methods=["GET"]),
        Route("/api/openapi.json", Document(site), name="openapi"),
        *(Route(f"/api{path}", Endpoint(site, found)) for path, found in groupby(OPERATIONS, lambda operation: operation.path)),
        Route("/api/{rest:path}", Endpoint(site, ())),
    ]


class Endpoint:
    """One address, with all that can be done there."""

    def __init__(self, site: Site, operations: Iterable[Operation]) -> None:
        self._site = site
        self._operations = {operation.method: operation for operation in operations}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        request = Request(scope, receive)
        response = await self._answer(request)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        try:
            user = await self._site.access.user(request)
            operation = self._operation(request)
            if not user.may(operation.role):
                raise NotAllowed(operation.role)
            given = await (from_body if operation.method == "POST" else from_query)(request, operation.takes)
            return await self._done(operation, request, user, given)
        except (*EXPECTED, HTTPException, Misfit) as error:
            return problem_response(error, at=("input",))

    def _operation(self, request: Request) -> Operation:
        if not self._operations:
            if request.path_params["rest"] == "":
                raise HTTPException(404, "Not found", {"location": "/api"})
            raise HTTPException(404)
        found = self._operations.get("GET" if request.method == "HEAD" else request.method)
        if found is None:
            raise HTTPException(405, headers={"allow": ", ".join(self._operations)})
        return found

    async def _done(self, operation: Operation, request: Request, user: User, given: Given) -> Response:
        answer: Any = await operation.handler(Call(app=self._site.app, request=request, user=user, given=given))
        if operation.answers is None:
            return Response(status_code=operation.status)
        if isinstance(answer, Reply):
            return json_response(answer.value, self._site.redact, answer.status, answer.headers)
        return json_response(answer, self._site.redact, operation.status)


class Document:
    """The OpenAPI document."""

    def __init__(self, site: Site) -> None:
        self._site = site
