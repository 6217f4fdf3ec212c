"""Which runs a page is about, as its address says: parameters, and the words of the search field. Pure."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from difflib import get_close_matches
from typing import Any, Final, cast

from stepwell.core.duration import parse_duration
from stepwell.core.filters import Filters, Order, run_filter

DAY: Final = "-24h"
"""How far back lists go when nothing is said."""

ANY: Final = "all"
"""As far back as there is anything."""

TODAY: Final = "today"
"""Since midnight, where the viewer is."""

PERIODS: Final = (
    ("-1h", "last hour"),
    (TODAY, "today"),
    (DAY, "last 24 h"),
    ("-7d", "last 7 days"),
    ("-30d", "last 30 days"),
    (ANY, "any time"),
)

PARAMETERS: Final = ("q", "status", "workflow", "version", "unversioned", "queue", "tag", "from", "to", "order", "size")
"""All of an address that says which runs are shown, and how; not the place in the list."""

_WORDS: Final = ("id", "status", "workflow", "version", "tag", "queue", "error", "input")
"""What can stand before a colon in the search field."""

_WORD: Final = re.compile(r"([a-z]+)((?:\.[^:\s]*)?):(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which runs are meant, and how that is said."""

    filters: Filters
    period: str
    """Of `PERIODS`, or another as `from` has it."""
    order: Order = "newest"
    problem: str | None = None
    """What in the address cannot be; the filters are without it."""
    hint: str | None = None
    """Of a word in the search field that looks as if another was meant."""
    chips: tuple[tuple[str, str], ...] = field(default=())
    """What is chosen, as words, each with the parameter that says it."""

    @property
    def is_text(self) -> bool:
        """Whether text is looked for, which lists do in the newest runs only."""
        return "search" in self.filters

    @property
    def time(self) -> str:
        """The period, as words."""
        return dict(PERIODS).get(self.period, f"from {self.period}")


def chosen(query: Mapping[str, str], now: datetime, unseen: Iterable[str] = (), zone: tzinfo = UTC) -> Choice:
    """The runs that an address means.

    Args:
        query: the parameters of the address.
        now: what periods end with.
        unseen: parts of names; by what lies under such a name, no run is found.
        zone: of times that have none.
    """
    filters: dict[str, Any] = {}
    chips: list[tuple[str, str]] = []
    problem = None
    for name in ("workflow", "version", "queue"):
        if query.get(name):
            filters[name] = query[name]
            chips.append((f"{name}: {query[name]}", name))
    if query.get("unversioned") and "version" not in filters:
        filters["version"] = ""
        chips.append(("without a version", "unversioned"))
    if query.get("status"):
        filters["status"] = [word for word in query["status"].split(",") if word]
        chips.append((f"status: {query['status'].replace(',', ', ')}", "status"))
    if query.get("tag"):
        filters["tags"] = [query["tag"]]
        chips.append((f"tag: {query['tag']}", "tag"))
    if query.get("to"):
        chips.append((f"until {query['to']}", "to"))
    period = query.get("from") or DAY
    try:
        filters |= _period(period, query.get("to"), now.astimezone(zone))
        filters |= _words(query.get("q", ""), filters)
        filters |= {"unseen": tuple(unseen)} if "search" in filters else {}
        run_filter(**filters)
    except (ValueError, TypeError) as error:
        problem = str(error)
        filters = _period(DAY, None, now)
    if query.get("q"):
        chips.append((query["q"], "q"))
    order: Order = "oldest" if query.get("order") == "oldest" else "newest"
    return Choice(
        filters=_as_filters(filters), period=period, order=order, problem=problem, hint=_hint(query.get("q", "")), chips=tuple(chips)
    )


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
    """`-24h`, `today`, or an ISO time; the zone is that of `now`. Raises ValueError."""
    if text == TODAY:
        return now.replace(hour=0, minute=0, second=0, microsecond=0)
    if text.startswith("-"):
        try:
            return now.astimezone(UTC) - parse_duration(text[1:], "the time")  # an hour that clocks skip is none
        except OverflowError:
            return datetime(1970, 1, 1, tzinfo=UTC)
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no time; write -24h, today, or 2026-01-31T12:00") from None
    return when if when.utcoffset() is not None else when.replace(tzinfo=now.tzinfo)


def _words(text: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """What the search field says: `status:failed tag:acme error:"timed out"`, and whatever else is looked for as it stands."""
    found: dict[str, Any] = {}
    free: list[str] = []
    parts: list[str] = []
    for word in _split(text):
        match = _WORD.fullmatch(word)
        if match is None or match[1] not in _WORDS:
            free.append(word)
            continue
        name, path, value = match.groups()
        match name:
            case "id":
                found["id_prefix"] = value
            case "status":
                found["status"] = [each for each in value.split(",") if each]
            case "tag":
                found["tags"] = [*found.get("tags", said.get("tags", [])), value]
            case "input" if path.strip("."):
                parts.append(_field(path.rpartition(".")[2], value))
            case "error" | "input":
                parts.append(value)
            case _:
                found[name] = _whole(name, value)
    if len(free) == 1 and re.fullmatch(r"[0-9a-f]{8}[0-9a-f-]{0,28}", free[0]):
        found["id_prefix"], free = free[0], []
    if len(parts) + bool(free) > 1:
        raise ValueError("one text can be looked for at a time: one error:, or one input:, or words as they follow each other")
    if free or parts:
        found["search"] = " ".join(free or parts)
    return found


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # a quote that is not closed
        return text.split()


def _hint(text: str) -> str | None:
    """`workflows:pay` is looked for as it stands, since it may be meant so."""
    for word in _split(text):
        name, colon, _ = word.partition(":")
        close = get_close_matches(name, _WORDS, 1, 0.7) if colon and name not in _WORDS else []
        if close and not name.startswith("input."):
            return f"“{name}:” was looked for as text. Did you mean “{close[0]}:”?"
    return None


def _field(name: str, value: str) -> str:
    """How a field of an input begins, as it is stored: what is no JSON is a text."""
    try:
        json.loads(value)
    except ValueError:
        value = json.dumps(value, ensure_ascii=False).removesuffix('"')
    return f"{json.dumps(name, ensure_ascii=False)}:{value}"


def _whole(name: str, value: str) -> str:
    if "*" in value:
        raise ValueError(f"{name}: takes a whole name; write a part of it without “{name}:”, and it is looked for everywhere")
    return value


def further_back(period: str) -> str:
    """The next longer period."""
    names = [name for name, _ in PERIODS if name != TODAY]
    return names[min(names.index(period) + 1, len(names) - 1)] if period in names else "-7d" if period == TODAY else ANY
