"""What may be given to an operation: models of parameters and bodies, and how a request is read as one. Unknown names are refused.

Says whether something has the right form. Whether it makes sense, the app says, as it does to Python.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from types import NoneType
from typing import Annotated, Any, Final, Literal, TypeVar, get_args

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from stepwell.core.filters import MAX_PAGE, Filters
from stepwell.core.status import RunStatus
from stepwell.web.api.inputs import member

MAX_BODY: Final = 16 * 1024 * 1024
"""Bytes that a body may have."""

_WHOLE: Final = re.compile(r"-?[0-9]{1,18}")
_BOOLEANS: Final = {"true": True, "false": False}
_SAID: Final = {"extra_forbidden": "there is no such name", "missing": "it is missing"}
"""What pydantic says in other words."""


class Misfit(Exception):
    """What was given has not the right form.

    Attributes:
        errors: what is wrong, each with a `detail`, and the `parameter` or the `pointer` into the body that it is about.
    """

    def __init__(self, errors: list[dict[str, str]]) -> None:
        super().__init__("; ".join(f"{error.get('parameter') or error.get('pointer')}: {error['detail']}" for error in errors))
        self.errors = errors


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _instant(value: object) -> object:
    """Pydantic would take a number for seconds since 1970, also as a text."""
    if not isinstance(value, str):
        raise ValueError("a time is a text")  # noqa: TRY004  # pydantic tells no other
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("no time as ISO 8601 has it, such as 2026-01-31T12:00:00Z") from None


Instant = Annotated[AwareDatetime, BeforeValidator(_instant, json_schema_input_type=datetime)]
Statuses = Annotated[list[RunStatus], BeforeValidator(_listed, json_schema_input_type=RunStatus | list[RunStatus])]
Tags = Annotated[list[str], BeforeValidator(_listed, json_schema_input_type=str | list[str])]
Limit = Annotated[int, Field(ge=1, le=MAX_PAGE, description="How many at most.")]


class Given(BaseModel):
    """What an operation takes."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, strict=True)

    _sent: str = PrivateAttr(default="{}")

    def sent(self, name: str) -> str | None:
        """The JSON text of a field of the body, as it was sent; None: it was not."""
        return member(self._sent, name)


GivenT = TypeVar("GivenT", bound=Given)


class Nothing(Given):
    """Of operations that take nothing."""


class Which(Given):
    """Which runs are meant. What is left out is no filter; of several, all must fit."""

    status: Statuses | None = None
    """Any of these."""
    workflow: str | None = None
    """The name of the workflow."""
    version: str | None = None
    """Of the workflow; empty: without a version."""
    tags: Tags | None = None
    """All of these."""
    queue: str | None = None
    created_after: Instant | None = None
    """Created then or later."""
    created_before: Instant | None = None
    """Created earlier than that."""
    finished_before: Instant | None = None
    """Ended earlier than that; runs that have not ended are not meant."""
    search: str | None = None
    """Part of the id, key, workflow, a tag, the beginning of the input, or the error; great and small letters alike."""
    id_prefix: str | None = None
    """How the id begins."""

    _unseen: tuple[str, ...] = PrivateAttr(default=())

    def without_finding(self, names: tuple[str, ...]) -> None:
        """Find none by what lies under names with these parts."""
        self._unseen = names

    @property
    def filters(self) -> Filters:
        """As the app takes them."""
        given: Filters = {name: getattr(self, name) for name in Filters.__annotations__ if getattr(self, name) is not None}  # type: ignore[assignment]
        if self.search and self._unseen:
            given["unseen"] = self._unseen  # type: ignore[typeddict-unknown-key]  # no filter of users
        return given


class Listed(Which):
    """A page of the runs that match."""

    order: Literal["newest", "oldest"] = "newest"
    """Which come first."""
    limit: Limit = 100
    cursor: str | None = None
    """`next_cursor` of the page before, with the same filters and order."""


class All(Which):
    """All runs that match: a filter, or `everything`."""

    everything: bool = False
    """Must be true where there is no filter."""


class SignalAll(All):
    """A signal to all live runs that match."""

    name: str
    payload: Any = None


class Started(Given):
    """What may be said of runs that are started."""

    workflow: str
    """The name of the workflow."""
    version: str | None = None
    """Which one; left out, the one without a version, else the newest."""
    delay: str | None = None
    """Not before this time is over: `90s`, `1h30m`."""
    at: Instant | None = None
    """Not before this time."""
    timeout: str | None = None
    """How long after it was due the run fails, instead of the workflow's: `90s`, `1h30m`."""
    priority: int | None = None
    """Instead of the workflow's: higher first."""
    queue: str | None = None
    """Instead of the workflow's."""
    tags: Tags | None = None
    """To find it by."""


class Start(Started):
    """A run to start."""

    input: Any = None
    """What the workflow's function gets."""
    key: str | None = None
    """An idempotency key of the workflow: a second start with it gives the first run."""


class StartMany(Started):
    """A run to start for each input."""

    inputs: list[Any] = Field(max_length=10_000)


class Fork(Given):
    """From where a new run goes on."""

    from_step: str
    """The key of the first step to do again."""
    input: Any = None
    """Instead of that run's; left out, the same."""
    version: str | None = None
    """Instead of that run's; left out, the same; null: the function without one."""


class Signal(Given):
    """A signal to a run."""

    name: str
    payload: Any = None


class Lines(Given):
    """Which lines of a log."""

    after: int = Field(default=0, ge=0, le=2**53)
    """Leave out so many lines: `next_after` of the page before."""
    limit: int = Field(default=1_000, ge=1, le=10_000)
    """How many at most."""


class Attempts(Given):
    """Which attempts of steps."""

    step: str | None = None
    """Only those of the step with this key."""
    attempt: int | None = Field(default=None, ge=1, le=2**31 - 1)
    """Only those of this number."""
    limit: Limit = 100
    cursor: str | None = None
    """`next_cursor` of the page before."""


class Named(Given):
    """Which workflows."""

    find: str = ""
    """Only those with this text in their names."""
    limit: Limit = 100
    cursor: str | None = None
    """`next_cursor` of the page before, with the same text."""


class ScheduleList(Given):
    """Which schedules."""

    ended: bool = False
    """Also those that no release declares any more."""
    find: str = ""
    """Only those with this text in their names, or in those of their workflows."""
    limit: Limit = 100
    cursor: str | None = None
    """`next_cursor` of the page before, with the same text."""


class Preview(Given):
    """How many slots."""

    count: Limit = 5


class Slots(Given):
    """Which records of slots."""

    limit: Limit = 100
    before: int | None = Field(default=None, ge=0, le=2**53)
    """`next_before` of the page before."""


class Backfill(Given):
    """The slots of a time."""

    start: Instant
    """The first instant."""
    end: Instant
    """The instant before which it ends."""


# -- reading


def from_query(request: Request, kind: type[GivenT]) -> GivenT:
    """The parameters of a request's address. Raises Misfit."""
    given: dict[str, object] = {}
    wrong: list[dict[str, str]] = []
    for name in dict.fromkeys(request.query_params):
        texts = request.query_params.getlist(name)
        if len(texts) > 1 and not _is_list(kind, name):
            wrong.append({"parameter": name, "detail": "given more than once"})
        given[name] = _texts(name, texts) if _is_list(kind, name) else _value(kind, name, texts[0])
    if wrong:
        raise Misfit(wrong)
    try:
        return kind.model_validate_json(to_json(given))
    except ValidationError as error:
        raise Misfit([{"parameter": str(where[0]) if where else "", "detail": said} for where, said in _problems(error)]) from None


async def from_body(request: Request, kind: type[GivenT]) -> GivenT:
    """The body of a request. Raises Misfit, HTTPException: it is too large, or no JSON. Without a body, it is `{}`."""
    if request.query_params:
        raise Misfit([{"parameter": name, "detail": _SAID["extra_forbidden"]} for name in dict.fromkeys(request.query_params)])
    body = await _read(request)
    if not body and not any(field.is_required() for field in kind.model_fields.values()):
        return kind()
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise HTTPException(415, "Content-Type must be application/json")
    try:
        given = kind.model_validate_json(body)
    except ValidationError as error:
        if error.errors(include_url=False, include_input=False)[0]["type"] == "json_invalid":
            raise HTTPException(400, f"the body is no JSON: {error.errors()[0]['msg'].removeprefix('Invalid JSON: ')}") from None
        raise Misfit([{"pointer": pointer(where), "detail": said} for where, said in _problems(error)]) from None
    given._sent = body.decode()  # no field: what is given has none of this name
    return given


def pointer(where: Sequence[int | str]) -> str:
    """`#/input/lines/3`: a place in a body, as a JSON pointer."""
    return "#" + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in where)


async def _read(request: Request) -> bytes:
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length) > MAX_BODY:
        raise HTTPException(413, f"a body has at most {MAX_BODY:,} bytes")
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > MAX_BODY:
                raise HTTPException(413, f"a body has at most {MAX_BODY:,} bytes")
            parts.append(part)
    except ClientDisconnect:
        raise HTTPException(400, "the body has not come to its end") from None
    return b"".join(parts)


def _problems(error: ValidationError) -> list[tuple[tuple[int | str, ...], str]]:
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    return [(problem["loc"], _SAID.get(problem["type"], problem["msg"])) for problem in problems]


def _is_list(kind: type[Given], name: str) -> bool:
    return name in ("status", "tags") and name in kind.model_fields


def _texts(name: str, texts: list[str]) -> list[str]:
    """`status=failed,canceled` is two: no status has a comma."""
    return [part for text in texts for part in text.split(",")] if name == "status" else texts


def _value(kind: type[Given], name: str, text: str) -> object:
    """A parameter, as JSON would have it. What is none stays a text, and is refused."""
    if name not in kind.model_fields:
        return text
    annotation = kind.model_fields[name].annotation
    wanted = {part for part in get_args(annotation) if part is not NoneType} or {annotation}
    if bool in wanted:
        return _BOOLEANS.get(text, text)
    if int in wanted:
        return int(text) if _WHOLE.fullmatch(text) else text
    return text
