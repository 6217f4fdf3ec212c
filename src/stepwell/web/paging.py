"""Pages of lists that are known as a whole: those whose names have a text in them, from a name on. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

T = TypeVar("T")

SIZE: Final = 100
"""Rows on a page."""


_LONGEST: Final = 4_000
"""Characters of a place in a list: three names, and what JSON adds."""


class Part(NamedTuple, Generic[T]):
    """One page of a list."""

    items: tuple[T, ...]
    searched: str
    """The text that names must have."""
    first: bool
    """Whether it is the first page."""
    after: str | None
    """How an address says where the next one begins; None: there is none."""
    is_long: bool
    """Whether a search is worth its place."""


def part_of(items: Sequence[T], names: Callable[[T], tuple[str, ...]], query: Mapping[str, str]) -> Part[T]:
    """The page that an address asks for with `find` and `after`. The order is that of the names."""
    searched = query.get("find", "").strip()
    wanted = searched.casefold()
    found = [item for item in items if any(wanted in name.casefold() for name in names(item))]
    start = _names(query.get("after", ""))
    left = [item for item in sorted(found, key=names) if names(item) > start]
    page, more = left[:SIZE], len(left) > SIZE
    after = json.dumps(names(page[-1]), ensure_ascii=False) if more else None
    return Part(tuple(page), searched, not start, after, is_long=bool(searched) or len(items) > SIZE)


def _names(text: str) -> tuple[str, ...]:
    """Of the last row on the page before. What nobody has made here is the beginning."""
    if len(text) > _LONGEST:
        return ()
    try:
        names = json.loads(text)
    except ValueError:
        return ()
    return tuple(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else ()
