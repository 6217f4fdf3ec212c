"""Group commit: every write of a running worker, many runs in one transaction.

What the runs hand in while a batch is being committed makes up the next one. There is no timer: an idle worker commits at once, a busy
one in batches. One batch is in flight at a time, so a run's outcomes become durable in the order of their numbers.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Protocol

from stepwell.core.records import Attempt, CancelChild, LogEntry, Move, Outcome, Progress, StartChild, Started
from stepwell.core.status import RunStatus
from stepwell.engine.counters import Counters
from stepwell.engine.service import Waker
from stepwell.errors import DatabaseUnavailable
from stepwell.store.port import Batch, WriteRefused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stepwell.engine.clock import Clock
    from stepwell.store.port import Store

log = logging.getLogger(__name__)

Write = Outcome | Attempt | Move | LogEntry | Progress | Started | StartChild | CancelChild

MAX_BATCH: Final = 2_000
"""Writes in one transaction."""

PORTION: Final = 32
"""Answers handed out between two turns of the loop: what the first bodies ask for is on its way while the others are stepped."""

_FIRST_RETRY: Final = 0.05
_LONGEST_RETRY: Final = 5.0


class Writer(Protocol):
    """Who hands in writes."""

    def written(self, write: Any, status: RunStatus | None) -> None:
        """It is durable, as far as the run's status allowed. None: the run is no longer this worker's, and nothing was written."""

    def refused(self, write: Any, error: Exception) -> None:
        """The database will not take it, now or later. Nothing was written of it."""


class Committer:
    """Writes what it is given, in order, and tells each writer how its run stands now. From plain callbacks of the worker's loop."""

    def __init__(self, store: Store, worker: str, clock: Clock, counters: Counters | None = None) -> None:
        self._store = store
        self.worker = worker
        """Under whose id it writes; it changes when the worker was taken for dead, and begins anew."""
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[Write, Writer]] = []
        self._answers: deque[tuple[Write, Writer, RunStatus | WriteRefused | None]] = deque()
        self._answering = False
        self._failure: Exception | None = None  # of a writer that was being told
        self._wake: asyncio.Future[None] | None = None
        self._in_flight = False
        self._pause = Waker(clock)  # the database tells nobody that it is back; only a failure ends it
        self._counters = counters or Counters()
        self.batches = 0
        """Transactions so far."""

    def put(self, write: Write, writer: Writer) -> None:
        """Write this with the next batch."""
        self._waiting.append((write, writer))
        if self._wake is not None:
            if not self._wake.done():  # it is when this was stopped
                self._wake.set_result(None)
            self._wake = None

    @property
    def idle(self) -> bool:
        """Whether everything handed in is written and answered."""
        return not (self._waiting or self._in_flight or self._answers)

    async def run(self) -> None:
        """Write until canceled. An error that leaves here, a writer's too, is the end of the worker: its runs would wait for ever."""
        while self._failure is None:
            if not self._waiting:
                self._wake = self._loop.create_future()
                await self._wake
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            self._in_flight = True
            await self._write(batch)
            del batch  # an idle worker must not keep what has left in memory
            self._in_flight = False
        raise self._failure

    async def _write(self, batch: Sequence[tuple[Write, Writer]]) -> None:
        """Write these; when the database finds fault with one of them, find it by halving and go on without it."""
        try:
            answers = await self._commit([write for write, _ in batch])
        except WriteRefused as error:
            if len(batch) == 1:
                write, writer = batch[0]
                log.error("run %s: the database refuses a write: %s", write.run, error)  # noqa: TRY400  # the writer deals with it
                self._tell([(write, writer, error)])
                return
            half = len(batch) // 2
            await self._write(batch[:half])
            await self._write(batch[half:])
            return
        if answers:
            running = RunStatus.RUNNING
            self._tell([(write, writer, answers.get((write.run, write.claim), running)) for write, writer in batch])
        else:
            self._tell([(write, writer, RunStatus.RUNNING) for write, writer in batch])

    async def _commit(self, writes: Sequence[Write]) -> Mapping[tuple[str, int], RunStatus | None]:
        sorted_writes = _sorted(writes)
        delay = _FIRST_RETRY
        while True:
            try:
                answers = await self._store.commit(self.worker, sorted_writes, self._clock.now())
            except DatabaseUnavailable as error:  # unknown whether it was committed; the same batch again changes nothing
                seconds = delay * (0.5 + self._clock.random())
                waiting = "1 write waits" if len(writes) == 1 else f"{len(writes)} writes wait"
                log.warning("%s for the database, the next try is in %.2f s: %s", waiting, seconds, error)
                if await self._pause.wait_for(seconds) and self._failure is not None:
                    raise self._failure from None
                delay = min(delay * 2, _LONGEST_RETRY)
            else:
                self.batches += 1
                self._counters.batches.add(len(writes))
                return answers

    def _tell(self, answers: Sequence[tuple[Write, Writer, RunStatus | WriteRefused | None]]) -> None:
        self._answers.extend(answers)
        if not self._answering:
            self._answering = True
            self._loop.call_soon(self._answer)  # out of this task: bodies are stepped from plain callbacks

    def _answer(self) -> None:
        answers = self._answers
        try:
            for _ in range(min(PORTION, len(answers))):
                write, writer, answer = answers.popleft()
                if isinstance(answer, WriteRefused):
                    writer.refused(write, answer)
                else:
                    writer.written(write, answer)
        except Exception as error:  # noqa: BLE001  # it is raised by `run`: here, the event loop would only log it
            self._fail(error)
            return
        self._answering = bool(answers)
        if answers:
            self._loop.call_soon(self._answer)

    def _fail(self, error: Exception) -> None:
        self._failure = error
        self._pause.set()
        if self._wake is not None and not self._wake.done():
            self._wake.set_exception(error)


def _sorted(writes: Sequence[Write]) -> Batch:
    outcomes: list[Outcome] = []
    attempts: list[Attempt] = []
    moves: dict[tuple[str, int], Move] = {}  # a run that is parked and woken in one batch ends up as the last move says
    logs: list[LogEntry] = []
    progress: dict[tuple[str, int], Progress] = {}
    started: list[Started] = []
    starts: list[StartChild] = []
    cancels: list[CancelChild] = []
    for write in writes:
        kind = type(write)
        if kind is Outcome:
            outcomes.append(write)  # type: ignore[arg-type]
        elif kind is Move:
            moves[write.run, write.claim] = write  # type: ignore[assignment]
        elif kind is Attempt:
            attempts.append(write)  # type: ignore[arg-type]
        elif kind is LogEntry:
            logs.append(write)  # type: ignore[arg-type]
        elif kind is Started:
            started.append(write)  # type: ignore[arg-type]
        elif kind is StartChild:
            starts.append(write)  # type: ignore[arg-type]
        elif kind is CancelChild:
            cancels.append(write)  # type: ignore[arg-type]
        else:
            progress[write.run, write.claim] = write  # type: ignore[assignment]
    return Batch(outcomes, attempts, list(moves.values()), logs, list(progress.values()), started, starts, cancels)
