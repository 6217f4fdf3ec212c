"""What workers count."""

from __future__ import annotations

from stepwell import Retry, Step, workflow
from stepwell.engine.counters import Counters
from tests.engine.harness import scenario
from tests.engine.rig import Rig
from tests.loops import turns


@workflow(retry=Retry(3, jitter=0))
async def flow(step: Step) -> None:
    left = 1

    async def slow() -> None:
        nonlocal left
        if left:
            left -= 1
            raise ValueError("not yet")

    await step.run("slow", slow)
    await step.run("quick", _nothing)


async def _nothing() -> None: ...


@scenario
async def test_a_worker_counts_what_it_claims_commits_and_tries() -> None:
    rig, counters = Rig(flow), Counters()
    async with rig.worker(counters=counters):
        await rig.start("flow")
        await turns()
        await rig.passes(2.0)
        await turns(40)

    assert (counters.workers, counters.claimed) == (1, 1)
    assert counters.claims >= 1
    assert (sum(counters.steps.counts), counters.attempts_failed) == (3, 1)
    assert sum(counters.batches.counts) == rig.store.asked["commit"]
    assert counters.batches.total >= 3
    assert (counters.leases_lapsed, counters.leases_lost) == (0, 0)


@scenario
async def test_a_worker_counts_the_leases_that_it_could_not_renew_and_those_that_it_lost() -> None:
    rig, counters = Rig(flow), Counters()
    async with rig.worker(lease=6.0, counters=counters) as worker:
        rig.store.go_away("beat", "look")
        await rig.passes(8.0)
        lapsed = counters.leases_lapsed
        rig.store.come_back()
        await rig.passes(2.0)
        await rig.store.rescue(worker.id, rig.store._tables.workers[worker.id].beat, rig.clock.now(), 500, 5)
        await rig.passes(2.0)

    assert (lapsed, counters.leases_lapsed, counters.leases_lost) == (1, 1, 1)
