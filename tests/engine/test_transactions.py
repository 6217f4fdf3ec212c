"""`step.transaction`: what it writes to the database and its record are one. All else is as with any step."""

from __future__ import annotations

import asyncio
import contextvars
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import stepwell
from stepwell import (
    DatabaseUnavailable,
    DefinitionError,
    OutsideRun,
    Retry,
    RunFailed,
    RunStatus,
    Step,
    StepFailed,
    SyncStep,
    current_step,
    workflow,
)
from stepwell.core.status import RunStatus as Status
from stepwell.store.port import Effect
from stepwell.store.sqlite import SqliteStore
from stepwell.testing import TestApp, crash_everywhere
from tests.engine.harness import TWICE, Counter, caught, crash, scenario, status_is, successor, until

MEMORY = "sqlite://"


def make_table(app: TestApp) -> None:
    app.connection.execute("CREATE TABLE ledger (n)")


def booked(app: TestApp) -> list[Any]:
    return [number for (number,) in app.connection.execute("SELECT n FROM ledger ORDER BY rowid")]


def book(connection: sqlite3.Connection, number: int, *, twice: bool = False) -> int:
    connection.execute("INSERT INTO ledger VALUES (?)", (number,))
    return number * 2 if twice else number


def app_of(*workflows: Any, **options: Any) -> TestApp:
    return TestApp(*workflows, database=MEMORY, **options)


@scenario
async def test_its_function_gets_a_connection_and_its_arguments_and_its_result_comes_back() -> None:
    @workflow
    async def w(step: Step) -> list[int]:
        return [await step.transaction("a", book, 1), await step.transaction("a", book, number := 2, twice=True) + number]

    async with app_of(w) as app:
        make_table(app)
        handle = await app.start(w)

        assert await handle.result() == [1, 6]
        assert booked(app) == [1, 2]
        assert [(step.key, step.kind, step.status, step.output, step.attempt) for step in await handle.steps()] == [
            ("a", "function", "completed", 1, 1), ("a:1", "function", "completed", 4, 1),
        ]  # fmt: skip


@scenario
async def test_what_was_written_is_not_written_again_on_replay() -> None:
    counter = Counter()

    @workflow
    async def w(step: Step) -> int:
        number = await step.transaction("a", book, 1)
        await step.sleep("nap", "1h")
        await step.run("b", counter.step)
        return number

    async with app_of(w, self_moving=False) as app:
        make_table(app)
        handle = await app.start(w)
        await status_is(handle, RunStatus.SLEEPING)
        await crash(app)
        other = successor(app, w, self_moving=False)
        async with other:
            await other.advance("2h")
            assert await other.handle(handle.run_id).result() == 1
            assert booked(app) == [1]


@scenario
async def test_what_a_failed_attempt_has_written_is_rolled_back_and_it_is_tried_again_by_its_own_policy() -> None:
    attempts = []

    @stepwell.step("book", retry=Retry(3, "1m", jitter=0))
    def flaky(connection: sqlite3.Connection, number: int) -> int:
        book(connection, number)
        attempts.append(current_step().attempt)
        if len(attempts) < 3:
            raise OSError("not yet")
        return number

    @workflow
    async def w(step: Step) -> int:
        return await step.transaction("a", flaky, 1)

    async with app_of(w) as app:
        make_table(app)
        handle = await app.start(w)

        assert await handle.result() == 1
        assert (booked(app), attempts) == ([1], [1, 2, 3])
        assert [(step.attempt, step.status) for step in await handle.steps()] == [(1, "failed"), (2, "failed"), (3, "completed")]


@scenario
async def test_a_transaction_that_has_used_up_its_attempts_has_written_nothing() -> None:
    def fails(connection: sqlite3.Connection) -> None:
        book(connection, 1)
        raise ValueError("no")

    failures: list[StepFailed] = []

    @workflow(retry=TWICE)
    async def w(step: Step) -> str:
        try:
            await step.transaction("a", fails)
        except StepFailed as failed:
            failures.append(failed)
        return "caught"

    async with app_of(w) as app:
        make_table(app)

        assert await app.execute(w) == "caught"
        assert booked(app) == []
        assert (failures[0].attempts, failures[0].error.type, type(failures[0].__cause__)) == (2, "ValueError", ValueError)


@pytest.mark.parametrize(
    ("result", "kind"),
    [({1, 2}, "NotSerializable"), (float("nan"), "NotSerializable"), (object(), "NotSerializable"), ("x" * 5_000_000, "PayloadTooLarge")],
    ids=["a set", "NaN", "an object", "5 MB"],
)
@scenario
async def test_with_a_result_that_cannot_be_stored_nothing_is_written(result: Any, kind: str) -> None:
    def returns(connection: sqlite3.Connection) -> Any:
        book(connection, 1)
        return result

    @workflow
    async def w(step: Step) -> None:
        await step.transaction("a", returns)

    async with app_of(w) as app:
        make_table(app)
        error = await caught(app.execute(w))

        assert isinstance(error, RunFailed)
        assert error.error.caused_by(kind)
        assert booked(app) == []


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), StopIteration(), asyncio.CancelledError(), GeneratorExit()], ids=repr
)
@scenario
async def test_whatever_its_function_raises_is_the_failure_of_the_step(error: BaseException) -> None:
    def raises(connection: sqlite3.Connection) -> None:
        book(connection, 1)
        raise error

    @workflow
    async def w(step: Step) -> None:
        await step.transaction("a", raises)

    async with app_of(w) as app:
        make_table(app)
        failure = await caught(app.execute(w))

        assert isinstance(failure, RunFailed)
        assert failure.error.caused_by(type(error))
        assert booked(app) == []


@scenario
async def test_a_function_that_commits_fails_at_once_and_is_told_why() -> None:
    calls = []

    def commits(connection: sqlite3.Connection) -> None:
        calls.append(book(connection, 1))
        connection.commit()

    @workflow
    async def w(step: Step) -> None:
        await step.transaction("a", commits)

    async with app_of(w) as app:
        make_table(app)
        error = await caught(app.execute(w))

        assert "DefinitionError: the function of transaction 'a' is not to use COMMIT" in str(error)
        assert (booked(app), calls) == ([], [1])


@scenario
async def test_it_knows_its_step_and_the_context_of_its_caller() -> None:
    place = contextvars.ContextVar("place", default="nowhere")
    seen = []

    def looks(connection: sqlite3.Connection) -> None:
        seen.append((current_step().key, current_step().idempotency_key.rpartition(":")[2], place.get()))
        place.set("elsewhere")

    @workflow
    async def w(step: Step) -> str:
        place.set("here")
        await step.transaction("a", looks)
        return place.get()

    async with app_of(w) as app:
        assert await app.execute(w) == "here"
        assert seen == [("a", "a", "here")]


@scenario
async def test_a_step_within_a_transaction_is_refused() -> None:
    @workflow
    async def w(step: Step) -> None:
        def nests(connection: sqlite3.Connection) -> None:
            step.run("b", Counter().plain).send(None)

        await step.transaction("a", nests)

    async with app_of(w) as app:
        error = await caught(app.execute(w))

        assert isinstance(error, RunFailed)
        assert error.error.caused_by(OutsideRun)
        assert "is called" in str(error)


async def is_async(connection: sqlite3.Connection) -> None:
    raise AssertionError("it is not to be called")


def returns_awaitable(connection: sqlite3.Connection) -> Awaitable[None]:
    return is_async(connection)


@pytest.mark.parametrize(
    ("function", "said"), [(is_async, "is an `async def`, and SQLite has one connection"), (returns_awaitable, "returns an awaitable")]
)
@scenario
async def test_on_sqlite_only_a_def_can_be_a_transaction(function: Callable[..., Any], said: str) -> None:
    @workflow
    async def w(step: Step) -> None:
        await step.transaction("a", function)

    async with app_of(w) as app:
        handle = await app.start(w)
        error = await caught(handle.result())

        assert said in str(error)
        assert [(step.attempt, step.status) for step in await handle.steps()] == [(1, "failed")]


@pytest.mark.parametrize(
    "arguments",
    [("a",), ("a", 7), (7, book), ("", book), ("a", None), (book, 7)],
    ids=lambda given: f"{len(given)} {type(given[0]).__name__}",
)
@scenario
async def test_it_takes_a_name_and_a_function(arguments: tuple[Any, ...]) -> None:
    @workflow(retry=TWICE)
    async def w(step: Step) -> None:
        transaction: Any = step.transaction
        await transaction(*arguments)

    async with app_of(w) as app:
        error = await caught(app.execute(w))

        assert isinstance(error, RunFailed)
        assert error.error.caused_by(DefinitionError)


@scenario
async def test_without_a_database_it_is_refused_and_can_be_mocked() -> None:
    @workflow
    async def w(step: Step) -> int:
        return await step.transaction("a", book, 1)

    async with TestApp(w) as app:
        error = await caught(app.execute(w))
        assert 'TestApp(..., database="sqlite://")' in str(error)
        with pytest.raises(DefinitionError, match="has no database"):
            _ = app.connection

        app.mock_step("a", returns=7)
        assert await app.execute(w) == 7
        app.mock_step("a", returns=lambda number: number + 10)
        assert await app.execute(w) == 11


@scenario
async def test_a_mock_writes_nothing_where_there_is_a_database_and_a_failure_is_retried() -> None:
    @workflow
    async def w(step: Step) -> int:
        return await step.transaction("a", book, 1)

    async with app_of(w) as app:
        make_table(app)
        app.mock_step("a", returns=7)
        assert (await app.execute(w), booked(app)) == (7, [])

        app.unmock_step("a")
        app.fail_step("a", times=2)
        assert (await app.execute(w), booked(app)) == (1, [1])


@scenario
async def test_a_def_body_waits_for_it() -> None:
    @workflow
    def w(step: SyncStep) -> int:
        first = step.transaction("a", book, 1)
        return first + step.transaction("b", book, 2, twice=True)

    async with app_of(w) as app:
        make_table(app)

        assert await app.execute(w) == 5
        assert booked(app) == [1, 2]


@scenario
async def test_transactions_and_other_steps_side_by_side_are_delivered_in_one_order() -> None:
    counter = Counter()

    @workflow
    async def w(step: Step) -> list[int]:
        calls = [step.transaction("t", book, number) if number % 2 else step.run("s", counter.step, number) for number in range(10)]
        return [await soonest for soonest in asyncio.as_completed(calls)]

    async with app_of(w) as app:
        make_table(app)
        handle = await app.start(w)
        result = await handle.result()

        assert sorted(result) == list(range(10))
        outcomes = await app.store.outcomes(handle.run_id, 0, 100)
        assert [int(outcome.value or "") for outcome in outcomes] == result
        assert booked(app) == [1, 3, 5, 7, 9]


@scenario
async def test_whatever_crashes_each_is_written_once() -> None:
    async def other(number: int) -> int:
        return number

    @stepwell.step("risky", retry=TWICE)
    def risky(connection: sqlite3.Connection, number: int) -> int:
        book(connection, number)
        if current_step().attempt == 1:
            raise OSError("not yet")
        return number

    @workflow
    async def w(step: Step) -> list[int]:
        first = await step.transaction("a", book, 1)
        await step.sleep("nap", "1h")
        calls = [step.transaction("b", book, number) for number in (2, 3)]
        several = await asyncio.gather(*calls, step.run("c", other, 4), step.transaction("d", risky, 5))
        return [first, *several]

    report = await crash_everywhere(w, setup=make_table, effects=lambda app: sorted(booked(app)), database=MEMORY)

    assert report.commits >= 8
    assert report.repeated == ("@2/c",)  # what a transaction had written was rolled back


# -- operators, and time


@scenario
async def test_a_run_that_is_canceled_before_it_has_written_nothing() -> None:
    gate = asyncio.Event()

    @workflow
    async def w(step: Step) -> None:
        await step.run("wait", gate.wait)
        await step.transaction("a", book, 1)

    async with app_of(w) as app:
        make_table(app)
        handle = await app.start(w)
        await status_is(handle, RunStatus.RUNNING)
        await handle.cancel()
        gate.set()
        await app.execute(w)

        assert booked(app) == [1]  # of the second run


class Away(SqliteStore):
    """A database whose answers to transactions get lost, or that they do not reach."""

    def __init__(self, *troubles: str) -> None:
        super().__init__(None, threads=False)
        self.troubles = list(troubles)
        self.then: Callable[[], Awaitable[Any]] | None = None
        """What happens while the answer is lost."""

    async def transact(self, worker: str, effect: Effect, now: float) -> Status | None:
        trouble = self.troubles.pop(0) if self.troubles else ""
        if trouble == "before":
            raise DatabaseUnavailable("not reached")
        if trouble == "hangs":
            await asyncio.Event().wait()
        status = await super().transact(worker, effect, now)
        if trouble == "after":
            if self.then is not None:
                await self.then()
            raise DatabaseUnavailable("the answer is lost")
        return status


def away(app: TestApp, *troubles: str) -> Away:
    store = Away(*troubles)
    app.store = store
    return store


@pytest.mark.parametrize("troubles", [["before"], ["after"], ["before", "before", "after", "after", "before"]], ids=str)
@scenario
async def test_a_database_that_is_away_costs_no_attempt_and_nothing_is_written_twice(troubles: list[str]) -> None:
    calls = []

    def counted(connection: sqlite3.Connection, number: int) -> int:
        calls.append(number)
        return book(connection, number)

    @workflow(retry=Retry.never())
    async def w(step: Step) -> int:
        return await step.transaction("a", counted, 1)

    app = app_of(w)
    away(app, *troubles)
    async with app:
        make_table(app)
        handle = await app.start(w)

        assert await handle.result() == 1
        assert (booked(app), calls) == ([1], [1])
        assert [(step.attempt, step.status) for step in await handle.steps()] == [(1, "completed")]


@scenario
async def test_what_comes_after_a_transaction_whose_answer_is_lost_waits_for_it() -> None:
    counter = Counter()
    order = []

    @workflow
    async def w(step: Step) -> None:
        async def transaction() -> None:
            await step.transaction("a", book, 1)
            order.append("a")

        async def other() -> None:
            await step.run("b", counter.step)
            order.append("b")

        await asyncio.gather(transaction(), other())

    app = app_of(w)
    away(app, "after", "before", "before")
    async with app:
        make_table(app)
        await app.execute(w)

        assert order == ["a", "b"]


@scenario
async def test_a_transaction_whose_claim_is_lost_meanwhile_is_anothers_to_write() -> None:
    @workflow
    async def w(step: Step) -> int:
        return await step.transaction("a", book, 1)

    app = app_of(w)
    store = away(app, "before")
    async with app:
        make_table(app)
        handle = await app.start(w)
        await until(lambda: not store.troubles)
        await crash(app)
        other = successor(app, w)
        async with other:
            assert await other.handle(handle.run_id).result() == 1
            assert booked(app) == [1]


@scenario
async def test_a_run_that_is_canceled_while_the_answer_is_lost_is_left() -> None:
    @workflow
    async def w(step: Step) -> None:
        await step.transaction("a", book, 1)
        await step.transaction("b", book, 2)

    app = app_of(w)
    store = away(app, "after")
    async with app:
        make_table(app)
        handle = await app.start(w)
        store.then = handle.cancel
        await status_is(handle, RunStatus.CANCELED)
        await app.execute(w)

        assert booked(app) == [1, 1, 2]  # what was written before the cancel stays


@scenario
async def test_a_run_that_is_paused_meanwhile_keeps_what_was_written_and_goes_on_from_there() -> None:
    @workflow
    async def w(step: Step) -> list[int]:
        return [await step.transaction("a", book, 1), await step.transaction("b", book, 2)]

    app = app_of(w)
    store = away(app, "after")
    async with app:
        make_table(app)
        handle = await app.start(w)
        store.then = handle.pause
        await status_is(handle, RunStatus.PAUSED)
        await until(lambda: handle.run_id not in app._worker.here)  # type: ignore[union-attr]
        assert booked(app) == [1]
        await handle.resume()

        assert await handle.result() == [1, 2]
        assert booked(app) == [1, 2]


@scenario
async def test_what_the_body_does_not_wait_for_any_more_is_not_begun() -> None:
    calls: list[sqlite3.Connection] = []

    def keep(connection: sqlite3.Connection) -> None:
        calls.append(connection)

    @workflow
    async def w(step: Step) -> str:
        try:
            async with asyncio.timeout(0.1):
                await step.transaction("a", keep)
        except TimeoutError:
            return "late"
        return "in time"

    app = app_of(w)
    away(app, *["before"] * 8)
    async with app:
        handle = await app.start(w)

        assert await handle.result() == "late"
        assert calls == []


@scenario
async def test_a_transaction_whose_answer_is_lost_goes_before_a_timer_that_fires_meanwhile() -> None:
    @workflow
    async def w(step: Step) -> str:
        try:
            async with asyncio.timeout(0.01):
                await step.transaction("a", book, 1)
        except TimeoutError:
            return "late"
        return "in time"

    app = app_of(w)
    away(app, "after", *["before"] * 3)
    async with app:
        make_table(app)
        handle = await app.start(w)

        assert await handle.result() == "in time"
        assert booked(app) == [1]


@scenario
async def test_what_was_written_and_the_body_does_not_wait_for_any_more_is_recorded_and_passed_over_also_on_replay() -> None:
    counter = Counter()

    @workflow
    async def w(step: Step) -> str:
        steps = [asyncio.ensure_future(step.run("a", counter.step)), asyncio.ensure_future(step.transaction("b", book, 1))]
        done, waiting = await asyncio.wait(steps, return_when=asyncio.FIRST_COMPLETED)
        for other in waiting:
            other.cancel()
        await step.wait_for_signal("go")
        await step.run("c", counter.step)
        return f"{len(done)} done"

    app = app_of(w)
    away(app, "after", "before")
    async with app:
        make_table(app)
        handle = await app.start(w)
        await status_is(handle, RunStatus.SLEEPING)
        await crash(app)
        other = successor(app, w)
        async with other:
            await handle.signal("go")
            assert await other.handle(handle.run_id).result() == "1 done"
            assert booked(app) == [1]
            assert [outcome.key for outcome in await app.store.outcomes(handle.run_id, 0, 9)][:2] == ["@0/a", "@1/b"]


@scenario
async def test_an_attempt_that_takes_longer_than_its_timeout_is_not_written() -> None:
    @stepwell.step("book", timeout="20ms", retry=Retry.never())
    def limited(connection: sqlite3.Connection) -> int:
        return book(connection, 1)

    @workflow
    async def w(step: Step) -> None:
        await step.transaction("a", limited)

    app = app_of(w)
    away(app, *["before"] * 4)
    async with app:
        make_table(app)
        error = await caught(app.execute(w))

        assert "StepTimeout: step 'a' took longer than its timeout of 0.02 s" in str(error)
        assert booked(app) == []


@scenario
async def test_a_worker_leaves_in_time_though_the_database_does_not_answer() -> None:
    @workflow
    async def w(step: Step) -> None:
        await step.transaction("a", book, 1)

    app = app_of(w)
    store = away(app, "hangs")
    async with app:
        make_table(app)
        await app.start(w)
        await until(lambda: not store.troubles)
        await asyncio.wait_for(app._end(), 5)

        assert booked(app) == []
        assert [task for task in asyncio.all_tasks() if "_transaction" in repr(task)] == []


@scenario
async def test_an_outcome_that_contradicts_the_record_ends_the_worker() -> None:
    @workflow
    async def w(step: Step) -> None:
        await step.transaction("a", book, 1)

    with pytest.raises(RuntimeError, match="has another outcome for 'a' already"):
        async with app_of(w) as app:
            make_table(app)
            app.connection.execute(
                "CREATE TRIGGER before_us AFTER INSERT ON ledger BEGIN INSERT INTO stepwell_outcomes "
                "SELECT id, 'a', 9, 0, 0, 1, '7', 0, 0, 1, 0, 311, NULL FROM stepwell_runs; END"
            )
            await app.execute(w)


@scenario
async def test_how_often_it_is_asked_for_counts_towards_max_steps() -> None:
    @workflow(max_steps=3)
    async def w(step: Step) -> None:
        for _ in range(4):
            await step.transaction("a", book, 1)

    async with app_of(w) as app:
        make_table(app)
        error = await caught(app.execute(w))

        assert "more than max_steps=3" in str(error)
        assert booked(app) == [1, 1, 1]
