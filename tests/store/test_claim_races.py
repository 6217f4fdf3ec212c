"""Many workers that claim at the same time, each on connections of its own: what they get, with each of the two strategies."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Final

import psycopg
import pytest

from stepwell.core.records import Claimed, RunFilter
from stepwell.core.registry import Lane
from stepwell.core.status import RunStatus
from stepwell.store.postgres.store import PostgresStore
from tests.postgres.shared import fresh_database
from tests.store.making import NOW, new_run, new_worker, run_id, serves

WORKERS: Final = 8
RUNS: Final = 2_000
LANES: Final = [Lane("default", f"pay{number}", None) for number in range(4)]
ROOM: Final = 8
SUSPECTS: Final = {run_id(number) for number in range(50, RUNS + 1, 50)}
"""Runs that have taken two workers down."""

Claims = list[list[Claimed]]


@pytest.fixture(scope="module", params=[True, False], ids=["skip-locked", "by-updates"])
def raced(request: pytest.FixtureRequest) -> Iterator[list[Claims]]:
    """What each of the workers has claimed, claim by claim, until nothing was left."""
    with fresh_database() as url:
        asyncio.run(_fill(url))
        barrier = Barrier(WORKERS)
        with ThreadPoolExecutor(WORKERS) as threads:
            racers = [threads.submit(_race, url, f"worker{number}", request.param, barrier) for number in range(WORKERS)]
            yield [racer.result() for racer in racers]


async def _fill(url: str) -> None:
    store = PostgresStore(url)
    await store.open()
    await store.enqueue([new_run(number, workflow=LANES[number % 4].workflow, created_at=NOW) for number in range(1, RUNS + 1)])
    await store.close()
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("UPDATE stepwell.runs SET head = 2, crashes = 2, claim = 2 WHERE id = ANY (%s)", (list(SUSPECTS),))


def _race(url: str, worker: str, skip_locked: bool, barrier: Barrier) -> Claims:
    async def claim_all() -> Claims:
        store = PostgresStore(url, skip_locked=skip_locked)
        await store.open()
        await store.register(new_worker(worker))
        barrier.wait(30)
        claims: Claims = []
        while await store.count(_PENDING):
            claims.append(await store.claim(worker, _SERVES, ROOM, NOW))
        await store.close()
        return claims

    return asyncio.run(claim_all())


_PENDING: Final = RunFilter(statuses=frozenset({RunStatus.PENDING}))
_SERVES: Final = serves(*LANES)


def test_each_run_is_claimed_once_and_by_one(raced: list[Claims]) -> None:
    claimed = Counter(run.id for claims in raced for claim in claims for run in claim)

    assert claimed == Counter(run_id(number) for number in range(1, RUNS + 1))
    assert {run.claim for claims in raced for claim in claims for run in claim if run.id not in SUSPECTS} == {1}


def test_nobody_claims_more_than_there_is_room_for(raced: list[Claims]) -> None:
    assert max(len(claim) for claims in raced for claim in claims) == ROOM


def test_suspects_are_claimed_one_at_a_time(raced: list[Claims]) -> None:
    assert max(sum(run.id in SUSPECTS for run in claim) for claims in raced for claim in claims) == 1
