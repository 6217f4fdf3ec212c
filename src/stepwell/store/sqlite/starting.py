"""Runs come into the database: from `start`, from a fork, and within a caller's own transaction."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from stepwell.core.records import NewRun
from stepwell.core.registry import Lane
from stepwell.store.port import Hint, WriteRefused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stepwell.store.sqlite.connection import Transaction

PREVIEW = 120
"""Characters of the input that lists show."""

_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def as_json(batch: Sequence[Any]) -> str:
    """A batch as the parameter of one statement.

    Raises:
        WriteRefused: a text in it holds what no database here keeps, NUL or half a surrogate pair.
    """
    try:
        text = to_json(batch, inf_nan_mode="null").decode()  # SQLite reads no NaN, and would refuse the whole batch
    except UnicodeEncodeError as error:
        raise WriteRefused(f"a text is not valid Unicode: {error}") from error
    except ValueError as error:
        raise WriteRefused(str(error)) from error
    if "\\u0000" in text and _NUL.search(text):
        raise WriteRefused("a text contains the character NUL")
    return text


class Lanes:
    """The lanes of the database, as far as they are known here. They are never taken away, so what is known stays true."""

    def __init__(self) -> None:
        self.by_id: dict[int, Lane] = {}
        self._ids: dict[Lane, int] = {}

    def remember(self, lanes: Mapping[int, Lane]) -> None:
        """These are committed."""
        self.by_id = {**self.by_id, **lanes}  # a new one: other threads may be reading the old
        self._ids = {**self._ids, **{lane: number for number, lane in lanes.items()}}

    def refresh(self, transaction: Transaction, statements: Mapping[str, str]) -> dict[int, Lane]:
        """All there are."""
        known = max(self.by_id, default=0)
        rows = transaction.execute(statements["lanes"], {"known": known}).fetchall()
        if not rows:
            return self.by_id
        new = {number: Lane(queue, workflow, version or None) for number, queue, workflow, version in rows}
        transaction.committed.append(lambda: self.remember(new))
        return {**self.by_id, **new}

    def id_of(self, lane: Lane, transaction: Transaction, statements: Mapping[str, str]) -> int:
        """The number of a lane, which is made if it is new."""
        known = self._ids.get(lane)
        if known is not None:
            return known
        parameters = {"queue": lane.queue, "workflow": lane.workflow, "version": lane.version or ""}
        row = transaction.execute(statements["lane"], parameters).fetchone()
        if row is None:
            row = transaction.execute(statements["new_lane"], parameters).fetchone()
        number: int = row[0]
        return number


def enqueue(transaction: Transaction, statements: Mapping[str, str], lanes: Lanes, runs: Sequence[NewRun]) -> list[str]:
    """See `Store.enqueue`."""
    taken = _taken(transaction, statements, runs)
    rows, inputs, tags, ids = [], [], [], []
    for run in runs:
        if run.key is not None:
            known = taken.setdefault((run.workflow, run.key), run.id)
            ids.append(known)
            if known != run.id:
                continue
        else:
            ids.append(run.id)
        rows.append(_row(run, lanes.id_of(Lane(run.queue, run.workflow, run.version), transaction, statements)))
        inputs.append((run.id, run.input))
        tags += [(tag, run.id) for tag in run.tags]
        transaction.hints.add(Hint.READY if run.available_at <= run.created_at else Hint.DUE)
        if run.timeout is not None:
            transaction.hints.add(Hint.DUE)
    if rows:
        transaction.execute(statements["enqueue"], {"runs": as_json(rows)})
        transaction.execute(statements["enqueue_inputs"], {"inputs": as_json(inputs)})
    if tags:
        transaction.execute(statements["enqueue_tags"], {"tags": as_json(tags)})
    return ids


def _taken(transaction: Transaction, statements: Mapping[str, str], runs: Sequence[NewRun]) -> dict[tuple[str, str], str]:
    """The runs that have the keys of these already. The transaction is the only writer, so none can join them."""
    keys = [(run.workflow, run.key) for run in runs if run.key is not None]
    if not keys:
        return {}
    return {keys[place]: run_id for place, run_id in transaction.many(statements["by_key"], keys=as_json(keys))}


def _row(run: NewRun, lane: int) -> tuple[Any, ...]:
    due = run.available_at if run.available_at > run.created_at else None
    deadline = None if run.timeout is None else run.available_at + run.timeout
    tags = list(run.tags) or None
    return (
        run.id, lane, run.workflow, run.version or "", run.queue, run.priority, due, run.timeout, deadline, run.created_at,
        run.available_at, run.key, None if tags is None else to_json(tags).decode(), run.parent_id, run.schedule, run.scheduled_at,
        run.input[:PREVIEW], run.awaited_as,
    )  # fmt: skip
