"""What a worker writes: the batch of a commit, behind its fence."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, Final

from stepwell.core.children import mail_from, resolved, told
from stepwell.core.status import Action, RunStatus, after
from stepwell.store.port import Hint
from stepwell.store.sqlite.acting import cancel_child
from stepwell.store.sqlite.claiming import outcome_from
from stepwell.store.sqlite.mailing import put, tell_parent
from stepwell.store.sqlite.reading import STATUS, definitions
from stepwell.store.sqlite.starting import PREVIEW, Lanes, as_json, enqueue

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stepwell.core.records import Move, Outcome, StartChild
    from stepwell.store.port import Batch
    from stepwell.store.sqlite.connection import Transaction

_LIVE: Final = frozenset({"running", "sleeping"})
_TAKING: Final = frozenset({"running", "sleeping", "paused", "pending"})
"""Statuses in which the holder of the claim may still write."""

_NEAR: Final = 0.75e-6
"""Seconds: half a microsecond, and what a double makes of it."""

_ENDS: Final = (Action.COMPLETE, Action.FAIL)
_PENDING: Final = RunStatus.PENDING
_SLEEPING: Final = RunStatus.SLEEPING


class Writes:
    """One batch on its way into the database."""

    def __init__(
        self, transaction: Transaction, statements: Mapping[str, str], lanes: Lanes, worker: str, batch: Batch, now: float
    ) -> None:
        self._transaction = transaction
        self._lanes = lanes
        self._statements = statements
        self._worker = worker
        self._batch = batch
        self._now = now
        self._may_write: set[tuple[str, int]] = set()
        self._statuses: dict[str, RunStatus] = {}
        self._crashed: set[str] = set()
        self._news: dict[str, int] = {}
        self._awaited: set[str] = set()

    def commit(self) -> dict[tuple[str, int], RunStatus | None]:
        """See `Store.commit`."""
        batch = self._batch
        kinds = (batch.outcomes, batch.attempts, batch.moves, batch.logs, batch.progress, batch.started, batch.starts, batch.cancels)
        answers = self._fence({(write[0], write[1]) for kind in kinds for write in kind})
        if batch.outcomes:
            self._record(self._allowed(batch.outcomes, answers))
        for name, writes in (
            ("attempts", batch.attempts), ("started", batch.started), ("logs", batch.logs), ("progress", batch.progress),
        ):  # fmt: skip
            if writes and (allowed := self._allowed(writes, answers)):
                self._transaction.execute(self._statements[_STATEMENT[name]], {name: as_json(allowed)})
        if batch.starts:
            self._start(self._allowed(batch.starts, answers))
        for cancel in self._allowed(batch.cancels, answers):
            cancel_child(self._transaction, self._statements, cancel.run, cancel.child, self._now)
        if batch.moves:
            self._move(self._allowed(batch.moves, answers))
        return answers

    def _fence(self, claims: set[tuple[str, int]]) -> dict[tuple[str, int], RunStatus | None]:
        """See which claims this worker still holds. What is answered is the exceptions."""
        answers: dict[tuple[str, int], RunStatus | None] = {}
        runs = as_json([run for run, _ in claims])
        for run, claim, status, is_mine, crashes, news, is_awaited in self._transaction.many(
            self._statements["fence"], runs=runs, worker=self._worker
        ):
            held = (run, claim)
            if held not in claims or (not is_mine and status in _TAKING):
                continue
            if status not in _LIVE:
                answers[held] = STATUS[status]
            if status in _TAKING:
                self._may_write.add(held)
                self._statuses[run] = STATUS[status]
                self._news[run] = news
                if is_awaited:
                    self._awaited.add(run)
                if crashes:
                    self._crashed.add(run)
        for held in claims - self._may_write:
            answers.setdefault(held, None)
        return answers

    def _allowed(self, writes: Sequence[Any], answers: Mapping[tuple[str, int], RunStatus | None]) -> Sequence[Any]:
        if not answers:
            return writes
        may_write = self._may_write
        return [write for write in writes if (write[0], write[1]) in may_write]

    # -- outcomes

    def _record(self, outcomes: Sequence[Outcome]) -> None:
        if not outcomes:
            return
        execute, statement = self._transaction.execute, self._statements["record"]
        execute("SAVEPOINT record")
        try:
            execute(statement, {"outcomes": as_json(outcomes)})
        except sqlite3.IntegrityError:
            execute("ROLLBACK TO record")
            if new := self._new(outcomes):
                execute(statement, {"outcomes": as_json(new)})
        execute("RELEASE record")
        if self._crashed and (survived := self._crashed & {outcome.run for outcome in outcomes}):
            execute(self._statements["survived"], {"runs": as_json(list(survived))})

    def _new(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Those that are not there yet. Raises RuntimeError when one contradicts what is."""
        new: dict[tuple[str, str], Outcome] = {}
        for outcome in outcomes:
            place = (outcome.run, outcome.key)
            there = new.get(place)
            if there is None:
                row = self._transaction.execute(self._statements["recorded"], {"run": outcome.run, "key": outcome.key}).fetchone()
                there = None if row is None else outcome_from(row, outcome.claim)
            if there is None:
                new[place] = outcome
            elif not _is_same(there, outcome):
                raise RuntimeError(f"run {outcome.run} has another outcome for {outcome.key!r} already: {there}, not {outcome}")
        return list(new.values())

    # -- children

    def _start(self, starts: Sequence[StartChild]) -> None:
        published = definitions(self._transaction.connection, self._statements) if any(start.by_name for start in starts) else []
        runs = [resolved(start, published) for start in starts]
        ids = enqueue(self._transaction, self._statements, self._lanes, runs)
        for start, run_id in zip(starts, ids, strict=True):
            if start.new.key is not None:
                payload = told(True, as_json(run_id))
                put(self._transaction, self._statements, start.run, start.new.id, mail_from(start.new.id), payload, self._now)

    # -- moves

    def _move(self, moves: Sequence[Move]) -> None:
        rows = [row for move in moves if (row := self._moved(move)) is not None]
        if rows:
            self._transaction.execute(self._statements["move"], {"moves": as_json(rows)})
        for move in moves:
            if move.action is Action.CONTINUE_AS_NEW:
                self._renew(move)
            elif move.run in self._awaited and move.action in _ENDS and after(self._statuses[move.run], move.action) is not None:
                tell_parent(self._transaction, self._statements, move.run, self._now)

    def _moved(self, move: Move) -> tuple[Any, ...] | None:
        """The new values of the run's row; None where its status does not allow the move."""
        run, _, action, due, keep, output, error, attempt, _, seen, _ = move
        before = self._statuses[run]
        status = after(before, action)
        if status is None:
            return None
        if action is Action.PARK and seen is not None and seen != self._news[run]:  # what it waits for may be there
            status, due = (_SLEEPING, self._now) if keep else (_PENDING, None)
        ended = status.ended
        keeps_due = status is before and action is Action.RELEASE  # what sleeps or is paused waits for what it waited for
        available_at = None
        hints = self._transaction.hints
        if ended:
            hints.add(Hint.ENDED)
        elif status is _PENDING:
            available_at = self._now
            hints.add(Hint.READY)
        elif status is _SLEEPING and not keep:
            hints.add(Hint.DUE)
        if status is _SLEEPING and due is not None:
            available_at = due
        return (
            run, status, keep and not ended, due if status is _SLEEPING else None, output, error, attempt,
            self._now if ended else None, available_at, keeps_due, action is Action.RETRY_LATER,
        )  # fmt: skip

    def _renew(self, move: Move) -> None:
        if after(self._statuses[move.run], move.action) is None:
            return
        execute, statements = self._transaction.execute, self._statements
        run, new_input = {"run": move.run}, move.input or "null"
        as_json([new_input])  # refuses what cannot be stored
        execute(statements["renew"], {**run, "now": self._now, "preview": new_input[:PREVIEW]})
        execute(statements["renew_input"], {**run, "input": new_input})
        self._transaction.hints.add(Hint.DUE)  # its deadline counts anew
        execute(statements["forget_outcomes"], run)
        execute(statements["forget_attempts"], run)
        if move.read:
            execute(statements["forget_signals"], {**run, "numbers": as_json(move.read)})
        execute(statements["move_logs"], {**run, "claim": move.claim, "first": 0})


def _is_same(there: Outcome, outcome: Outcome) -> bool:
    """Whether they say the same. Instants are kept to the microsecond."""
    near = abs(there.at - outcome.at) < _NEAR and abs(there.started_at - outcome.started_at) < _NEAR
    return near and there._replace(claim=outcome.claim, at=outcome.at, started_at=outcome.started_at) == outcome


_STATEMENT: Final = {"attempts": "attempt", "started": "started", "logs": "log", "progress": "progress"}
