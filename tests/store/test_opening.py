"""Opening and closing."""

from stepwell.store.port import Store
from tests.store.making import ALICE, FIRST, claim_one, new_run, new_worker


async def test_a_store_that_was_closed_can_be_opened_again(store: Store) -> None:
    await store.enqueue([new_run(9)])
    await store.close()
    await store.close()

    await store.open()

    await store.register(new_worker(ALICE))
    await store.hand_back(ALICE, 0.0, 10)
    await store.register(new_worker(ALICE))
    assert [worker.id for worker in await store.workers() if worker.id == ALICE] == [ALICE]


async def test_opening_an_open_store_changes_nothing(store: Store) -> None:
    await store.enqueue([new_run()])

    await store.open()

    assert (await claim_one(store)).id == FIRST
