"""A call of the API: who calls, with what; and an operation, as its table has it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, get_args, get_origin, get_type_hints

from starlette.requests import Request

from stepwell.app import Stepwell
from stepwell.web.access import Role, User
from stepwell.web.addresses import prefix_of
from stepwell.web.api.answers import Reply
from stepwell.web.api.given import Given, GivenT
from stepwell.web.masking import Hides


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[GivenT]):
    """One call of an operation, checked as to its form and as to who may do that."""

    app: Stepwell
    request: Request
    user: User
    given: GivenT
    hides: Hides
    """Which names have values that are not shown."""

    @property
    def actor(self) -> str:
        """Who acts, as it is kept with each deed."""
        return self.user.actor_by("api")

    def path(self, name: str) -> str:
        """A part of the address."""
        return str(self.request.path_params[name])

    def address(self, path: str) -> str:
        """Of something else in the API, under whatever prefix it is mounted."""
        return f"{prefix_of(self.request.scope)}/api{path}"


Handler = Callable[[Call[Any]], Awaitable[Any]]


@dataclass(frozen=True)
class Operation:
    """What can be asked for, and how. What it takes and answers is read from its handler's annotations, what it does from its docstring."""

    method: str
    path: str
    """`/runs/{run_id}`. A name that may hold slashes is `{name:path}`."""
    handler: Handler
    role: Role
    status: int = 200
    conflicts: bool = False
    """Whether it may be refused for how things stand: 409."""

    @property
    def name(self) -> str:
        """`list_runs`."""
        return self.handler.__name__

    @property
    def summary(self) -> str:
        """The first line of what is said of it."""
        return (inspect.getdoc(self.handler) or "").partition("\n")[0]

    @property
    def description(self) -> str:
        """The rest of that."""
        return (inspect.getdoc(self.handler) or "").partition("\n")[2].strip()

    @cached_property
    def takes(self) -> type[Given]:
        """What is given to it: in the address of a GET or DELETE, in the body of a POST."""
        (given,) = get_args(self._hints["call"])
        kind: type[Given] = given
        return kind

    @cached_property
    def answers(self) -> Any:
        """The annotation of what it answers; None: nothing."""
        answer = self._hints["return"]
        answer = get_args(answer)[0] if get_origin(answer) is Reply else answer
        return None if answer is type(None) else answer

    @property
    def parts(self) -> list[str]:
        """The names in its path."""
        return [part[1:-1].partition(":")[0] for part in self.path.split("/") if part.startswith("{")]

    @property
    def shown_path(self) -> str:
        """`/schedules/{workflow}/{name}`."""
        return self.path.replace(":path}", "}")

    @cached_property
    def _hints(self) -> dict[str, Any]:
        return get_type_hints(self.handler)
