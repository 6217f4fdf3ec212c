"""Lanes on a database with many writers."""

from psycopg import AsyncConnection

from stepwell.core.registry import Lane
from tests.loops import on_a_loop
from tests.postgres.shared import database_url
from tests.store.adapters import postgres
from tests.store.making import ALICE, NOW, claims, new_run, new_worker, numbers


@on_a_loop
async def test_a_lane_is_claimed_from_also_when_its_number_is_lower_than_others_that_were_known_before() -> None:
    pay, pack = Lane("default", "pay", None), Lane("default", "pack", None)
    async with postgres() as store, await AsyncConnection.connect(database_url(), autocommit=True) as connection:
        await store.register(new_worker(ALICE))
        await store.enqueue([new_run(1)])
        first = await claims(store, ALICE, 10, NOW, pay, pack)

        # As if it had been numbered before, by a transaction that was slower to commit.
        await connection.execute(
            "INSERT INTO suite.lanes (id, queue, workflow, version) OVERRIDING SYSTEM VALUE VALUES (-1, 'default', 'pack', '')"
        )
        await store.enqueue([new_run(2, workflow="pack")])

        assert (numbers(first), numbers(await claims(store, ALICE, 10, NOW, pay, pack))) == ([1], [2])
