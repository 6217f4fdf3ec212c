"""Many who fire, change and fill in the same schedules at the same time, each on connections of its own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from typing import Any, Final, TypeVar

import psycopg
import pytest

from stepwell.core.records import Declaration, Firing, NewRun
from stepwell.core.status import Action, RunStatus
from stepwell.errors import DatabaseUnavailable
from stepwell.store.port import Store
from stepwell.store.postgres.store import PostgresStore
from tests.postgres.wire import Side, Wire
from tests.store.making import ALICE, ALL, BOB, FIRST, NOW, claim_one, new_worker, run_id
from tests.store.postgres.test_in_the_way import Place, behind
from tests.store.scheduling import (
    HOUR,
    NIGHTLY,
    SLOT,
    cursor,
    declaration,
    declared,
    deeds,
    firing,
    new_schedule,
    records,
    scheduled_run,
)

T = TypeVar("T")

RIVALS: Final = 10
NAMES: Final = tuple(f"s{number:02}" for number in range(40))
ROUNDS: Final = 12


@pytest.fixture
def place(postgres_url: str, postgres_namespace: str) -> Place:
    """For one test."""
    return Place(postgres_url, postgres_namespace)


@pytest.fixture
def numbers() -> Iterator[int]:
    """Of runs."""
    return count(1)


@asynccontextmanager
async def opened(place: Place, *, skip_locked: bool = True) -> AsyncIterator[PostgresStore]:
    """A store in which Alice and Bob are registered."""
    store = PostgresStore(place.url, namespace=place.namespace, skip_locked=skip_locked)
    await store.open()
    try:
        for worker in (ALICE, BOB):
            await store.register(new_worker(worker))
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def rivals(place: Place) -> AsyncIterator[list[PostgresStore]]:
    """Stores as so many machines have them: half of them pass over locked rows, where they can."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(opened(place, skip_locked=number % 2 == 0)) for number in range(RIVALS)]


async def together(*work: Coroutine[Any, Any, T]) -> list[T]:
    """All of it at once."""
    async with asyncio.timeout(50):
        return list(await asyncio.gather(*work))


async def runs_by_slot(place: Place) -> dict[tuple[str, float], int]:
    """How many runs each slot of a schedule has had, those that were triggered left out."""
    statement = """
        SELECT schedule, scheduled_at, count(*)
        FROM runs r
        WHERE NOT EXISTS (SELECT FROM events WHERE run = r.id AND action = 'trigger')
        GROUP BY 1, 2
    """
    async with await psycopg.AsyncConnection.connect(place.url, autocommit=True) as connection:
        await connection.execute(f'SET search_path = "{place.namespace}"')
        return {(name, slot): number async for name, slot, number in await connection.execute(statement)}


async def deadlocks(place: Place) -> int:
    """How many the server has seen in this database, once those who met them have closed their connections."""
    async with await psycopg.AsyncConnection.connect(place.url, autocommit=True) as connection:
        async with asyncio.timeout(50):
            while await (await connection.execute(_OTHERS)).fetchone() is not None:
                await asyncio.sleep(0.01)
        row = await (await connection.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")).fetchone()
        assert row is not None
        return int(row[0])


_OTHERS: Final = """
    SELECT FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


def firings_of(seen: list[Any], numbers: Iterator[int], **changed: Any) -> list[Firing]:
    """The slot at which each of these cursors stands makes a run."""
    return [
        firing(each, scheduled_run(next(numbers), each.next_at, schedule=each.name), next_at=each.next_at + HOUR, **changed)
        for each in seen
        if each.next_at is not None
    ]


# -- who comes first


async def test_ten_who_fire_the_same_slot_make_one_run(place: Place, numbers: Iterator[int]) -> None:
    async with rivals(place) as stores:
        await declared(stores[0])

        for slot in (SLOT + number * HOUR for number in range(20)):
            seen = await cursor(stores[0])
            won = await together(*(store.fire(firings_of([seen], numbers), slot) for store in stores))
            assert sorted(won) == [[False]] * (RIVALS - 1) + [[True]]

        assert await runs_by_slot(place) == {(NIGHTLY, SLOT + number * HOUR): 1 for number in range(20)}
        assert len(await records(stores[0])) == 20


async def test_those_who_fire_the_same_schedules_in_other_orders_do_not_stop_each_other(place: Place, numbers: Iterator[int]) -> None:
    before = await deadlocks(place)
    async with rivals(place) as stores:
        await declared(stores[0], *(new_schedule(name) for name in NAMES))
        keys = [("pay", name) for name in NAMES]

        async def fire(store: PostgresStore, number: int) -> int:
            won = 0
            for _ in range(ROUNDS):
                seen = await store.cursors(keys)
                mine = firings_of(seen[number * 3 :] + seen[: number * 3 // 2], numbers)
                won += sum(await store.fire(mine[:: (-1) ** number], SLOT))
            return won

        won = await together(*(fire(store, number) for number, store in enumerate(stores)))

        runs = await runs_by_slot(place)
        assert set(runs.values()) == {1}
        assert sum(won) == len(runs)
    assert await deadlocks(place) == before


async def test_cursors_are_locked_in_the_order_of_their_names(place: Place, numbers: Iterator[int]) -> None:
    names = ("x", "b", "d", "a", "c")
    async with opened(place) as store, await psycopg.AsyncConnection.connect(place.url) as other:
        await declared(store, *(new_schedule(name) for name in names))
        seen = [await cursor(store, name) for name in names]
        table = f'"{place.namespace}".schedules'
        await other.execute(f"SELECT FROM {table} WHERE name = 'c' FOR UPDATE")
        waiting = asyncio.create_task(store.fire(firings_of(seen, numbers), SLOT))
        await waits_for(place, other)

        free = await other.execute(f"SELECT name FROM {table} WHERE name <> 'c' ORDER BY 1 FOR UPDATE SKIP LOCKED")
        assert await free.fetchall() == [("d",), ("x",)]

        await other.rollback()
        assert await waiting == [True] * 5


async def test_who_waited_for_another_sees_what_that_has_left(place: Place) -> None:
    async with opened(place) as store:
        await declared(store)
        seen = await cursor(store)

        won = await behind(place, ["UPDATE schedules SET next_at = next_at + 3600"], store.fire([firing(seen, scheduled_run())], SLOT))
        assert won == [False]

        seen = await cursor(store)
        won = await behind(place, ["UPDATE schedules SET paused_at = 1"], store.fire([firing(seen, scheduled_run())], SLOT))
        assert won == [False]
        assert dict(await store.count(ALL)) == {}


async def test_who_waited_for_one_that_gave_up_fires(place: Place) -> None:
    async with opened(place) as store, await psycopg.AsyncConnection.connect(place.url) as other:
        await declared(store)
        seen = await cursor(store)
        await other.execute(f'UPDATE "{place.namespace}".schedules SET next_at = next_at + 3600')
        waiting = asyncio.create_task(store.fire([firing(seen, scheduled_run())], SLOT))
        await waits_for(place, other)

        await other.rollback()

        assert await waiting == [True]


async def waits_for(place: Place, other: psycopg.AsyncConnection[Any]) -> None:
    """Until somebody does."""
    async with await psycopg.AsyncConnection.connect(place.url, autocommit=True) as watcher:
        blocked = "SELECT 1 FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
        async with asyncio.timeout(50):
            while await (await watcher.execute(blocked, (other.info.backend_pid,))).fetchone() is None:
                await asyncio.sleep(0.01)


async def test_the_runs_that_make_room_are_canceled_by_one_of_those_who_fire(place: Place, numbers: Iterator[int]) -> None:
    async with rivals(place) as stores:
        store = stores[0]
        await declared(store, *(new_schedule(name) for name in NAMES))
        keys = [("pay", name) for name in NAMES]
        await store.fire(firings_of(await store.cursors(keys), numbers), SLOT)
        seen = await store.cursors(keys)

        def making_room(number: int) -> list[Firing]:
            firings = [each._replace(cancel=each.cursor.last_run) for each in firings_of(seen, numbers)]
            return firings[number * 2 :] + firings[: number * 2]

        await together(*(each.fire(making_room(number), SLOT + HOUR) for number, each in enumerate(stores)))

        assert dict(await store.count(ALL)) == {RunStatus.CANCELED: 40, RunStatus.PENDING: 40}


async def test_a_run_that_ends_while_it_is_to_make_room_stays_ended(place: Place) -> None:
    async with opened(place) as store:
        await declared(store)
        await store.fire([firing(await cursor(store), scheduled_run())], SLOT)
        await claim_one(store, now=SLOT)
        seen = await cursor(store)
        ended = [f"UPDATE runs SET status = 'completed', worker = NULL, finished_at = 1 WHERE id = '{FIRST}'"]

        won = await behind(place, ended, store.fire([firing(seen, scheduled_run(2), cancel=FIRST)], SLOT))

        assert won == [True]
        assert (await store.get(FIRST)).status is RunStatus.COMPLETED


# -- a storm, and what people do in it


class Storm:
    """Rivals who fire whatever schedule of `NAMES` fires, until it is over."""

    def __init__(self, stores: list[PostgresStore], numbers: Iterator[int]) -> None:
        self.stores = stores
        self.over = False
        self.won: list[NewRun] = []
        self._numbers = numbers

    async def during(self, deed: Callable[[], Awaitable[None]]) -> None:
        """Do this meanwhile."""
        await together(*(self._fire(store) for store in self.stores[1:]), self._end(deed))

    async def _end(self, deed: Callable[[], Awaitable[None]]) -> None:
        try:
            while not self.won:  # it has begun
                await asyncio.sleep(0.001)
            await deed()
        finally:
            self.over = True

    async def _fire(self, store: PostgresStore) -> None:
        keys = [("pay", name) for name in NAMES]
        while not self.over:
            firings = firings_of(await store.cursors(keys), self._numbers)
            won = await store.fire(firings, SLOT)
            self.won += [run for each, is_mine in zip(firings, won, strict=True) if is_mine for run in each.runs]


async def test_pausing_and_resuming_in_a_storm_loses_nothing_and_doubles_nothing(place: Place, numbers: Iterator[int]) -> None:
    before = await deadlocks(place)
    async with rivals(place) as stores:
        await declared(stores[0], *(new_schedule(name) for name in NAMES))
        storm = Storm(stores, numbers)

        async def pause_and_resume() -> None:
            store = stores[0]
            for name in NAMES[:10] * 2:
                seen = await deeds(store)
                await store.pause_schedule("pay", name, SLOT)
                stood = await cursor(store, name)
                assert await deeds(store) > seen
                fired = len([run for run in storm.won if run.schedule == name])
                assert (await cursor(store, name), len([run for run in storm.won if run.schedule == name])) == (stood, fired)
                while not await store.resume_schedule(await cursor(store, name), stood.next_at, None, SLOT, None):
                    pass

        await storm.during(pause_and_resume)

        runs = await runs_by_slot(place)
        assert set(runs.values()) == {1}
        assert sorted(runs) == sorted((run.schedule or "", run.scheduled_at or 0.0) for run in storm.won)
        for name in NAMES:
            slots = sorted(slot for schedule, slot in runs if schedule == name)
            assert slots == [SLOT + number * HOUR for number in range(len(slots))]
    assert await deadlocks(place) == before


async def test_releases_in_a_storm_lose_nothing_and_double_nothing(place: Place, numbers: Iterator[int]) -> None:
    before = await deadlocks(place)
    async with rivals(place) as stores:
        await declared(stores[0], *(new_schedule(name) for name in NAMES))
        storm = Storm(stores, numbers)

        def said(digest: str) -> list[Declaration]:
            return [declaration(*(new_schedule(name, first_at=NOW) for name in NAMES), digest=digest)]

        async def declare() -> None:
            given = await together(
                *(store.declare(worker, said(worker), None, SLOT) for store in stores[:5] for worker in (ALICE, BOB) for _ in range(2))
            )
            assert len(set(given)) == 20

        await storm.during(declare)

        runs = await runs_by_slot(place)
        assert set(runs.values()) == {1}
        assert sorted(runs) == sorted((run.schedule or "", run.scheduled_at or 0.0) for run in storm.won)
        assert min(slot for _, slot in runs) == SLOT
    assert await deadlocks(place) == before


async def test_what_is_triggered_and_backfilled_in_a_storm_is_made_once(place: Place, numbers: Iterator[int]) -> None:
    before = await deadlocks(place)
    async with rivals(place) as stores:
        await declared(stores[0], *(new_schedule(name) for name in NAMES))
        storm = Storm(stores, numbers)
        filled: list[str] = []

        async def fill(store: PostgresStore, name: str) -> None:
            stands = await cursor(store, name)
            slots = [(stands.next_at or SLOT) + place * HOUR for place in range(-4, 4)]
            filled.extend(await store.backfill([scheduled_run(next(numbers), slot, schedule=name) for slot in slots], SLOT))
            await store.trigger(scheduled_run(next(numbers), slots[4], schedule=name), SLOT)

        async def fill_all() -> None:
            await together(*(fill(store, name) for store in stores[:3] for name in NAMES[:8]))

        await storm.during(fill_all)

        runs = await runs_by_slot(place)
        assert set(runs.values()) == {1}
        assert len(runs) == len(storm.won) + len(filled)
        assert filled
    assert await deadlocks(place) == before


async def test_two_who_backfill_the_same_slots_make_one_run_of_each(place: Place, numbers: Iterator[int]) -> None:
    async with rivals(place) as stores:
        await declared(stores[0])
        slots = [SLOT - place * HOUR for place in range(1, 30)]

        made = await together(*(store.backfill([scheduled_run(next(numbers), slot) for slot in slots], NOW) for store in stores))

        assert sorted(map(len, made)) == [0] * (RIVALS - 1) + [29]


async def test_the_same_trigger_at_once_starts_one_run(place: Place) -> None:
    async with rivals(place) as stores:
        await declared(stores[0])

        assert set(await together(*(store.trigger(scheduled_run(1, NOW), NOW) for store in stores))) == {FIRST}

        assert (len(await records(stores[0])), len(await stores[0].events(FIRST))) == (1, 1)


async def test_old_records_are_forgotten_beside_others_who_do_that_and_who_fire(place: Place, numbers: Iterator[int]) -> None:
    async with rivals(place) as stores:
        await declared(stores[0], *(new_schedule(name) for name in NAMES))
        storm = Storm(stores, numbers)
        keys = [("pay", name) for name in NAMES]

        async def forget() -> None:
            for _ in range(5):
                await together(*(store.forget_slots(keys[:: (-1) ** number], 2) for number, store in enumerate(stores[:4])))

        await storm.during(forget)
        await stores[0].forget_slots(keys, 2)

        for name in NAMES:
            assert len(await records(stores[0], name)) == min(2, sum(run.schedule == name for run in storm.won))


# -- an answer that is lost


@asynccontextmanager
async def wired(place: Place) -> AsyncIterator[tuple[Wire, Store]]:
    """A store at the end of a wire, in which `nightly` is declared. Nothing of its own comes between."""
    with Wire(place.url) as wire:
        async with opened(Place(f"{wire.url}?hints=off", place.namespace)) as store:
            await declared(store)
            yield wire, store


@pytest.mark.parametrize("side", ["before", "after"])
async def test_after_a_lost_answer_the_cursor_says_whether_the_slot_has_fired(place: Place, side: Side) -> None:
    async with wired(place) as (wire, store):
        seen = await cursor(store)
        wire.arm(1, side)

        with pytest.raises(DatabaseUnavailable):
            await store.fire([firing(seen, scheduled_run())], SLOT)

        stands = await cursor(store)
        assert stands.next_at == (SLOT + HOUR if side == "after" else SLOT)
        assert await store.fire([firing(seen, scheduled_run(2))], SLOT) == [side == "before"]
        assert await runs_by_slot(place) == {(NIGHTLY, SLOT): 1}


@pytest.mark.parametrize("side", ["before", "after"])
async def test_after_a_lost_answer_a_trigger_and_a_backfill_can_be_said_again(place: Place, side: Side) -> None:
    async with wired(place) as (wire, store):
        runs = [scheduled_run(number, SLOT - number * HOUR) for number in range(1, 4)]
        for again in range(2):
            if again == 0:
                wire.arm(1, side)
            try:
                assert await store.backfill(runs, NOW) == [run.id for run in runs]
            except DatabaseUnavailable:
                assert again == 0
        wire.arm(1, side)
        with pytest.raises(DatabaseUnavailable):
            await store.trigger(scheduled_run(9, NOW), NOW)

        assert await store.trigger(scheduled_run(9, NOW), NOW) == run_id(9)

        assert dict(await store.count(ALL)) == {RunStatus.PENDING: 4}
        assert len(await records(store)) == 4


@pytest.mark.parametrize("side", ["before", "after"])
async def test_after_a_lost_answer_a_release_declares_again_with_a_newer_number(place: Place, side: Side) -> None:
    async with wired(place) as (wire, store):
        wire.arm(1, side)
        with pytest.raises(DatabaseUnavailable):
            await declared(store, new_schedule(input="7"), worker=BOB, digest="two")

        assert await declared(store, new_schedule(input="7"), worker=BOB, digest="two") == (3 if side == "after" else 2)

        assert ((await cursor(store)).digest, (await cursor(store)).next_at) == ("two", SLOT)


@pytest.mark.parametrize("side", ["before", "after"])
async def test_after_a_lost_answer_pause_resume_and_supply_can_be_said_again(place: Place, side: Side) -> None:
    async with wired(place) as (wire, store):
        await store.fire([firing(await cursor(store), scheduled_run(input=""))], SLOT)
        claim = (await claim_one(store, now=SLOT)).claim

        async def twice(deed: Callable[[], Awaitable[bool]]) -> None:
            wire.arm(1, side)
            with pytest.raises(DatabaseUnavailable):
                await deed()
            assert await deed()

        await twice(lambda: store.supply(ALICE, FIRST, claim, "7"))
        await twice(lambda: store.pause_schedule("pay", NIGHTLY, SLOT, "eve"))
        seen = await cursor(store)
        assert seen.paused
        await twice(lambda: store.resume_schedule(seen, seen.next_at, None, SLOT, "eve"))
        assert not (await cursor(store)).paused
        assert (await store.act(FIRST, Action.CANCEL, SLOT)).input == 7
