"""Timelines of runs that were really executed: what is recorded of them is what a timeline is made for."""

from __future__ import annotations

from typing import Any

from stepwell import Handle, Retry, RunFailed, Step, workflow
from stepwell import step as define_step
from stepwell.core.records import instant
from stepwell.testing import TestApp
from stepwell.web.timeline import Timeline, View, timeline_of
from tests.engine.harness import caught, scenario


@workflow
async def pause_for_breath(step: Step, input: None) -> str:
    await step.sleep("breathe", "2s")
    return "rested"


def work() -> None:
    """What steps do; tests let it fail."""


@define_step(retry=Retry(max_attempts=3, initial_interval="2s", jitter=0))
def walk() -> None:
    """A step that is tried again."""


@workflow
async def long_way(step: Step, input: None) -> None:
    await step.run("pack", work)
    await step.run("walk", walk)
    await step.sleep("rest", "30d")
    await step.execute(pause_for_breath)
    await step.wait_for_signal("arrived")
    await step.run("unpack", work)


async def shown(app: TestApp, handle: Handle[Any]) -> Timeline:
    return timeline_of(await handle.get(), await handle.steps(), await handle.events(), instant(app.clock.now()), View())


@scenario
async def test_a_month_of_sleep_retries_a_child_and_a_signal_are_shown_as_they_were() -> None:
    async with TestApp(long_way, pause_for_breath) as app:
        app.fail_step("walk", times=2)
        handle = await app.start(long_way)
        await handle.signal("arrived")
        await handle.result()
        timeline = await shown(app, handle)

    assert {row.label: [segment.kind for segment in row.segments] for row in timeline.rows} == {
        "pack": ["executing"],
        "walk": ["executing", "retry", "executing", "retry", "executing"],
        "rest": ["sleep"],
        "pause_for_breath": ["child"],
        "arrived": ["signal"],
        "unpack": ["executing"],
    }
    assert {part.word: part.text for part in timeline.parts}["sleep"] == "30 d"


@scenario
async def test_a_run_that_waits_shows_for_what_and_since_when() -> None:
    async with TestApp(long_way, pause_for_breath, self_moving=False) as app:
        app.fail_step("walk", times=1)
        handle = await app.start(long_way)
        await app.advance("1s")
        between = await shown(app, handle)
        await app.advance("10 days")
        asleep = await shown(app, handle)

    assert [(row.label, row.tries) for row in between.rows] == [("pack", ""), ("walk", "next in 1.0 s")]
    assert between.rows[-1].segments[-1].open
    assert [row.label for row in asleep.rows] == ["pack", "walk", "waiting now"]
    assert asleep.rows[1].status == "completed"
    assert asleep.run.tries == "wakes in 20 d"
    assert {part.word: part.text for part in asleep.parts}["sleep"] == "9 d 23 h"


@scenario
async def test_after_a_retry_by_hand_and_in_a_fork_what_was_recorded_is_marked() -> None:
    async with TestApp(long_way, pause_for_breath) as app:
        app.fail_step("unpack", times=5)
        handle = await app.start(long_way)
        await handle.signal("arrived")
        assert isinstance(await caught(handle.result()), RunFailed)
        failed = await shown(app, handle)
        app.unmock_step("unpack")
        await handle.retry()
        await handle.result()
        retried = await shown(app, handle)
        fork = await app.runs.fork(handle.run_id, from_step="unpack")
        await fork.result()
        forked = await shown(app, fork)

    assert failed.first_failure is not None
    assert [row.label for row in retried.rows if not row.mark] == ["unpack"]
    assert retried.rows[-1].status == "completed"
    assert [row.label for row in forked.rows if not row.mark] == ["unpack"]
