"""What a worker writes: the fence, the checks, and how each kind of write changes the run's row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic_core import to_json

from stepwell.core.children import mail_from, resolved
from stepwell.core.children import told as child_told
from stepwell.core.records import Attempt, CancelChild, LogEntry, Move, Outcome, Progress, StartChild, Started
from stepwell.core.status import Action, RunStatus, after
from stepwell.core.taking_back import scope_aside
from stepwell.store.memory.canceling import cancel_child
from stepwell.store.memory.mailing import put, tell_parent
from stepwell.store.memory.tables import is_storable
from stepwell.store.port import Hint, WriteRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from stepwell.store.memory.tables import Row, Tables
    from stepwell.store.port import Batch

Answers: TypeAlias = dict[tuple[str, int], RunStatus | None]
Write: TypeAlias = Outcome | Attempt | Started | LogEntry | Progress | Move | StartChild | CancelChild

_EXPECTED = (RunStatus.RUNNING, RunStatus.SLEEPING)


def apply(tables: Tables, worker: str, batch: Batch, now: float) -> tuple[Answers, set[Hint]]:
    """Write all of the batch that the worker may write; what it is told, and who else should know.

    Raises:
        WriteRefused: a text in it is none that databases keep. Nothing is written.
        RuntimeError: an outcome contradicts one that is there. Nothing is written.
    """
    for writes in batch:
        _check_texts(writes)
    answers: Answers = {}
    lives = tables.lives(worker)

    def row_of(write: Write) -> Row | None:
        return _fenced(tables, worker if lives else None, write, answers)

    outcomes = [(row, outcome) for outcome in batch.outcomes if (row := row_of(outcome)) is not None]
    for row, outcome in _new(outcomes):
        row.outcomes[outcome.key] = outcome
        row.numbers.add(outcome.seq)
        row.crashes = 0
    _put_beside(row_of, batch)
    told = _start(tables, [start for start in batch.starts if row_of(start) is not None], now)
    for cancel in batch.cancels:
        if row_of(cancel) is not None:
            told |= cancel_child(tables, cancel.run, cancel.child, now)
    for move in batch.moves:
        if (row := row_of(move)) is not None:
            told |= _move(row, move, now)
            if row.status.ended:
                told |= tell_parent(tables, row, now)
    return answers, told


def _start(tables: Tables, starts: Sequence[StartChild], now: float) -> set[Hint]:
    told: set[Hint] = set()
    for start in starts:
        new = resolved(start, tables.definitions.values())
        taken = tables.taken(new)
        if taken is None:
            row = tables.add(new)
            told |= row.hints() | ({Hint.DUE} if row.deadline_at is not None else set())
        if new.key is not None:
            payload = child_told(True, to_json(taken or new.id).decode())
            told |= put(tables, tables.rows[start.run], new.id, mail_from(new.id), payload, now)
    return told


def _put_beside(row_of: Callable[[Write], Row | None], batch: Batch) -> None:
    """What is no outcome and no move."""
    for attempt in batch.attempts:
        if (row := row_of(attempt)) is not None:
            row.attempts[attempt.key, attempt.attempt] = attempt
            row.void.discard((attempt.key, attempt.attempt))
    for started in batch.started:
        if (row := row_of(started)) is not None:
            row.started[started.key, started.attempt] = started
    for entry in batch.logs:
        if (row := row_of(entry)) is not None:
            row.logs.setdefault((entry.after, entry.scope, entry.n), entry)
    for progress in batch.progress:
        if (row := row_of(progress)) is not None:
            row.progress = progress


def _check_texts(writes: Iterable[Write]) -> None:
    for write in writes:
        fields: Iterable[tuple[str, Any]] = zip(write._fields, write, strict=True)
        if isinstance(write, StartChild):
            fields = zip(write.new._fields, write.new, strict=True)
        for name, value in fields:
            if isinstance(value, str) and not is_storable(value):
                raise WriteRefused(f"{name} of {type(write).__name__} of run {write.run!r} has a NUL or a lone surrogate: {value[:80]!r}")


def _fenced(tables: Tables, worker: str | None, write: Write, answers: Answers) -> Row | None:
    """The run's row, when this worker may write to it; None for a worker that is registered no longer."""
    row = tables.rows.get(write.run)
    claim = (write.run, write.claim)
    if worker is None or row is None or row.claim != write.claim or (row.worker != worker and not row.status.ended):
        answers[claim] = None
        return None
    if row.status not in _EXPECTED:
        answers[claim] = row.status
    return None if row.status.ended else row


def _new(outcomes: Sequence[tuple[Row, Outcome]]) -> list[tuple[Row, Outcome]]:
    """Those that are not there yet. Raises RuntimeError when one contradicts what is."""
    new: dict[tuple[str, str], tuple[Row, Outcome]] = {}
    numbers: set[tuple[str, int]] = set()
    for row, outcome in outcomes:
        place = (outcome.run, outcome.key)
        there = new[place][1] if place in new else row.outcomes.get(outcome.key)
        if there is not None:
            if there != outcome:
                raise RuntimeError(f"run {outcome.run} has another outcome for {outcome.key!r} already: {there}, not {outcome}")
            continue
        number = (outcome.run, outcome.seq)
        if outcome.seq in row.numbers or number in numbers:
            raise RuntimeError(f"run {outcome.run} has an outcome number {outcome.seq} already")
        numbers.add(number)
        new[place] = (row, outcome)
    return list(new.values())


def _move(row: Row, move: Move, now: float) -> set[Hint]:
    status = after(row.status, move.action)
    if status is None:
        return set()
    if move.action is Action.PARK and move.seen is not None and move.seen != row.news:
        return _stay_awake(row, move, now)
    row.status, row.deaf = status, move.action is Action.RETRY_LATER
    row.output = row.output if move.output is None else move.output
    row.error = row.error if move.error is None else move.error
    row.attempt = row.attempt if move.attempt is None else move.attempt
    if not move.keep:
        row.worker = None
    if move.action in (Action.PARK, Action.RETRY_LATER):
        row.due = move.due
        row.available_at = row.available_at if move.due is None else move.due
    elif status.ended:
        row.end(status, now)
    elif move.action is Action.CONTINUE_AS_NEW:
        return _go_on_as_new(row, move, now)
    elif status is RunStatus.PENDING:
        row.get_ready(now)
    elif move.action is not Action.RELEASE:  # a sleeper that is let go of sleeps on
        row.due = None
    return row.hints()


def _stay_awake(row: Row, move: Move, now: float) -> set[Hint]:
    """What it waits for may be there."""
    if move.keep:  # its worker is about to be told; if that one dies before, it is due
        row.status, row.due = RunStatus.SLEEPING, now
        return set()
    row.worker = None
    row.get_ready(now)
    return row.hints()


def _go_on_as_new(row: Row, move: Move, now: float) -> set[Hint]:
    row.get_ready(now)
    row.count_deadline()
    row.input = move.input or "null"
    row.generation += 1
    row.attempt, row.crashes, row.begun_at = 1, 0, None
    row.signals = {number: signal for number, signal in row.signals.items() if number not in move.read}
    row.outcomes, row.numbers, row.attempts, row.void, row.started = {}, set(), {}, set(), {}
    set_aside(row, 0)
    return row.hints() | ({Hint.DUE} if row.deadline_at is not None else set())


def set_aside(row: Row, first: int) -> None:
    """Lines said in the knowledge of outcome `first` or later stay to be read, and leave their place to what will be said there now."""
    lines = [
        entry if entry.after < first else entry._replace(after=-1, scope=scope_aside(row.claim, entry.after)) for entry in row.logs.values()
    ]
    row.logs = {(entry.after, entry.scope, entry.n): entry for entry in lines}
