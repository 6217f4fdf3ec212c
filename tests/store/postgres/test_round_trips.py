"""How often a verb goes to the server, where that is promised."""

from typing import Any

import psycopg
import pytest

from stepwell.store.postgres.store import PostgresStore
from tests.store.making import FIRST, NOW, new_run


async def test_who_sends_a_signal_is_written_with_the_signal_at_no_further_round_trip(
    postgres_url: str, postgres_namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = PostgresStore(postgres_url, namespace=postgres_namespace)
    await store.open()
    sent: list[str] = []
    execute = psycopg.AsyncRawCursor.execute

    async def heard(cursor: Any, query: str, *args: Any, **options: Any) -> Any:
        sent.append(query)
        return await execute(cursor, query, *args, **options)

    try:
        await store.enqueue([new_run()])
        monkeypatch.setattr(psycopg.AsyncRawCursor, "execute", heard)
        await store.signal(FIRST, "a", "approved", "1", NOW)
        unsaid = len(sent)
        await store.signal(FIRST, "b", "approved", "1", NOW, "eve")
        monkeypatch.undo()

        assert unsaid > 0
        assert len(sent) - unsaid == unsaid
        assert [event.actor for event in await store.events(FIRST)] == ["eve"]
    finally:
        await store.close()
