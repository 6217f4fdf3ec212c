"""What users say to choose runs, checked and made into a `RunFilter`. Refuses what would silently choose other runs than were meant."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from difflib import get_close_matches
from typing import Final, Literal, TypeAlias, TypedDict

from stepwell.core.definition import Workflow
from stepwell.core.naming import can_be_kept
from stepwell.core.records import RunFilter
from stepwell.core.status import RunStatus
from stepwell.errors import BadValue

Order: TypeAlias = Literal["newest", "oldest"]

MAX_PAGE: Final = 1_000
"""Runs on a page."""

MAX_TEXT: Final = 1_000
"""Characters of what is looked for."""

_MOST: Final = (1 << 31) - 1
"""What each database can count to."""


class Filters(TypedDict, total=False):
    """Which runs are meant. What is left out, or None, is no filter; of several, all must fit."""

    status: RunStatus | str | Iterable[RunStatus | str] | None
    """One, or any of several."""
    workflow: str | None
    """Its name."""
    version: str | None
    """`""`: without a version."""
    tags: str | Iterable[str] | None
    """One, or all of several."""
    queue: str | None
    created_after: datetime | None
    """Created then or later."""
    created_before: datetime | None
    """Created earlier than that."""
    finished_before: datetime | None
    """Ended earlier than that; runs that have not ended are not meant."""
    search: str | None
    """Part of the id, key, workflow, a tag, the beginning of the input, or the error; great and small letters alike."""
    id_prefix: str | None
    """How the id begins."""


def run_filter(
    *,
    status: RunStatus | str | Iterable[RunStatus | str] | None = None,
    workflow: str | None = None,
    version: str | None = None,
    tags: str | Iterable[str] | None = None,
    queue: str | None = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
    finished_before: datetime | None = None,
    search: str | None = None,
    id_prefix: str | None = None,
    unseen: Iterable[str] = (),
    **unknown: object,
) -> RunFilter:
    """The filter that these make. `Filters` says what each means; `unseen`, which pages give, is as in `RunFilter`.

    Raises:
        ValueError: a status is unknown, none is named, a time has no timezone, or a text is too long or none.
        TypeError: one of them is of a wrong type, or is no filter at all.
    """
    for name in unknown:
        close = get_close_matches(name, Filters.__annotations__, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(Filters.__annotations__)}"
        raise TypeError(f"there is no filter {name!r} of runs; {hint}")
    return RunFilter(
        statuses=_statuses(status),
        workflow=_workflow(workflow),
        version=_text(version, "version"),
        tags=_tags(tags),
        queue=_text(queue, "queue"),
        created_after=_instant(created_after, "created_after"),
        created_before=_instant(created_before, "created_before"),
        finished_before=_instant(finished_before, "finished_before"),
        search=_text(search, "search") or None,
        unseen=tuple(unseen) if search else (),
        id_prefix=_text(id_prefix, "id_prefix") or None,
    )


def by_id(where: RunFilter) -> RunFilter:
    """The filter, with the time of the creation as the ids say it: what is in order of ids is then read only where it lies between."""
    after, before = where.created_after, where.created_before
    return replace(
        where,
        created_after=None,
        created_before=None,
        id_from=None if after is None else earliest_id(math.floor(after * 1_000)),
        id_below=None if before is None else earliest_id(math.ceil(before * 1_000)),
    )


def earliest_id(tick: int) -> str:
    """No id that was made in this millisecond since 1970, or later, is smaller."""
    digits = f"{min(max(tick, 0), _LAST_TICK):012x}"
    return f"{digits[:8]}-{digits[8:]}"


_LAST_TICK: Final = (1 << 48) - 1


def checked_choice(where: RunFilter, everything: object, call: str) -> RunFilter:
    """The filter of a call that acts on all runs that match, which must be meant.

    Raises:
        ValueError: there is no filter, and `everything` is not True.
    """
    if where == RunFilter() and everything is not True:
        raise BadValue(
            f'{call} needs to be told which runs: give a filter, such as workflow="send_welcome_email", or everything=True for all'
        )
    return where


def is_newest_first(order: object) -> bool:
    """Whether the newest come first. Raises ValueError: it is no order."""
    if order not in ("newest", "oldest"):
        raise BadValue(f'order is "newest" or "oldest", which come first; not {order!r}')
    return order == "newest"


def checked_limit(limit: object, what: str = "limit", more: str = "; follow next_cursor, or use iterate, for more") -> int:
    """How many a page has. Raises ValueError: it is no whole number from 1 to `MAX_PAGE`.

    Args:
        limit: what was given.
        what: the name of the parameter.
        more: how to get at more of them.
    """
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= MAX_PAGE:
        raise BadValue(f"{what} is a whole number from 1 to {MAX_PAGE:,}, not {limit!r}{more}")
    return limit


def checked_number(value: object, what: str, least: int = 1) -> int:
    """How many, or the how manieth. Raises ValueError: it is no whole number from `least` on, or more than databases count."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= _MOST:
        raise BadValue(f"{what} is a whole number from {least} to {_MOST:,}, not {value!r}")
    return value


def checked_cursor(cursor: object) -> str | None:
    """Where a page begins, as another page has said. Raises TypeError, ValueError: it is no text."""
    return _text(cursor, "cursor")


def checked_text(value: object, what: str) -> str:
    """A text that is looked for. Raises TypeError, ValueError: it is none."""
    return _text(value, what) or ""


def checked_instant(value: object, what: str) -> float:
    """Seconds since 1970. Raises TypeError, ValueError: it is no datetime with a timezone."""
    instant = _instant(value, what)
    if instant is None:
        raise TypeError(f"{what} is a datetime with a timezone, not None")
    return instant


def _statuses(status: object) -> frozenset[RunStatus] | None:
    if status is None:
        return None
    named = [status] if isinstance(status, str) else status
    if not isinstance(named, Iterable):
        raise TypeError(f"status is a RunStatus, its name, or several of them; not {type(status).__name__}: {status!r}")
    statuses = frozenset(_status(name) for name in named)
    if not statuses:
        raise BadValue("status names no status, so no run could match; leave it out for runs of any status")
    return statuses


def _status(name: object) -> RunStatus:
    try:
        return RunStatus(name)  # type: ignore[arg-type]  # what is none is found here
    except ValueError:
        close = get_close_matches(str(name).lower(), list(RunStatus), n=1)
        hint = f"; did you mean {str(close[0])!r}?" if close else "."
        raise BadValue(f"there is no status {name!r}{hint} The statuses are {', '.join(RunStatus)}") from None


def _workflow(workflow: object) -> str | None:
    if isinstance(workflow, Workflow):
        raise TypeError(f"workflow is the name of one: write workflow={workflow.name!r}, and version=… for the runs of one version only")
    return _text(workflow, "workflow")


def _tags(tags: object) -> tuple[str, ...]:
    named = [tags] if isinstance(tags, str) else () if tags is None else tags
    if not isinstance(named, Iterable):
        raise TypeError(f"tags is a text, or several; not {type(tags).__name__}: {tags!r}")
    return tuple(dict.fromkeys(text for tag in named if (text := _text(tag, "a tag")) is not None))


def _text(value: object, what: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(f"{what} is a text, not {type(value).__name__}: {value!r}")
    if len(value) > MAX_TEXT:
        raise BadValue(f"{what} has at most {MAX_TEXT:,} characters, not {len(value):,}")
    if not can_be_kept(value):
        raise BadValue(f"{what} is text without NUL and lone surrogates; {value!r} has one")
    return value


def _instant(value: object, what: str) -> float | None:
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise TypeError(f"{what} is a datetime with a timezone, not {type(value).__name__}: {value!r}")
    if value.utcoffset() is None:
        raise BadValue(f"{what} needs a timezone: {value.isoformat()} is a different instant in each; write datetime(…, tzinfo=UTC)")
    return value.timestamp()
