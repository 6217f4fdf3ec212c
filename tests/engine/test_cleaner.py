"""Retention: ended runs are deleted when they were kept long enough, by whatever worker, and nobody is held up by it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest

from stepwell import RunStatus, Step, workflow
from stepwell.core.records import RunFilter
from stepwell.core.status import Action
from stepwell.engine.cleaner import EVERY, LONGEST_REST, MOST, REST
from stepwell.engine.worker import Worker
from tests.engine.harness import ONCE, scenario
from tests.engine.rig import Database, Gate, Rig
from tests.loops import turns

COMPLETED, FAILED, CANCELED = RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELED
DAY = 86_400.0
PASS = EVERY * 1.5
"""Seconds within which there is a pass."""


@workflow
async def quick() -> str:
    return "done"


@workflow(retry=ONCE)
async def fails() -> None:
    raise ValueError("no funds")


@workflow
async def sleeps(step: Step) -> str:
    await step.sleep("long", "365 days")
    return "done"


def rigged() -> Rig:
    return Rig(quick, fails, sleeps)


def worker(rig: Rig, retention: Mapping[RunStatus, float] | None = None, **options: Any) -> Worker:
    """One that is heard of, however far the clock is moved."""
    return rig.worker(lease=1_000 * DAY, retention=retention, **options)


async def one_of_each_end(rig: Rig) -> dict[str, RunStatus]:
    """Runs that end now."""
    ids = [await rig.start(name) for name in ("quick", "fails", "sleeps")]
    await turns()
    await rig.act(ids[2], Action.CANCEL)
    ends = {run_id: await rig.status(run_id) for run_id in ids}
    assert list(ends.values()) == [COMPLETED, FAILED, CANCELED]
    return ends


async def left(rig: Rig) -> dict[RunStatus, int]:
    return dict(await rig.store.count(RunFilter()))


async def ended_runs(rig: Rig, count: int) -> None:
    for _ in range(count):
        await rig.act(await rig.start("nobody_has_it"), Action.CANCEL)


@scenario
async def test_ended_runs_are_deleted_when_those_of_their_status_were_kept_long_enough() -> None:
    rig = rigged()
    async with worker(rig, {COMPLETED: 7 * DAY, FAILED: 90 * DAY}):
        await one_of_each_end(rig)

        counts = []
        for seconds in (7 * DAY - PASS, 2 * PASS, 83 * DAY - 2 * PASS, 2 * PASS, 1_000 * DAY):
            await rig.jumps(seconds)
            counts.append(await left(rig))

    assert counts == [
        {COMPLETED: 1, FAILED: 1, CANCELED: 1},
        {FAILED: 1, CANCELED: 1},
        {FAILED: 1, CANCELED: 1},
        {CANCELED: 1},
        {CANCELED: 1},
    ]


@scenario
async def test_how_long_a_run_is_kept_counts_from_its_end_and_not_from_its_start() -> None:
    rig = rigged()
    async with worker(rig, {COMPLETED: DAY}):
        run_id = await rig.start("sleeps")
        await turns()
        await rig.jumps(365 * DAY - 1)
        before = await rig.status(run_id)
        await rig.jumps(1)
        await rig.jumps(DAY - 1)
        after = await rig.status(run_id)
        await rig.jumps(PASS)

        assert (before, after) == (RunStatus.SLEEPING, COMPLETED)
        assert await left(rig) == {}


@pytest.mark.parametrize("action", [None, Action.PAUSE])
@scenario
async def test_a_run_that_has_not_ended_is_kept_however_old_it_is(action: Action | None) -> None:
    rig = rigged()
    async with worker(rig, dict.fromkeys((COMPLETED, FAILED, CANCELED), 1.0)):
        ids = [await rig.start("nobody_has_it"), await rig.start("sleeps")]
        await turns()
        for run_id in ids if action is not None else ():
            await rig.act(run_id, Action.PAUSE)
        await rig.jumps(364 * DAY)
        await rig.jumps(PASS)

        assert sum((await left(rig)).values()) == 2


@scenario
async def test_a_run_that_is_retried_in_time_is_kept() -> None:
    gate = Gate()

    @workflow
    async def waits(step: Step) -> None:
        await step.run("wait", gate.step)

    rig = Rig(waits)
    async with worker(rig, {CANCELED: DAY}):
        run_id = await rig.start("waits")
        await turns()
        await rig.act(run_id, Action.CANCEL)
        await rig.jumps(DAY - PASS)
        await rig.act(run_id, Action.RETRY)
        await rig.jumps(10 * DAY)

        assert await rig.status(run_id) is RunStatus.RUNNING
        gate.open()
        await turns()
        assert await rig.status(run_id) is COMPLETED


# -- several workers


@scenario
async def test_one_worker_with_a_retention_deletes_also_what_others_have_executed_and_what_it_has_no_code_for() -> None:
    rig = rigged()
    other = Rig()
    other.store, other.clock = rig.store, rig.clock
    async with worker(rig, name="without"), worker(other, {COMPLETED: DAY}, name="with", queues=["other"]):
        await one_of_each_end(rig)
        await rig.jumps(DAY + PASS)

        assert await left(rig) == {FAILED: 1, CANCELED: 1}


@scenario
async def test_of_several_workers_each_deletes_by_what_it_was_told() -> None:
    rig = rigged()
    async with worker(rig, {COMPLETED: DAY, FAILED: 90 * DAY}, name="a"), worker(rig, {FAILED: 2 * DAY}, name="b"):
        await one_of_each_end(rig)
        await rig.jumps(DAY + PASS)
        first = await left(rig)
        await rig.jumps(DAY)

        assert (first, await left(rig)) == ({FAILED: 1, CANCELED: 1}, {CANCELED: 1})


@scenario
async def test_two_workers_at_once_delete_each_run_once(caplog: pytest.LogCaptureFixture) -> None:
    rig = rigged()
    with caplog.at_level(logging.INFO, "stepwell"):
        async with worker(rig, {CANCELED: DAY}, name="a"), worker(rig, {CANCELED: DAY}, name="b"):
            await ended_runs(rig, 300)
            await rig.jumps(DAY + PASS)

            assert await left(rig) == {}

    said = [record.getMessage() for record in caplog.records if "longer ago than they are to be kept" in record.getMessage()]
    assert sum(int(line.split(" has deleted ")[1].split()[0]) for line in said) == 300


# -- what it costs


@scenario
async def test_a_pass_takes_about_a_minute_to_come_and_one_question_for_each_duration() -> None:
    rig = rigged()
    async with worker(rig, {COMPLETED: DAY, FAILED: 90 * DAY, CANCELED: DAY}):
        await rig.passes(2.0)
        rig.store.asked.clear()
        await rig.passes(3_600.0, 10.0)

        assert 40 * 2 <= rig.store.asked["delete_all"] <= 120 * 2


@scenario
async def test_workers_that_were_started_together_do_not_ask_together() -> None:
    rig = rigged()
    firsts = []
    async with worker(rig, {COMPLETED: DAY}, name="a"), worker(rig, {COMPLETED: DAY}, name="b"):
        for second in range(int(EVERY) + 1):
            firsts += [second] * rig.store.asked["delete_all"]
            rig.store.asked.clear()
            await rig.passes(1.0, 1.0)

    assert len(set(firsts)) == len(firsts) == 2


class Slow(Database):
    """A store in which deleting takes a while."""

    def __init__(self, rig: Rig, seconds: float) -> None:
        super().__init__()
        self.rig = rig
        self.seconds = seconds
        self.batches: list[tuple[float, int]] = []
        """When each began, and how many runs it was for."""

    async def delete_all(self, where: RunFilter, limit: int) -> int:
        self.batches.append((self.rig.clock.now(), limit))
        self.rig.clock.move_to(self.rig.clock.now() + self.seconds)
        return await super().delete_all(where, limit)


@pytest.mark.parametrize(
    ("seconds", "limits", "rest"),
    [(0.0, [10, 20, 40, 80, 160, 320, MOST, MOST], 0.0), (1.0, [10] * 8, REST), (60.0, [10] * 8, LONGEST_REST)],
    ids=["quick", "slow", "stuck"],
)
@scenario
async def test_batches_grow_while_they_are_brief_and_the_database_rests_after_those_that_are_not(
    seconds: float, limits: list[int], rest: float
) -> None:
    rig = rigged()
    rig.store = store = Slow(rig, seconds)
    await ended_runs(rig, 1_200)
    await rig.jumps(DAY)
    async with worker(rig, {CANCELED: DAY}):
        while len(store.batches) < len(limits):
            await rig.passes(1.0)

    times, found = zip(*store.batches[: len(limits)], strict=True)
    pauses = [later - earlier - seconds for earlier, later in pairwise(times)]
    assert list(found) == limits
    assert all(rest <= pause <= rest + 0.5 for pause in pauses)


# -- what may go wrong


@scenario
async def test_a_database_that_was_away_is_asked_again_and_that_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    rig = rigged()
    async with worker(rig, {CANCELED: DAY}):
        await ended_runs(rig, 3)
        rig.store.go_away("delete_all")
        await rig.jumps(DAY + PASS)
        await rig.jumps(PASS)
        between = await left(rig)
        rig.store.come_back()
        await rig.jumps(PASS)

        assert (between, await left(rig)) == ({CANCELED: 3}, {})
    assert caplog.text.count("cannot delete runs that were kept long enough, and goes on trying: it is away") == 1
    assert caplog.text.count("can delete runs that were kept long enough again") == 1


@scenario
async def test_a_worker_that_works_until_idle_deletes_before_it_leaves() -> None:
    rig = rigged()
    await ended_runs(rig, 3)
    await rig.jumps(DAY + 1)

    await worker(rig, {CANCELED: DAY}).run_until_idle()

    assert await left(rig) == {}
