"""What a worker writes: the batch of a commit, behind its fence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from stepwell.core.children import mail_from, resolved, told
from stepwell.core.status import Action, RunStatus, after
from stepwell.store.port import Hint
from stepwell.store.shown import PREVIEW
from stepwell.store.sql.acting import cancel_child
from stepwell.store.sql.claiming import outcome_from
from stepwell.store.sql.mailing import put, tell_parents
from stepwell.store.sql.reading import STATUS, definitions
from stepwell.store.sql.starting import Lanes, as_json, enqueue

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stepwell.core.records import Move, Outcome, StartChild
    from stepwell.store.port import Batch
    from stepwell.store.sql.transaction import Transaction

_LIVE: Final = frozenset({"running", "sleeping"})
_TAKING: Final = frozenset({"running", "sleeping", "paused", "pending"})
"""Statuses in which the holder of the claim may still write."""

_NEAR: Final = 0.75e-6
"""Seconds: half a microsecond, and what a double makes of it."""

_ENDS: Final = (Action.COMPLETE, Action.FAIL)
_PENDING: Final = RunStatus.PENDING
_SLEEPING: Final = RunStatus.SLEEPING


async def commit(transaction: Transaction, lanes: Lanes, worker: str, batch: Batch, now: float) -> dict[tuple[str, int], RunStatus | None]:
    """See `Store.commit`."""
    return await Writes(transaction, lanes, worker, batch, now).commit()


class Writes:
    """One batch on its way into the database."""

    def __init__(self, transaction: Transaction, lanes: Lanes, worker: str, batch: Batch, now: float) -> None:
        self._transaction = transaction
        self._lanes = lanes
        self._worker = worker
        self._batch = batch
        self._now = now
        self._may_write: set[tuple[str, int]] = set()
        self._statuses: dict[str, RunStatus] = {}
        self._crashed: set[str] = set()
        self._news: dict[str, int] = {}
        self._awaited: set[str] = set()

    async def commit(self) -> dict[tuple[str, int], RunStatus | None]:
        """See `Store.commit`."""
        batch = self._batch
        kinds = (batch.outcomes, batch.attempts, batch.moves, batch.logs, batch.progress, batch.started, batch.starts, batch.cancels)
        answers = await self.fence({(write[0], write[1]) for kind in kinds for write in kind})
        if batch.outcomes:
            await self.record(self._allowed(batch.outcomes, answers))
        started = list({(mark.run, mark.claim, mark.key): mark for mark in batch.started}.values())  # a statement changes a row once
        for name, writes in (
            ("attempts", batch.attempts), ("started", started), ("logs", batch.logs), ("progress", batch.progress),
        ):  # fmt: skip
            if writes and (allowed := self._allowed(writes, answers)):
                await self._transaction.execute(_STATEMENT[name], **{name: as_json(allowed)})
        if batch.starts:
            await self._start(self._allowed(batch.starts, answers))
        for cancel in sorted(self._allowed(batch.cancels, answers), key=lambda cancel: cancel.child):
            await cancel_child(self._transaction, cancel.run, cancel.child, self._now)
        if batch.moves:
            await self._move(self._allowed(batch.moves, answers))
        return answers

    async def fence(self, claims: set[tuple[str, int]]) -> dict[tuple[str, int], RunStatus | None]:
        """See which claims this worker still holds. What is answered is the exceptions."""
        answers: dict[tuple[str, int], RunStatus | None] = {}
        runs = as_json(sorted({run for run, _ in claims}))
        for run, claim, status, is_mine, crashes, news, is_awaited in await self._transaction.many("fence", runs=runs, worker=self._worker):
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

    async def record(self, outcomes: Sequence[Outcome]) -> None:
        """Write these outcomes, which the fence has let through. Those that are there already change nothing."""
        if not outcomes:
            return
        if await self._transaction.execute("record", outcomes=as_json(outcomes)) < len(outcomes):
            for outcome in outcomes:
                await compare(self._transaction, outcome)
        if self._crashed and (survived := self._crashed & {outcome.run for outcome in outcomes}):
            await self._transaction.execute("survived", runs=as_json(sorted(survived)))

    # -- children

    async def _start(self, starts: Sequence[StartChild]) -> None:
        published = await definitions(self._transaction) if any(start.by_name for start in starts) else []
        runs = [resolved(start, published) for start in starts]
        ids = await enqueue(self._transaction, self._lanes, runs)
        for start, run_id in zip(starts, ids, strict=True):
            if start.new.key is not None:
                payload = told(True, as_json(run_id))
                await put(self._transaction, start.run, start.new.id, mail_from(start.new.id), payload, self._now)

    # -- moves

    async def _move(self, moves: Sequence[Move]) -> None:
        rows = [row for move in moves if (row := self._moved(move)) is not None]
        if rows:
            await self._transaction.execute("move", moves=as_json(rows))
        ended = []
        for move in moves:
            if move.action is Action.CONTINUE_AS_NEW:
                await self._renew(move)
            elif move.run in self._awaited and move.action in _ENDS and after(self._statuses[move.run], move.action) is not None:
                ended.append(move.run)
        await tell_parents(self._transaction, ended, self._now)

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

    async def _renew(self, move: Move) -> None:
        if after(self._statuses[move.run], move.action) is None:
            return
        execute, run = self._transaction.execute, move.run
        new_input = move.input or "null"
        as_json([new_input])  # refuses what cannot be stored
        await execute("renew", run=run, now=self._now, preview=new_input[:PREVIEW])
        await execute("renew_input", run=run, input=new_input)
        self._transaction.hints.add(Hint.DUE)  # its deadline counts anew
        await execute("forget_outcomes", run=run)
        await execute("forget_attempts", run=run)
        if move.read:
            await execute("forget_signals", run=run, numbers=as_json(move.read))
        await execute("move_logs", run=run, claim=move.claim, first=0)


async def compare(transaction: Transaction, outcome: Outcome) -> None:
    """Raises RuntimeError when another outcome is there: it was written before, by this batch or an earlier one."""
    there = await recorded(transaction, outcome.run, outcome.key, outcome.claim)
    if there is None or not _is_same(there, outcome):
        raise RuntimeError(f"run {outcome.run} has another outcome for {outcome.key!r} already: {there}, not {outcome}")


async def recorded(transaction: Transaction, run: str, key: str, claim: int) -> Outcome | None:
    """What is there under this key."""
    rows = await transaction.many("recorded", run=run, key=key)
    return outcome_from(rows[0], claim) if rows else None


def _is_same(there: Outcome, outcome: Outcome) -> bool:
    """Whether they say the same. Instants are kept to the microsecond."""
    near = abs(there.at - outcome.at) < _NEAR and abs(there.started_at - outcome.started_at) < _NEAR
    return near and there._replace(claim=outcome.claim, at=outcome.at, started_at=outcome.started_at) == outcome


_STATEMENT: Final = {"attempts": "attempt", "started": "started", "logs": "log", "progress": "progress"}
