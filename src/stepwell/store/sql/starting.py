"""Runs come into the database: from `start`, from a fork, and within a caller's own transaction."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from stepwell.core.records import NewRun
from stepwell.core.registry import Lane
from stepwell.store.port import Hint, WriteRefused
from stepwell.store.shown import PREVIEW

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from stepwell.store.sql.transaction import Transaction

ONE_BY_ONE = 4
"""Lanes that are not known here are looked for one by one; more of them all together."""

_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def as_json(batch: Collection[Any]) -> str:
    """A batch as the parameter of one statement.

    Raises:
        WriteRefused: a text in it holds what no database here keeps, NUL or half a surrogate pair.
    """
    try:
        text = to_json(batch, inf_nan_mode="null").decode()  # no database reads NaN, and each would refuse the whole batch
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
        """All that a `refresh` has found."""
        self._ids: dict[Lane, int] = {}

    def remember(self, lanes: Mapping[int, Lane]) -> None:
        """These are committed."""
        self.by_id = {**self.by_id, **lanes}  # a new one: other threads may be reading the old
        self._ids = {**self._ids, **{lane: number for number, lane in lanes.items()}}

    def knows(self, lanes: set[Lane]) -> bool:
        """Whether they are all known here."""
        return lanes <= self._ids.keys()

    def learn(self, rows: Iterable[Sequence[Any]], transaction: Transaction) -> dict[int, Lane]:
        """All there are, with these: number, queue, workflow, version. They are remembered when the transaction is committed."""
        new = {number: Lane(queue, workflow, version or None) for number, queue, workflow, version in rows}
        transaction.committed.append(lambda: self.remember(new))
        return {**self.by_id, **new}

    async def id_of(self, lane: Lane, transaction: Transaction) -> int:
        """The number of a lane, which is made if it is new."""
        known = self._ids.get(lane)
        if known is not None:
            return known
        parameters = {"queue": lane.queue, "workflow": lane.workflow, "version": lane.version or ""}
        row = await transaction.one("lane", **parameters)
        if row is None:
            # Others may make it just now: then nothing is inserted, and theirs is there.
            row = await transaction.one("new_lane", **parameters) or await transaction.one("lane", **parameters)
        if row is None:
            raise RuntimeError(f"{lane} can neither be found nor made")
        number: int = row[0]
        transaction.committed.append(lambda: self._remember(lane, number))
        return number

    def _remember(self, lane: Lane, number: int) -> None:
        self._ids = {**self._ids, lane: number}

    async def ids_of(self, lanes: set[Lane], transaction: Transaction) -> Mapping[Lane, int]:
        """The numbers of these, in one order: two who make new ones at the same time do not wait for each other."""
        ids = self._ids
        if self.knows(lanes):
            return ids
        if len(lanes - ids.keys()) > ONE_BY_ONE:
            rows = await transaction.many("lanes", known=len(self.by_id))
            ids = {**ids, **{lane: number for number, lane in self.learn(rows, transaction).items()}}
        return {lane: ids.get(lane) or await self.id_of(lane, transaction) for lane in sorted(lanes, key=_place)}


def _place(lane: Lane) -> tuple[str, str, str]:
    return lane.queue, lane.workflow, lane.version or ""


Keys = dict[tuple[str, str], str]
"""Runs by workflow and key."""


async def enqueue(transaction: Transaction, lanes: Lanes, runs: Sequence[NewRun]) -> list[str]:
    """See `Store.enqueue`."""
    taken = await _taken(transaction, runs)
    new = [run for run in runs if run.key is None or taken.setdefault((run.workflow, run.key), run.id) == run.id]
    if not new:
        return _ids(runs, taken)
    places = [Lane(run.queue, run.workflow, run.version) for run in new]
    numbers = await lanes.ids_of(set(places), transaction)
    rows = [_row(run, numbers[lane]) for run, lane in zip(new, places, strict=True)]
    if not taken:
        await transaction.execute("enqueue", runs=as_json(rows))
    elif (holders := await _add_keyed(transaction, rows, runs)) is not None:
        taken = holders
        new = [run for run in new if run.key is None or taken.get((run.workflow, run.key), run.id) == run.id]
    await transaction.execute("enqueue_inputs", inputs=as_json([(run.id, run.input) for run in new]))
    if tags := [(tag, run.id) for run in new for tag in run.tags]:
        await transaction.execute("enqueue_tags", tags=as_json(tags))
    if started := {run.id: (run.id, run.created_at, run.actor) for run in new if run.actor is not None}:
        await transaction.execute("enqueue_events", events=as_json(list(started.values())))
    transaction.hints |= {Hint.READY if run.available_at <= run.created_at else Hint.DUE for run in new}
    if any(run.timeout is not None for run in new):
        transaction.hints.add(Hint.DUE)
    return _ids(runs, taken)


def _ids(runs: Sequence[NewRun], taken: Keys) -> list[str]:
    return [run.id if run.key is None else taken.get((run.workflow, run.key), run.id) for run in runs]


async def _taken(transaction: Transaction, runs: Sequence[NewRun]) -> Keys:
    """The runs that have the keys of these already. Others may join them until ours are inserted."""
    keys = [(run.workflow, run.key) for run in runs if run.key is not None]
    if not keys:
        return {}
    return {keys[place]: run_id for place, run_id in await transaction.many("by_key", keys=as_json(keys))}


async def _add_keyed(transaction: Transaction, rows: list[tuple[Any, ...]], runs: Sequence[NewRun]) -> Keys | None:
    """Insert runs, some of which have keys. None: all of them are new; else who has the keys now."""
    rows.sort(key=_key_of)  # in one order: two who insert the same keys do not wait for each other
    holders = None
    for _ in range(2):
        if await transaction.execute("enqueue", runs=as_json(rows)) == len(rows):
            break
        # Others have taken a key in between, or a run is there already.
        holders = await _taken(transaction, runs)
        # Once more for those whose key was held by a run that has been deleted just now.
        rows = [row for row in rows if row[_KEY] is not None and (row[_WORKFLOW], row[_KEY]) not in holders]
        if not rows:
            break
    return holders


_WORKFLOW, _KEY = 2, 11
"""Where they are in a row."""


def _key_of(row: tuple[Any, ...]) -> tuple[str, str]:
    return row[_WORKFLOW], row[_KEY] or ""


def _row(run: NewRun, lane: int) -> tuple[Any, ...]:
    due = run.available_at if run.available_at > run.created_at else None
    deadline = None if run.timeout is None else run.available_at + run.timeout
    tags = list(run.tags) or None
    return (
        run.id, lane, run.workflow, run.version or "", run.queue, run.priority, due, run.timeout, deadline, run.created_at,
        run.available_at, run.key, None if tags is None else to_json(tags).decode(), run.parent_id, run.schedule, run.scheduled_at,
        run.input[:PREVIEW], run.awaited_as,
    )  # fmt: skip
