"""The heartbeat of workers, on its own connection."""

import asyncio

import psycopg

from stepwell.store.postgres.store import PostgresStore
from tests.store.making import ALICE, NOW, new_worker


async def test_a_heart_whose_connection_has_died_since_its_last_beat_beats_on_another(postgres_url: str, postgres_namespace: str) -> None:
    store = PostgresStore(postgres_url, namespace=postgres_namespace)
    await store.open()
    try:
        await store.register(new_worker(ALICE))
        before = await asyncio.to_thread(store.beat, ALICE, 0, 0, NOW)
        with psycopg.connect(postgres_url) as killer:
            killer.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE %s", (f'%UPDATE "{postgres_namespace}".workers%',)
            )

        after = await asyncio.to_thread(store.beat, ALICE, 0, 0, NOW)
    finally:
        await store.close()

    assert before is not None
    assert after is not None
    assert after.look == before.look
