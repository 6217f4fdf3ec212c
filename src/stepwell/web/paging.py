"""Pages of lists by name: what an address asks for, and what is said around the rows. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from stepwell.core.records import Page

T = TypeVar("T")

SIZE: Final = 100
"""Rows on a page."""


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


class Asked(NamedTuple):
    """What an address asks for with `find` and `after`."""

    find: str
    cursor: str | None


def asked(query: Mapping[str, str]) -> Asked:
    """Of an address with these parameters."""
    return Asked(query.get("find", "").strip(), query.get("after") or None)


def part_of(page: Page[T], wanted: Asked) -> Part[T]:
    """The page that was asked for."""
    return part(page.items, page.next_cursor, wanted)


def part(items: Sequence[T], after: str | None, wanted: Asked) -> Part[T]:
    """The same, of its rows and where the next one begins."""
    return Part(tuple(items), wanted.find, wanted.cursor is None, after, is_long=bool(wanted.find or wanted.cursor or after))
