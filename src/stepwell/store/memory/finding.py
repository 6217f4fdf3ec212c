"""Which runs a filter means, and a page of them at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepwell.core.failure import error_from
from stepwell.core.records import Page, RunFilter
from stepwell.store.shown import PREVIEW, read_cursor

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stepwell.store.memory.tables import Row


def matching(rows: Iterable[Row], where: RunFilter) -> list[Row]:
    """Those that are meant, the oldest first."""
    ordered = sorted((row for row in rows if _in_range(row.new.id, where)), key=lambda row: row.new.id)
    if where.within is not None:
        ordered = ordered[-where.within :]
    return [row for row in ordered if _matches(row, where)]


def _in_range(run_id: str, where: RunFilter) -> bool:
    return (where.id_from is None or run_id >= where.id_from) and (where.id_below is None or run_id < where.id_below)


def page(rows: list[Row], *, newest: bool, limit: int, cursor: str | None) -> Page[Row]:
    """A page of what `matching` gave. Raises ValueError for a cursor that no page had."""
    ordered = rows[::-1] if newest else rows
    begin, end = 0, limit
    if cursor is not None:
        direction, start = read_cursor(cursor)
        before = sum(1 for row in ordered if row.new.id != start and (row.new.id > start) is newest)
        upto = before + any(row.new.id == start for row in ordered)
        begin, end = (upto, upto + limit) if direction == "n" else (max(before - limit, 0), before)
    items = tuple(ordered[begin:end])
    return Page(
        items=items,
        next_cursor=f"n:{items[-1].new.id}" if items and end < len(ordered) else None,
        previous_cursor=f"p:{items[0].new.id}" if items and begin else None,
    )


def _matches(row: Row, where: RunFilter) -> bool:
    new = row.new
    return (
        (where.statuses is None or row.status in where.statuses)
        and (where.workflow is None or new.workflow == where.workflow)
        and (where.version is None or (new.version or "") == where.version)
        and set(where.tags) <= set(new.tags)
        and (where.queue is None or new.queue == where.queue)
        and (where.created_after is None or new.created_at >= where.created_after)
        and (where.created_before is None or new.created_at < where.created_before)
        and (where.finished_before is None or (row.finished_at is not None and row.finished_at < where.finished_before))
        and (where.id_prefix is None or new.id.startswith(where.id_prefix))
        and (where.search is None or _found(row, where.search.lower(), where.unseen))
    )


def _found(row: Row, part: str, unseen: tuple[str, ...]) -> bool:
    new, preview = row.new, row.input[:PREVIEW]
    texts = [new.id, new.key or "", new.workflow, *new.tags]
    if not any(name in preview.lower() for name in unseen):
        texts.append(preview)
    if row.error is not None:
        error = error_from(row.error)
        texts += [error.type, error.message] if not unseen or not _hides(error.message.lower(), unseen) else []
    return any(part in text.lower() for text in texts)


def _hides(message: str, unseen: tuple[str, ...]) -> bool:
    """Whether something in a message may be hidden: under such a name, in a URL, or in a header."""
    named = any(sign in message.partition(name)[2] for name in unseen for sign in "=:")
    # Whatever white space may follow these words, as it may in what is hidden.
    return named or "@" in message.partition("://")[2] or any(message.partition(kind)[2] for kind in ("bearer", "basic"))
