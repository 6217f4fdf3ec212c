"""Those who wait for results: served together, at once by hints, twice a second without."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping

import pytest

from stepwell import RunNotFound, RunStatus, workflow
from stepwell.core.status import Action
from stepwell.engine import waiters as module
from stepwell.engine.waiters import Waiters
from stepwell.store.port import Ended, Hint
from tests.engine.harness import caught, jumping_scenario, scenario
from tests.engine.rig import Database, Rig
from tests.loops import turns


@workflow
async def quick() -> str:
    return "done"


class Recording(Database):
    """Knows which runs were asked for in each query, and takes its time for it."""

    def __init__(self) -> None:
        super().__init__()
        self.queries: list[set[str]] = []
        self.at: list[float] = []
        self.seconds = 0.0

    async def ended(self, run_ids: Collection[str]) -> Mapping[str, Ended | None]:
        self.queries.append(set(run_ids))
        self.at.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.seconds)
        return await super().ended(run_ids)


def _rig() -> tuple[Rig, Recording, Waiters]:
    rig = Rig(quick)
    rig.store = store = Recording()
    return rig, store, Waiters(store, rig.clock)


@scenario
async def test_who_waits_is_told_how_the_run_has_ended() -> None:
    rig, _, waiters = _rig()
    async with rig.worker():
        run_id = await rig.start("quick")
        ended = await waiters.wait(run_id)
        again = await waiters.wait(run_id)
    waiters.close()

    assert ended == again == Ended("quick", RunStatus.COMPLETED, '"done"', None)


@scenario
async def test_a_run_that_does_not_exist_is_not_waited_for() -> None:
    _, _, waiters = _rig()

    with pytest.raises(RunNotFound):
        await waiters.wait("018f0000-0000-7000-8000-000000000001")
    assert list(waiters.waiting) == []
    waiters.close()


@scenario
async def test_a_thousand_who_wait_are_served_by_one_query_upon_a_hint() -> None:
    rig, store, waiters = _rig()
    ids = [await rig.start("quick") for _ in range(500)]
    tasks = [asyncio.ensure_future(waiters.wait(run_id)) for run_id in ids * 2]
    await turns()
    first = len(store.queries)

    async with rig.worker(concurrency=500):
        ends = await asyncio.gather(*tasks)
    waiters.close()

    assert first == 1
    assert len(store.queries) <= 8
    assert {ended.status for ended in ends} == {RunStatus.COMPLETED}


@scenario
async def test_a_new_one_is_looked_for_at_once_and_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL", 60.0)
    rig, store, waiters = _rig()
    waiting = [await rig.start("quick") for _ in range(5)]
    tasks = [asyncio.ensure_future(waiters.wait(run_id)) for run_id in waiting]
    await turns()
    ended = await rig.start("quick")
    await rig.act(ended, Action.CANCEL)
    store.queries.clear()

    assert (await waiters.wait(ended)).status is RunStatus.CANCELED
    assert store.queries[0] == {ended}
    waiters.close()
    await asyncio.gather(*tasks, return_exceptions=True)


@jumping_scenario
async def test_with_all_hints_lost_the_end_is_found_within_half_a_second() -> None:
    rig, store, waiters = _rig()
    store.is_silent = True
    run_id = await rig.start("quick")
    waiting = asyncio.ensure_future(waiters.wait(run_id))
    await turns()
    loop = asyncio.get_running_loop()
    began = loop.time()
    await rig.act(run_id, Action.CANCEL)

    await waiting
    waiters.close()

    assert loop.time() - began <= 0.5


@jumping_scenario
async def test_between_two_queries_there_is_a_pause_however_many_hints_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL", 60.0)
    rig, store, waiters = _rig()
    store.seconds = 0.02
    waiting = asyncio.ensure_future(waiters.wait(await rig.start("quick")))
    await asyncio.sleep(0.05)
    store.at.clear()
    for _ in range(60):
        store.hint(Hint.ENDED)
        await asyncio.sleep(0.005)
    waiting.cancel()
    waiters.close()

    apart = [after - before for before, after in zip(store.at, store.at[1:], strict=False)]
    assert len(store.at) >= 2
    assert all(seconds >= 0.1 for seconds in apart)


@jumping_scenario
async def test_while_nobody_waits_nothing_is_asked() -> None:
    rig, store, waiters = _rig()
    run_id = await rig.start("quick")
    await rig.act(run_id, Action.CANCEL)
    await waiters.wait(run_id)
    store.queries.clear()
    for _ in range(5):
        store.hint(Hint.ENDED)
        await turns()
    await asyncio.sleep(10)
    waiters.close()

    assert store.queries == []


@scenario
async def test_a_wait_that_is_given_up_is_forgotten_and_disturbs_no_other() -> None:
    rig, _, waiters = _rig()
    run_id = await rig.start("quick")
    first, second = asyncio.ensure_future(waiters.wait(run_id)), asyncio.ensure_future(waiters.wait(run_id))
    await turns()
    first.cancel()
    await turns()
    still = list(waiters.waiting)
    await rig.act(run_id, Action.CANCEL)

    assert (await second).status is RunStatus.CANCELED
    assert (still, list(waiters.waiting)) == ([run_id], [])
    waiters.close()


@jumping_scenario
async def test_a_database_that_is_away_is_asked_again_and_that_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    rig, store, waiters = _rig()
    run_id = await rig.start("quick")
    await rig.act(run_id, Action.CANCEL)
    store.go_away("ended")
    waiting = asyncio.ensure_future(waiters.wait(run_id))
    await asyncio.sleep(1.2)
    asked = len(caplog.messages)
    store.come_back()

    assert (await waiting).status is RunStatus.CANCELED
    assert asked == 1
    waiters.close()


@scenario
async def test_who_waits_still_when_it_is_closed_is_told_so_and_it_can_be_used_again() -> None:
    rig, _, waiters = _rig()
    run_id = await rig.start("quick")
    waiting = asyncio.ensure_future(waiters.wait(run_id))
    await turns()
    waiters.close()
    waiters.close()

    assert isinstance(await caught(waiting), RuntimeError)
    await rig.act(run_id, Action.CANCEL)
    assert (await waiters.wait(run_id)).status is RunStatus.CANCELED
    waiters.close()


class _Broken(Database):
    async def ended(self, run_ids: Collection[str]) -> Mapping[str, Ended | None]:
        raise ZeroDivisionError("a mistake")


@scenario
async def test_an_error_of_the_store_itself_reaches_all_who_wait() -> None:
    rig = Rig(quick)
    waiters = Waiters(_Broken(), rig.clock)

    errors = await asyncio.gather(*(caught(waiters.wait(run_id)) for run_id in ("a", "b")))

    assert [type(error) for error in errors] == [ZeroDivisionError] * 2
