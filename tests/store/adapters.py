"""The adapters that the suite is run over."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from tempfile import TemporaryDirectory

from stepwell.store.memory import MemoryStore
from stepwell.store.port import Store
from stepwell.store.sqlite import SqliteStore
from tests.postgres.shared import database_url
from tests.store import kept
from tests.store.making import ALICE, BOB, new_worker


@asynccontextmanager
async def memory() -> AsyncIterator[Store]:
    """Dictionaries."""
    yield MemoryStore()


@asynccontextmanager
async def sqlite_file() -> AsyncIterator[Store]:
    """A file, with threads."""
    with TemporaryDirectory() as directory:
        store = SqliteStore(f"{directory}/runs.db")
        await store.open()
        try:
            yield store
        finally:
            await store.close()


@asynccontextmanager
async def sqlite_memory() -> AsyncIterator[Store]:
    """One connection, in this thread."""
    store = SqliteStore(None, namespace="other")
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def postgres() -> AsyncIterator[Store]:
    """A schema on a server."""
    async with kept.postgres(database_url(), skip_locked=True) as store:
        yield store


@asynccontextmanager
async def postgres_by_updates() -> AsyncIterator[Store]:
    """The same as on servers that cannot pass over locked rows."""
    async with kept.postgres(database_url(), skip_locked=False) as store:
        yield store


ADAPTERS: dict[str, Callable[[], AbstractAsyncContextManager[Store]]] = {
    "memory": memory,
    "sqlite": sqlite_file,
    "sqlite-memory": sqlite_memory,
    "postgres": postgres,
    "postgres-by-updates": postgres_by_updates,
}
"""By name: what opens an empty store on the running loop, and takes it away again."""


POOLED = "postgres-pooled"
"""Behind a pooler, where nothing outlives a transaction. It takes a URL, and the time of a part of the suite: `POOLED_TESTS`."""

POOLED_TESTS = ("bulk", "claim", "commit", "hints", "lanes", "opening", "signals", "start", "transitions", "workers")


@asynccontextmanager
async def with_workers(adapter: str, pooler: str = "") -> AsyncIterator[Store]:
    """A store of this adapter in which Alice and Bob are registered."""
    async with kept.postgres(pooler, skip_locked=True) if adapter == POOLED else ADAPTERS[adapter]() as store:
        for worker in (ALICE, BOB):
            await store.register(new_worker(worker))
        yield store


def loop_for(adapter: str) -> AbstractContextManager[asyncio.Runner]:
    """The event loop for a store of this adapter: one of its own, or the one on which those on servers are kept."""
    return kept.shared_loop() if adapter.startswith("postgres") else asyncio.Runner()
