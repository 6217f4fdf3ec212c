"""Which runs a page is about, as its address says: parameters, and the words of the search field. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from stepwell.core.duration import parse_duration
from stepwell.core.filters import Filters, run_filter

DAY: Final = "-24h"
"""How far back lists go when nothing is said."""

ANY: Final = "all"
"""As far back as there is anything."""

PERIODS: Final = (("-1h", "last hour"), (DAY, "last 24 h"), ("-7d", "last 7 days"), ("-30d", "last 30 days"), (ANY, "any time"))

_WORDS: Final = ("id", "status", "workflow", "version", "tag", "queue", "error", "input")
"""What can stand before a colon in the search field."""

_WORD: Final = re.compile(r"([a-z]+)((?:\.[^:\s]*)?):(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which runs are meant, and how that is said."""

    filters: Filters
    period: str
    """Of `PERIODS`, or another as `from` has it."""
    problem: str | None = None
    """What in the address cannot be; the filters are without it."""
    chips: tuple[tuple[str, str], ...] = field(default=())
    """What is chosen, as words, each with the parameter that says it."""


def chosen(query: Mapping[str, str], now: datetime, unseen: Iterable[str] = ()) -> Choice:
    """The runs that an address means. By what lies under names with these parts, none is found."""
    filters: dict[str, Any] = {}
    chips: list[tuple[str, str]] = []
    problem = None
    for name in ("workflow", "version", "queue"):
        if name in query and (query[name] or name == "version"):
            filters[name] = query[name]
            chips.append((f"{name}: {query[name] or 'without'}", name))
    if query.get("status"):
        filters["status"] = [word for word in query["status"].split(",") if word]
        chips.append((f"status: {query['status'].replace(',', ', ')}", "status"))
    if query.get("tag"):
        filters["tags"] = [query["tag"]]
        chips.append((f"tag: {query['tag']}", "tag"))
    period = query.get("from") or DAY
    try:
        filters |= _period(period, query.get("to"), now)
        filters |= _words(query.get("q", ""), filters)
        filters |= {"unseen": tuple(unseen)} if "search" in filters else {}
        run_filter(**filters)
    except (ValueError, TypeError) as error:
        problem = str(error)
        filters = _period(DAY, None, now)
    if query.get("q"):
        chips.append((query["q"], "q"))
    return Choice(filters=_as_filters(filters), period=period, problem=problem, chips=tuple(chips))


def _as_filters(filters: dict[str, Any]) -> Filters:
    return cast("Filters", filters)  # `run_filter` has looked at them


def _period(start: str, end: str | None, now: datetime) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if start != ANY:
        found["created_after"] = _instant(start, now)
    if end:
        found["created_before"] = _instant(end, now)
    return found


def _instant(text: str, now: datetime) -> datetime:
    """`-24h`, or an ISO time. Raises ValueError."""
    if text.startswith("-"):
        try:
            return now - parse_duration(text[1:], "the time")
        except OverflowError:
            return datetime(1970, 1, 1, tzinfo=UTC)
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no time; write -24h, or 2026-01-31T12:00") from None
    return when if when.utcoffset() is not None else when.replace(tzinfo=UTC)


def _words(text: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """What the search field says: `status:failed tag:acme error:"timed out"`, and whatever else is looked for as it stands."""
    try:
        words = shlex.split(text)
    except ValueError:  # a quote that is not closed
        words = text.split()
    found: dict[str, Any] = {}
    free: list[str] = []
    for word in words:
        match = _WORD.fullmatch(word)
        if match is None or match[1] not in _WORDS:
            free.append(word)
            continue
        name, _, value = match.groups()
        match name:
            case "id":
                found["id_prefix"] = value
            case "status":
                found["status"] = [each for each in value.split(",") if each]
            case "tag":
                found["tags"] = [*found.get("tags", said.get("tags", [])), value]
            case "error" | "input":
                free.append(value)
            case _:
                found[name] = value
    if len(free) == 1 and re.fullmatch(r"[0-9a-f]{8}[0-9a-f-]{0,28}", free[0]):
        found["id_prefix"], free = free[0], []
    if free:
        found["search"] = " ".join(free)
    return found


def further_back(period: str) -> str:
    """The next longer period."""
    names = [name for name, _ in PERIODS]
    return names[min(names.index(period) + 1, len(names) - 1)] if period in names else ANY


def since(period: str, now: datetime) -> timedelta:
    """How long a period is, for what needs an end; a day at least for one that has none."""
    return timedelta(days=30) if period == ANY else now - _instant(period, now)
