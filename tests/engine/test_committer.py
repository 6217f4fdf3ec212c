"""Group commit: what is in which batch, who is told what in which order, and what happens when the database does not take it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from stepwell.core.records import Attempt, CancelChild, LogEntry, Move, NewRun, Outcome, Progress, StartChild, Started
from stepwell.core.status import Action, RunStatus
from stepwell.engine.committer import MAX_BATCH, PORTION, Committer
from stepwell.errors import DatabaseUnavailable
from stepwell.store.memory import MemoryStore
from stepwell.store.port import Batch, WriteRefused
from stepwell.testing.clock import MovedClock
from tests.loops import on_a_loop, turns

Answers = dict[tuple[str, int], RunStatus | None]


class Database(MemoryStore):
    """Keeps the batches that it is given, and answers as the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[Batch] = []
        self.committed: list[Batch] = []
        self.answers: Answers = {}
        self.failures: list[BaseException] = []
        self.refuses: Callable[[Any], bool] = lambda _: False
        self.gate = asyncio.Event()
        self.gate.set()

    async def commit(self, worker: str, batch: Batch, now: float) -> Mapping[tuple[str, int], RunStatus | None]:
        self.batches.append(batch)
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        if any(self.refuses(write) for kind in batch for write in kind):
            raise WriteRefused("there is a sign in it that cannot be stored")
        self.committed.append(batch)
        return self.answers

    def written_keys(self) -> list[list[str]]:
        return [[outcome.key for outcome in batch.outcomes] for batch in self.committed]


class Told:
    """A writer that remembers what it was told."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []

    def written(self, write: Any, status: RunStatus | None) -> None:
        self.heard.append((name(write), status))

    def refused(self, write: Any, error: Exception) -> None:
        self.heard.append((name(write), type(error)))


def name(write: Any) -> str:
    return str(getattr(write, "key", None) or getattr(write, "action", None) or type(write).__name__)


def outcome(key: str, run: str = "r") -> Outcome:
    return Outcome(run, 1, key, 1, 0, 0, True, "1", 0.0, 0, 1, 0.0, 311)


def move(action: Action, run: str = "r", claim: int = 1) -> Move:
    return Move(run, claim, action)


def progress(done: float) -> Progress:
    return Progress("r", 1, done, None, None)


ATTEMPT = Attempt("r", 1, "tried", 1, 0, False, None, 0.0, 0.0, None)
MARK = Started("r", 1, "long", 1, 0.0)
START = StartChild("r", 1, "child", NewRun("c", "w", None, "null", 0.0, 0.0))
CANCEL = CancelChild("r", 1, "c")
LINE = LogEntry("r", 1, 0, "", 1, 0.0, "info", "hello", "{}", None)


@asynccontextmanager
async def committing(database: Database, clock: MovedClock | None = None) -> AsyncIterator[Committer]:
    """A committer at work."""
    committer = Committer(database, "alice", clock or MovedClock())
    running = asyncio.get_running_loop().create_task(committer.run())
    await turns(2)
    yield committer
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


# -- batches


@on_a_loop
async def test_an_idle_committer_writes_at_once_and_alone() -> None:
    database, told = Database(), Told()
    async with committing(database) as committer:
        committer.put(outcome("a"), told)
        await turns(3)

    assert database.written_keys() == [["a"]]
    assert told.heard == [("a", RunStatus.RUNNING)]


@on_a_loop
async def test_what_comes_in_while_a_batch_is_in_flight_is_the_next_batch() -> None:
    database, told = Database(), Told()
    database.gate.clear()
    async with committing(database) as committer:
        committer.put(outcome("a"), told)
        await turns()
        for key in "bcd":
            committer.put(outcome(key), told)
            await turns()
        in_flight = len(database.batches)
        database.gate.set()
        await turns()

    assert in_flight == 1
    assert database.written_keys() == [["a"], ["b", "c", "d"]]
    assert committer.batches == 2


@on_a_loop
async def test_a_batch_has_a_limit() -> None:
    database, told = Database(), Told()
    async with committing(database) as committer:
        for number in range(2 * MAX_BATCH + 1):
            committer.put(outcome(str(number)), told)
        await turns(4 * MAX_BATCH // PORTION)

    assert [len(keys) for keys in database.written_keys()] == [MAX_BATCH, MAX_BATCH, 1]
    assert [key for key, _ in told.heard] == [str(number) for number in range(2 * MAX_BATCH + 1)]


@on_a_loop
async def test_a_batch_holds_the_writes_by_kind_in_their_order() -> None:
    database, told = Database(), Told()
    async with committing(database) as committer:
        for write in (LINE, outcome("a"), CANCEL, MARK, START, ATTEMPT, progress(1), outcome("b"), move(Action.PARK)):
            committer.put(write, told)
        await turns()

    assert database.committed == [
        Batch([outcome("a"), outcome("b")], [ATTEMPT], [move(Action.PARK)], [LINE], [progress(1)], [MARK], [START], [CANCEL])
    ]


@on_a_loop
async def test_of_the_moves_and_the_progress_of_a_run_in_one_batch_the_last_is_written_and_all_are_answered() -> None:
    database, told = Database(), Told()
    async with committing(database) as committer:
        for write in (move(Action.PARK), progress(1), move(Action.PARK, "other"), move(Action.WAKE), progress(2)):
            committer.put(write, told)
        await turns()

    (batch,) = database.committed
    assert sorted(batch.moves) == [move(Action.PARK, "other"), move(Action.WAKE)]
    assert batch.progress == [progress(2)]
    assert [key for key, _ in told.heard] == ["park", "Progress", "park", "wake", "Progress"]


# -- answers


@on_a_loop
async def test_each_writer_is_told_how_its_run_stands() -> None:
    database, told = Database(), Told()
    database.answers = {("paused", 1): RunStatus.PAUSED, ("lost", 1): None}
    async with committing(database) as committer:
        for run in ("fine", "paused", "lost"):
            committer.put(outcome(run, run), told)
        await turns()

    assert told.heard == [("fine", RunStatus.RUNNING), ("paused", RunStatus.PAUSED), ("lost", None)]


@on_a_loop
async def test_answers_are_handed_out_in_order_and_in_portions_while_the_next_batch_commits() -> None:
    database, told = Database(), Told()
    async with committing(database) as committer:
        for number in range(3 * PORTION):
            committer.put(outcome(str(number)), told)
        sizes: list[int] = []
        while len(told.heard) < 3 * PORTION:
            await asyncio.sleep(0)
            if told.heard and not sizes:
                committer.put(outcome("next"), told)  # what the first bodies ask for
                database.gate.clear()
            sizes += [len(told.heard)] if told.heard else []
        under_way = len(database.batches)
        database.gate.set()
        await turns()

    assert sizes == [PORTION, 2 * PORTION, 3 * PORTION]
    assert under_way == 2
    assert [key for key, _ in told.heard] == [*map(str, range(3 * PORTION)), "next"]


@on_a_loop
async def test_it_is_idle_when_everything_is_written_and_answered_and_not_before() -> None:
    database, told = Database(), Told()
    loop = asyncio.get_running_loop()
    seen: list[tuple[bool, int]] = []

    def look() -> None:
        seen.append((committer.idle, len(told.heard)))
        loop.call_soon(look)

    async with committing(database) as committer:
        before = committer.idle
        for number in range(PORTION + 1):
            committer.put(outcome(str(number)), told)
        look()
        await turns(12)
        seen_by_then = list(seen)

    assert before
    assert all(idle == (heard == PORTION + 1) for idle, heard in seen_by_then)
    assert seen_by_then[-1] == (True, PORTION + 1)


@on_a_loop
async def test_answers_are_given_from_plain_callbacks_not_from_a_task() -> None:
    tasks: list[Any] = []

    class Looking(Told):
        def written(self, write: Any, status: RunStatus | None) -> None:
            tasks.append(asyncio.current_task())

        def refused(self, write: Any, error: Exception) -> None:
            tasks.append(asyncio.current_task())

    database = Database()
    database.refuses = lambda write: write.key == "bad"
    async with committing(database) as committer:
        committer.put(outcome("good"), Looking())
        committer.put(outcome("bad"), Looking())
        await turns()

    assert tasks == [None, None]


# -- the database cannot be reached


@on_a_loop
async def test_the_same_batch_is_written_again_until_the_database_answers_at_growing_delays(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    database, told, clock = Database(), Told(), MovedClock()
    database.failures = [DatabaseUnavailable("no route to host")] * 12
    delays: list[float] = []
    async with committing(database, clock) as committer:
        committer.put(outcome("a"), told)
        await turns()
        committer.put(outcome("b"), told)
        for _ in range(12):
            when = clock.next()
            assert when is not None
            delays.append(when - clock.now())
            assert told.heard == []
            clock.move_to(when)
            await turns()

    assert database.batches[:13] == [database.batches[0]] * 13
    assert database.written_keys() == [["a"], ["b"]]
    assert [key for key, _ in told.heard] == ["a", "b"]
    for number, delay in enumerate(delays):
        nominal = min(0.05 * 2**number, 5.0)
        assert nominal * 0.5 <= delay <= nominal * 1.5
    assert len(caplog.messages) == 12
    assert caplog.messages[3] == f"1 write waits for the database, the next try is in {delays[3]:.2f} s: no route to host"


@on_a_loop
async def test_after_a_time_without_database_the_delays_begin_anew() -> None:
    database, told, clock = Database(), Told(), MovedClock()
    async with committing(database, clock) as committer:
        for key in "ab":
            database.failures = [DatabaseUnavailable("gone")] * 4
            committer.put(outcome(key), told)
            await turns()
            first = clock.next()
            assert first is not None
            assert first - clock.now() <= 0.075
            while (when := clock.next()) is not None:
                clock.move_to(when)
                await turns()

    assert [key for key, _ in told.heard] == ["a", "b"]


# -- the database finds fault with a write


@pytest.mark.parametrize("bad", [{0}, {5}, {9}, {0, 9}, {3, 4, 5}, set(range(10))], ids=str)
@on_a_loop
async def test_a_bad_write_is_found_and_only_its_writer_is_told(bad: set[int]) -> None:
    database, told = Database(), Told()
    database.refuses = lambda write: int(write.key) in bad
    async with committing(database) as committer:
        for number in range(10):
            committer.put(outcome(str(number)), told)
        await turns(200)

    assert [key for keys in database.written_keys() for key in keys] == [str(number) for number in range(10) if number not in bad]
    assert told.heard == [(str(number), WriteRefused if number in bad else RunStatus.RUNNING) for number in range(10)]


@on_a_loop
async def test_a_refusal_is_told_after_the_answers_to_what_was_handed_in_before() -> None:
    database, told = Database(), Told()
    count = 4 * PORTION
    database.refuses = lambda write: write.key == str(count - 1)
    async with committing(database) as committer:
        for number in range(count):
            committer.put(outcome(str(number)), told)
        await turns(200)

    assert [key for key, _ in told.heard] == [str(number) for number in range(count)]


@on_a_loop
async def test_what_is_handed_in_while_a_bad_write_is_looked_for_is_written_after_it() -> None:
    database, told = Database(), Told()
    database.refuses = lambda write: write.key == "1"
    database.gate.clear()
    async with committing(database) as committer:
        for key in "012":
            committer.put(outcome(key), told)
        await turns()
        committer.put(outcome("3"), told)
        database.gate.set()
        await turns(100)

    assert [key for key, _ in told.heard] == ["0", "1", "2", "3"]


@on_a_loop
async def test_the_database_may_go_away_while_a_bad_write_is_looked_for() -> None:
    database, told, clock = Database(), Told(), MovedClock()
    database.refuses = lambda write: write.key == "1"
    async with committing(database, clock) as committer:
        database.failures = [WriteRefused("bad"), DatabaseUnavailable("gone")]
        for key in "0123":
            committer.put(outcome(key), told)
        await turns(100)
        when = clock.next()
        assert when is not None
        clock.move_to(when)
        await turns(100)

    assert told.heard == [("0", RunStatus.RUNNING), ("1", WriteRefused), ("2", RunStatus.RUNNING), ("3", RunStatus.RUNNING)]


# -- other errors


@on_a_loop
async def test_any_other_error_of_the_store_ends_the_committer_with_it() -> None:
    database, told = Database(), Told()
    database.failures = [RuntimeError("another outcome for 'a' already")]
    committer = Committer(database, "alice", MovedClock())
    committer.put(outcome("a"), told)

    with pytest.raises(RuntimeError, match="another outcome"):
        await committer.run()

    assert told.heard == []
    assert not committer.idle


@pytest.mark.parametrize("in_flight", [False, True])
@on_a_loop
async def test_an_error_of_a_writer_ends_the_committer_with_it_instead_of_leaving_the_others_without_answer(in_flight: bool) -> None:
    class Broken(Told):
        def written(self, write: Any, status: RunStatus | None) -> None:
            if in_flight:
                committer.put(outcome("next"), Told())
            raise ZeroDivisionError("a mistake in the engine")

    committer = Committer(Database(), "alice", MovedClock())
    committer.put(outcome("a"), Broken())

    with pytest.raises(ZeroDivisionError, match="a mistake in the engine"):
        await asyncio.wait_for(committer.run(), 1)


@on_a_loop
async def test_an_error_of_a_writer_ends_the_committer_also_while_the_database_is_away() -> None:
    class Broken(Told):
        def written(self, write: Any, status: RunStatus | None) -> None:
            raise ZeroDivisionError("a mistake in the engine")

    class GoesAway(Database):
        async def commit(self, worker: str, batch: Batch, now: float) -> Mapping[tuple[str, int], RunStatus | None]:
            if self.committed:
                raise DatabaseUnavailable("it is away")
            return await super().commit(worker, batch, now)

    committer = Committer(GoesAway(), "alice", MovedClock())  # on which the next try never comes
    committer.put(outcome("a"), Broken())
    for number in range(MAX_BATCH):
        committer.put(outcome(str(number)), Told())

    with pytest.raises(ZeroDivisionError, match="a mistake in the engine"):
        await asyncio.wait_for(committer.run(), 1)


@on_a_loop
async def test_what_is_handed_in_after_it_was_stopped_is_left_lying() -> None:
    database, told = Database(), Told()
    async with committing(database) as committer:
        pass

    committer.put(outcome("late"), told)
    await turns()

    assert (database.batches, told.heard, committer.idle) == ([], [], False)
