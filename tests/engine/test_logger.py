"""What a body and its steps say is kept with the run, each line once."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any, Self

import pytest

from stepwell import Logger, Retry, RunInfo, Step, SyncStep, workflow
from stepwell.testing import TestApp
from tests.engine.harness import Counter, caught, crash, scenario, settled, successor, until
from tests.engine.rig import Rig


class Keeper(logging.Handler):
    def __init__(self, name: str) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []
        self.logger = logging.getLogger(name)

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def __enter__(self) -> Self:
        self.logger.addHandler(self)
        self.logger.setLevel(logging.DEBUG)
        return self

    def __exit__(self, *_: object) -> None:
        self.logger.removeHandler(self)
        self.logger.setLevel(logging.NOTSET)


@scenario
async def test_a_line_is_written_once_although_the_body_replays_and_is_retried() -> None:
    @workflow(retry=Retry(3, "1s"))
    async def flow(step: Step, logger: Logger, run: RunInfo) -> None:
        logger.info("begins")
        logger.info("begins")
        await step.run("work", Counter().step)
        logger.warning("worked", amount=3)
        await step.sleep("a while", "1 day")
        logger.debug("slept")
        if run.attempt == 1:
            raise OSError("again")
        logger.error("ends")

    with Keeper("stepwell.workflow.flow") as keeper:
        async with TestApp(flow, self_moving=False) as app:
            handle = await app.start(flow)
            await app.advance("1h")
            await crash(app)
        async with successor(app, flow) as app:
            await app.handle(handle.run_id).result()
            lines = await app.handle(handle.run_id).logs()

    expected = [("info", "begins"), ("info", "begins"), ("warning", "worked"), ("debug", "slept"), ("error", "ends")]
    assert [(line.level, line.message) for line in lines] == expected
    assert [record.getMessage() for record in keeper.records] == ["begins", "begins", "worked amount=3", "slept", "ends"]
    assert {record.run_id for record in keeper.records} == {handle.run_id}  # type: ignore[attr-defined]
    assert keeper.records[0].filename == "test_logger.py"
    assert lines[2].fields == {"amount": 3}


@scenario
async def test_a_step_s_lines_name_the_step_also_from_threads() -> None:
    @workflow
    async def flow(step: Step, logger: Logger) -> None:
        async def in_loop() -> None:
            logger.info("in loop")
            await asyncio.to_thread(logger.info, "in helper")

        def in_thread() -> None:
            logger.info("in thread")
            other = threading.Thread(target=lambda: logger.info("in a thread of a thread"))
            other.start()
            other.join()

        logger.info("in body")
        await step.run("loop", in_loop)
        await step.run("thread", in_thread)
        logger.info("in body again")

    with Keeper("stepwell.workflow") as keeper:
        async with TestApp(flow) as app:
            handle = await app.start(flow)
            await handle.result()
            lines = await handle.logs()

    assert sorted((line.message, line.step) for line in lines if line.step) == [
        ("in helper", "loop"),
        ("in loop", "loop"),
        ("in thread", "thread"),
    ]
    assert {line.message for line in lines if line.step is None} == {"in body", "in body again", "in a thread of a thread"}
    assert next(record for record in keeper.records if record.msg and record.getMessage() == "in loop").step == "loop"  # type: ignore[attr-defined]


@scenario
async def test_lines_of_steps_take_no_line_of_the_body_away() -> None:
    @workflow
    async def flow(step: Step, logger: Logger) -> None:
        async def chatty() -> None:
            for number in range(10):
                logger.info("chat", number=number)

        async def branch(name: str) -> None:
            logger.info(name)
            await step.run("chatty", chatty)
            await step.sleep("a while", "1 day")
            logger.info(f"{name} ends")  # noqa: G004  # this logger takes a finished message

        await asyncio.gather(branch("a"), branch("b"))

    async with TestApp(flow, self_moving=False) as app:
        handle = await app.start(flow)
        await app.advance("1h")
        await crash(app)
    async with successor(app, flow) as app:
        await app.handle(handle.run_id).result()
        lines = await app.handle(handle.run_id).logs()

    assert [line.message for line in lines if line.step is None] == ["a", "b", "a ends", "b ends"]
    assert sum(line.message == "chat" for line in lines) == 20


@scenario
async def test_many_threads_at_once_lose_no_line() -> None:
    @workflow
    async def flow(step: Step, logger: Logger) -> None:
        def chatty(name: int) -> None:
            for number in range(50):
                logger.info(str((name, number)))

        await step.map("chatty", chatty, range(20))

    async with TestApp(flow) as app:
        handle = await app.start(flow)
        await handle.result()
        lines = await handle.logs()

    assert len({line.message for line in lines}) == len(lines) == 1_000


@scenario
async def test_what_a_retried_run_says_is_kept_although_its_place_was_taken() -> None:
    works: list[bool] = []

    async def charge() -> None:
        if not works:
            raise OSError("down")

    @workflow(retry=Retry(1))
    async def flow(step: Step, logger: Logger) -> None:
        logger.info("begins")
        error = await caught(step.run("charge", charge))
        logger.info("failed" if error else "charged")
        if error:
            raise error

    async with TestApp(flow) as app:
        handle = await app.start(flow)
        await caught(handle.result())
        works.append(True)
        await handle.retry()
        await handle.result()
        lines = await handle.logs()

    assert [line.message for line in lines] == ["begins", "failed", "charged"]


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


@scenario
async def test_odd_fields_are_kept_as_well_as_can_be_and_never_disturb_the_body() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    deep: Any = []
    for _ in range(5_000):
        deep = [deep]

    @workflow
    async def flow(step: Step, logger: Logger) -> str:
        logger.info("odd", object=object, nan=float("nan"), fine=1)
        logger.info("cycle", cycle=cycle, fine=1)
        logger.info("unprintable", value=Unprintable(), fine=1)
        logger.info("deep", value=deep, fine=1)
        logger.info("keys", value={(1, 2): 3}, fine=1)
        logger.info("surrogate \ud800 \0", value="\ud800", fine=1)
        logger.info("names", message="m", self="s", level="l", fine=1)
        logger.info("huge", value="x" * 100_000)
        logger.info("m" * 100_000)
        logger.info("percent %s %d", fine=1)
        logger.info(Unprintable())  # type: ignore[arg-type]
        try:
            raise KeyError("k")
        except KeyError:
            logger.exception("caught", fine=1)
        return "done"

    async with TestApp(flow) as app:
        handle = await app.start(flow)
        assert await handle.result() == "done"
        lines = await handle.logs()

    assert len(lines) == 12
    by_message = {line.message.split(" ")[0]: line for line in lines}
    for message in ("odd", "cycle", "unprintable", "deep", "keys", "surrogate", "names", "caught"):
        assert by_message[message].fields["fine"] == 1, message
    assert by_message["names"].fields == {"message": "m", "self": "s", "level": "l", "fine": 1}
    assert "KeyError: 'k'" in by_message["caught"].fields["traceback"]
    assert by_message["caught"].level == "error"
    assert all(len(line.message) <= 20_000 for line in lines)
    lines[5].message.encode()
    assert lines[9].message == "percent %s %d"


@scenario
async def test_a_def_body_logs_once_too() -> None:
    @workflow
    def flow(step: SyncStep, logger: Logger) -> None:
        logger.info("begins")
        step.run("work", lambda: logger.info("works"))
        step.sleep("a while", "1 day")
        logger.info("ends")

    async with TestApp(flow) as app:
        handle = await app.start(flow)
        await handle.result()
        lines = await handle.logs()

    assert [(line.message, line.step) for line in lines] == [("begins", None), ("works", "work"), ("ends", None)]


def test_a_thread_that_is_left_behind_can_still_log_when_the_loop_is_gone() -> None:
    release, began, ends = threading.Event(), threading.Event(), Counter()

    @workflow
    async def flow(step: Step, logger: Logger) -> None:
        def slow() -> None:
            began.set()
            release.wait(10)
            try:
                logger.info("late")
                ends.plain("logged")
            except BaseException as error:  # noqa: BLE001
                ends.plain(error)

        await step.run("slow", slow)

    @scenario
    async def live() -> None:
        async with TestApp(flow) as app:
            await app.start(flow)
            await until(began.is_set)
            await settled(app)

    live()
    release.set()
    for _ in range(1_000):
        if ends.calls:
            break
        threading.Event().wait(0.005)

    assert ends.calls == ["logged"]


# -- limits


@pytest.mark.parametrize("who", ["body", "step", "thread"])
@scenario
async def test_a_run_that_logs_without_end_is_stored_up_to_a_limit_and_says_so_once(monkeypatch: pytest.MonkeyPatch, who: str) -> None:
    monkeypatch.setattr("stepwell.engine.logger.MAX_LINES", 5)

    @workflow
    async def flow(step: Step, logger: Logger) -> None:
        def talk() -> None:
            for number in range(20):
                logger.info(str(number))

        async def talk_on_the_loop() -> None:
            talk()

        if who == "body":
            talk()
        else:
            await step.run("talk", talk if who == "thread" else talk_on_the_loop)

    with Keeper("stepwell.workflow.flow") as keeper:
        async with TestApp(flow) as app:
            handle = await app.start(flow)
            await handle.result()
            lines = await handle.logs()

    assert [line.message for line in lines if line.level == "info"] == ["0", "1", "2", "3", "4"]
    (last,) = [line.message for line in lines if line.level == "warning"]
    assert last.startswith("further lines of this run are not stored")
    assert len(keeper.records) == 20


def _talkative(said: list[int], count: int) -> Any:
    @workflow(name="flow")
    async def flow(step: Step, logger: Logger) -> None:
        def talk() -> None:
            for number in range(count):
                logger.info(str(number))
                said.append(number)

        await step.run("talk", talk)

    return flow


@scenario
async def test_a_thread_that_logs_faster_than_the_database_stores_waits_and_loses_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepwell.engine.logger.MAX_ON_THEIR_WAY", 10)
    said: list[int] = []
    rig = Rig(_talkative(said, 50))

    async with rig.worker():
        rig.store.go_away("commit")
        run_id = await rig.start("flow")
        await until(lambda: len(said) == 10)
        await asyncio.to_thread(threading.Event().wait, 0.05)
        waiting = len(said)
        rig.store.come_back()
        async with asyncio.timeout(50):
            while not (await rig.run(run_id)).status.ended:
                await rig.passes(0.25)
                await asyncio.sleep(0.001)

    assert waiting == 10
    assert [line.message for line in await rig.store.logs(run_id)] == [str(number) for number in range(50)]


@scenario
async def test_a_thread_does_not_wait_for_ever_when_the_workers_own_thread_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepwell.engine.logger.MAX_ON_THEIR_WAY", 10)
    monkeypatch.setattr("stepwell.engine.logger.PATIENCE", 0.2)

    @workflow
    async def flow(step: Step, logger: Logger) -> None:
        def talk() -> None:
            for number in range(50):
                logger.info(str(number))

        async def blocks() -> None:
            other = threading.Thread(target=talk)
            other.start()
            other.join()

        await step.run("blocks", blocks)

    async with TestApp(flow) as app:
        handle = await app.start(flow)
        await handle.result()
        assert len(await handle.logs()) == 50


@scenario
async def test_a_thread_that_waits_to_log_goes_on_when_its_run_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepwell.engine.logger.MAX_ON_THEIR_WAY", 10)
    said: list[int] = []
    rig = Rig(_talkative(said, 50))

    async with rig.worker() as worker:
        rig.store.go_away("commit")
        await rig.start("flow")
        await until(lambda: len(said) == 10)
        worker.abandon()
        await until(lambda: len(said) == 50)
