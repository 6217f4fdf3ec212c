"""The adapters that the suite is run over."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from tempfile import TemporaryDirectory

from stepwell.store.memory import MemoryStore
from stepwell.store.port import Store
from stepwell.store.sqlite import SqliteStore
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


ADAPTERS: dict[str, Callable[[], AbstractAsyncContextManager[Store]]] = {
    "memory": memory,
    "sqlite": sqlite_file,
    "sqlite-memory": sqlite_memory,
}
"""By name: what opens an empty store on the running loop, and takes it away again."""


@asynccontextmanager
async def with_workers(adapter: str) -> AsyncIterator[Store]:
    """A store of this adapter in which Alice and Bob are registered."""
    async with ADAPTERS[adapter]() as store:
        for worker in (ALICE, BOB):
            await store.register(new_worker(worker))
        yield store
