"""Several who fire the same schedules of one SQLite file: stores of one process, and processes."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from stepwell.core.records import Cursor, Firing, RunFilter
from stepwell.core.status import RunStatus
from stepwell.store.sqlite import SqliteStore
from tests.loops import on_a_loop
from tests.store.making import ALICE, new_worker
from tests.store.scheduling import HOUR, SLOT, cursor, declared, firing, records, scheduled_run

RIVALS: Final = 4
SLOTS: Final = 25


@asynccontextmanager
async def opened(file: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(str(file))
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def prepared(store: SqliteStore) -> None:
    """`nightly` is declared."""
    await store.register(new_worker(ALICE))
    await declared(store)


def fired_by(rival: int, seen: Cursor) -> Firing:
    """The slot at which the cursor stands makes a run of this rival's; the last one is followed by none."""
    slot = seen.next_at or 0.0
    number = round((slot - SLOT) / HOUR)
    next_at = slot + HOUR if number + 1 < SLOTS else None
    return firing(seen, scheduled_run(1_000 * rival + number, slot), next_at=next_at)


async def fire_all(store: SqliteStore, rival: int) -> int:
    """Fire until there is no slot left; how many were won."""
    won = 0
    while (seen := await cursor(store)).next_at is not None:
        won += sum(await store.fire([fired_by(rival, seen)], seen.next_at or 0.0))
    return won


def fire_in_a_process(file: Path, rival: int) -> int:
    """The same in a process of its own."""

    async def fire() -> int:
        async with opened(file) as store:
            return await fire_all(store, rival)

    return asyncio.run(fire())


async def check_each_slot_has_one_run(store: SqliteStore) -> None:
    runs = (await store.find(RunFilter(), newest=False, limit=1_000, cursor=None)).items
    assert Counter(run.scheduled_at.timestamp() for run in runs if run.scheduled_at) == {SLOT + n * HOUR: 1 for n in range(SLOTS)}
    assert dict(await store.count(RunFilter())) == {RunStatus.PENDING: SLOTS}
    assert sorted(record.run_id or "" for record in await records(store)) == sorted(run.id for run in runs)


@on_a_loop
async def test_stores_that_fire_the_same_slot_make_one_run(tmp_path: Path) -> None:
    file = tmp_path / "runs.db"
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(opened(file)) for _ in range(RIVALS)]
        await prepared(stores[0])

        while (seen := await cursor(stores[0])).next_at is not None:
            won = await asyncio.gather(*(store.fire([fired_by(rival, seen)], SLOT) for rival, store in enumerate(stores)))
            assert sorted(won) == [[False]] * (RIVALS - 1) + [[True]]

        await check_each_slot_has_one_run(stores[0])


@on_a_loop
async def test_processes_that_fire_the_same_schedule_make_one_run_of_each_slot(tmp_path: Path) -> None:
    file = tmp_path / "runs.db"
    async with opened(file) as store:
        await prepared(store)
        loop = asyncio.get_running_loop()
        with ProcessPoolExecutor(RIVALS, mp_context=get_context("spawn")) as processes:
            work = [loop.run_in_executor(processes, fire_in_a_process, file, rival) for rival in range(RIVALS)]
            async with asyncio.timeout(50):
                won = await asyncio.gather(*work)

        assert sum(won) == SLOTS
        await check_each_slot_has_one_run(store)
