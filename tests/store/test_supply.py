"""Inputs that a worker computes: a run that has none yet is given it by whoever has claimed the run."""

import pytest

from stepwell.core.records import TO_COMPUTE, RunFilter
from stepwell.core.status import Action, RunStatus
from stepwell.store.port import Store, WriteRefused
from tests.store.making import ALICE, BOB, FIRST, NOW, claim_one, claims, leave, move, new_run, outcome, run_id, write

INPUT = '{"day":"Grüße ✓"}'


async def claimed(store: Store) -> int:
    """Run 1, whose input is to be computed, with Alice; under which claim."""
    await store.enqueue([new_run(input=TO_COMPUTE)])
    return (await claim_one(store)).claim


async def test_a_worker_sees_that_an_input_is_to_be_computed(store: Store) -> None:
    await store.enqueue([new_run(input=TO_COMPUTE), new_run(2, input='""')])

    assert {run.id: run.input for run in await claims(store)} == {FIRST: TO_COMPUTE, run_id(2): '""'}


async def test_an_input_that_is_to_be_computed_is_shown_as_none(store: Store) -> None:
    await claimed(store)

    assert (await store.get(FIRST)).input is None
    assert [run.input for run in (await store.find(RunFilter(), newest=True, limit=9, cursor=None)).items] == [None]
    assert (await store.history(FIRST)).input == TO_COMPUTE


async def test_an_input_that_was_supplied_is_there_for_all(store: Store) -> None:
    claim = await claimed(store)

    assert await store.supply(ALICE, FIRST, claim, INPUT)

    assert (await store.get(FIRST)).input == {"day": "Grüße ✓"}
    assert (await store.history(FIRST)).input == INPUT
    await leave(store)
    assert (await claim_one(store, BOB)).input == INPUT


async def test_lists_and_searches_see_it(store: Store) -> None:
    claim = await claimed(store)
    assert (await store.find(RunFilter(search="grüße"), newest=True, limit=9, cursor=None)).items == ()

    await store.supply(ALICE, FIRST, claim, INPUT)

    (found,) = (await store.find(RunFilter(search="grüße"), newest=True, limit=9, cursor=None)).items
    assert found.input == {"day": "Grüße ✓"}


@pytest.mark.parametrize(
    "input", ["null", '""', "0", '"' + "x" * 300_000 + '"', '"\\u0000"', '"\U0001f600\u2028"'], ids=lambda text: text[:9]
)
async def test_any_json_may_be_supplied(store: Store, input: str) -> None:
    claim = await claimed(store)

    assert await store.supply(ALICE, FIRST, claim, input)

    assert (await store.history(FIRST)).input == input


async def test_to_supply_twice_changes_nothing(store: Store) -> None:
    claim = await claimed(store)
    await store.supply(ALICE, FIRST, claim, INPUT)
    before = await store.get(FIRST), await store.history(FIRST)

    assert await store.supply(ALICE, FIRST, claim, INPUT)

    assert (await store.get(FIRST), await store.history(FIRST)) == before


@pytest.mark.parametrize(("worker", "run", "claim"), [(BOB, FIRST, 1), (ALICE, FIRST, 2), (ALICE, FIRST, 0), (ALICE, run_id(2), 1)])
async def test_whoever_does_not_hold_the_claim_supplies_nothing(store: Store, worker: str, run: str, claim: int) -> None:
    await claimed(store)

    assert not await store.supply(worker, run, claim, INPUT)

    assert (await store.history(FIRST)).input == TO_COMPUTE


@pytest.mark.parametrize("action", [Action.RELEASE, Action.FAIL, Action.RETRY_LATER])
async def test_a_worker_that_has_let_go_of_a_run_supplies_nothing(store: Store, action: Action) -> None:
    claim = await claimed(store)
    await write(store, move(action))

    assert not await store.supply(ALICE, FIRST, claim, INPUT)


async def test_a_worker_whose_run_was_canceled_supplies_nothing(store: Store) -> None:
    claim = await claimed(store)
    await store.act(FIRST, Action.CANCEL, NOW)

    assert not await store.supply(ALICE, FIRST, claim, INPUT)


async def test_a_worker_that_was_taken_for_dead_supplies_nothing(store: Store) -> None:
    claim = await claimed(store)
    await store.rescue(ALICE, 0, NOW, 0, 5)

    assert not await store.supply(ALICE, FIRST, claim, INPUT)

    await store.rescue(ALICE, 0, NOW, 10, 5)
    assert (await claim_one(store, BOB)).input == TO_COMPUTE


async def test_a_paused_run_that_its_worker_still_has_can_be_supplied(store: Store) -> None:
    claim = await claimed(store)
    await store.act(FIRST, Action.PAUSE, NOW)

    assert await store.supply(ALICE, FIRST, claim, INPUT)

    run = await store.get(FIRST)
    assert (run.status, run.input) == (RunStatus.PAUSED, {"day": "Grüße ✓"})


async def test_a_supply_leaves_everything_else_as_it_is(store: Store) -> None:
    claim = await claimed(store)
    await write(store, outcome("charge", 1))
    before, standing = await store.get(FIRST), dict(await store.standing(ALICE, NOW))

    await store.supply(ALICE, FIRST, claim, "null")

    assert (await store.get(FIRST), dict(await store.standing(ALICE, NOW))) == (before, standing)


@pytest.mark.parametrize("sign", ["\0", "\ud800"], ids=["NUL", "lone surrogate"])
async def test_what_no_database_keeps_is_refused(store: Store, sign: str) -> None:
    claim = await claimed(store)

    with pytest.raises(WriteRefused):
        await store.supply(ALICE, FIRST, claim, f'"{sign}"')

    assert (await store.history(FIRST)).input == TO_COMPUTE
    assert await store.supply(ALICE, FIRST, claim, INPUT)


async def test_a_fork_of_a_run_whose_input_is_to_be_computed_has_what_it_is_given(store: Store) -> None:
    await claimed(store)
    await write(store, outcome("charge", 1))

    await store.fork(FIRST, new_run(2, input=TO_COMPUTE), "charge")

    assert (await store.history(run_id(2))).input == TO_COMPUTE
