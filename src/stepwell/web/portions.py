"""Reads lists whose records may hold large values a portion at a time, so that no request takes more memory than it is answered with.

How large the next ones are, nobody can know: a portion is small at first, and grows while what comes is small.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, TypeAlias, TypeVar

from pydantic_core import to_json

from stepwell.core.records import Page, Run, StepRecord

FIRST: Final = 10
"""Records of the first portion."""

MOST: Final = 100
"""Of any."""

PORTION: Final = 4 * 1024 * 1024
"""Bytes of JSON that a portion should have: the next one is of as many records as would have had so many."""

RecordT = TypeVar("RecordT", Run, StepRecord)

Read: TypeAlias = Callable[[int, str | None], Awaitable[Page[RecordT]]]
"""Reads so many records at most, from a cursor on."""


async def portions(read: Read[RecordT], limit: int | None = None, cursor: str | None = None) -> AsyncIterator[Page[RecordT]]:
    """The portions of a list, until it ends, or there were `limit` records."""
    wanted, left = FIRST, limit
    while left is None or left > 0:
        page = await read(wanted if left is None else min(wanted, left), cursor)
        yield page
        if page.next_cursor is None:
            return
        cursor, left = page.next_cursor, None if left is None else left - len(page.items)
        wanted = _next(wanted, weight(page), len(page.items))


async def gathered(read: Read[RecordT], limit: int, room: int, cursor: str | None = None) -> Page[RecordT]:
    """One page of at most `limit` records: of fewer, where these have more than `room` bytes. There is one at least, if any is left."""
    items: list[RecordT] = []
    async for page in portions(read, limit, cursor):
        items += page.items
        cursor = page.next_cursor
        room -= weight(page)
        if room <= 0:
            break
    return Page(items=tuple(items), next_cursor=cursor)


def weight(page: Page[RecordT]) -> int:
    """Bytes of JSON in the values of its records."""
    return sum(len(to_json(value)) for record in page.items for value in _values(record))


def _values(record: Run | StepRecord) -> tuple[object, ...]:
    return (record.input, record.output) if isinstance(record, Run) else (record.output,)


def _next(wanted: int, size: int, count: int) -> int:
    fitting = PORTION * count // size if size else MOST
    return max(1, min(4 * wanted, MOST, fitting))
