"""Stores on servers, which the tests of a process use one after the other: each gets it empty, and as if it had just been opened.

To connect, and to plan statements anew on each connection, takes ten times as long as most tests. So connections outlive tests here,
and the event loop with them. What else a store remembers is forgotten. One in which a test has left something under way, or which it
has closed, is not used again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final

import psycopg

from stepwell.store.postgres.store import Pools, PostgresStore
from stepwell.store.postgres.transacting import Transactions

NAMESPACE: Final = "suite"


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """A store as it was opened, and a connection to its database that is not its own."""

    store: PostgresStore
    pools: Pools
    cleaner: psycopg.AsyncConnection

    @property
    def can_be_kept(self) -> bool:
        pools = (self.pools.workers, self.pools._people)
        return self.store._pools is self.pools and not any(pool._tasks or pool._lent for pool in pools)

    @property
    def tasks(self) -> set[asyncio.Task[None]]:
        """Those that it has for as long as it is open."""
        announcer = self.store._announcer
        return {task for task in (announcer._listening, announcer._speaking) if task is not None} if announcer else set()


_KEPT: Final[dict[tuple[str, bool], Open]] = {}
_RUNNERS: Final[list[asyncio.Runner]] = []


@contextmanager
def shared_loop() -> Iterator[asyncio.Runner]:
    """The event loop on which stores are kept. What a test leaves on it is canceled, as it is on a loop that ends."""
    if not _RUNNERS:
        _RUNNERS.append(asyncio.Runner())
    (runner,) = _RUNNERS
    yield runner
    runner.run(_cancel_others())


async def _cancel_others() -> None:
    ours = {asyncio.current_task(), *(task for each in _KEPT.values() for task in each.tasks)}
    left = asyncio.all_tasks() - ours
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


@asynccontextmanager
async def postgres(url: str, *, skip_locked: bool) -> AsyncIterator[PostgresStore]:
    """A store in an empty schema of the database there: on the shared loop one that is kept, else one of its own."""
    on_shared_loop = any(runner.get_loop() is asyncio.get_running_loop() for runner in _RUNNERS)
    kept = _KEPT.pop((url, skip_locked), None) if on_shared_loop else None
    opened = kept or await _opened(url, skip_locked=skip_locked)
    try:
        yield opened.store
    finally:
        if on_shared_loop and opened.can_be_kept and await _emptied(opened):
            await _forget(opened)
            _KEPT[url, skip_locked] = opened
        else:
            await _close(opened)
            async with await _connected(url) as connection:
                await _empty(connection)


async def _opened(url: str, *, skip_locked: bool) -> Open:
    store = PostgresStore(url, namespace=NAMESPACE, skip_locked=skip_locked)
    await store.open()
    assert store._pools is not None
    return Open(store=store, pools=store._pools, cleaner=await _connected(url))


async def _connected(url: str) -> psycopg.AsyncConnection:
    return await psycopg.AsyncConnection.connect(url, autocommit=True, prepare_threshold=None)


async def _emptied(opened: Open) -> bool:
    """Empty it. False: its connections are gone, as some tests have the server end all of them."""
    try:
        await _empty(opened.cleaner)
    except psycopg.OperationalError:
        return False
    return True


async def _empty(connection: psycopg.AsyncConnection) -> None:
    """To delete a few rows is ten times as fast as to make the tables anew."""
    tables = await connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [NAMESPACE])
    names = [name for (name,) in await tables.fetchall() if name not in ("schema", "identity")]
    await connection.execute("; ".join(f"DELETE FROM {NAMESPACE}.{name}" for name in names).encode())


async def _forget(opened: Open) -> None:
    """All but the connections."""
    store = opened.store
    store._listeners.clear()
    store._new_caches()
    assert store._transactions is not None
    await store._transactions.close(0)
    store._transactions = Transactions(store._lines(), opened.pools.workers, store._lanes, store._target.label)


async def _close(opened: Open) -> None:
    await opened.store.close()
    await opened.cleaner.close()


def end() -> None:
    """Close what is kept."""
    while _RUNNERS:
        with _RUNNERS.pop() as runner:
            while _KEPT:
                runner.run(_close(_KEPT.popitem()[1]))
