"""Signals: what is sent to a run, kept for it, and wakes it."""

from typing import Any

import pytest

from stepwell.core.records import Kind, News, Signal
from stepwell.core.status import Action, RunStatus
from stepwell.errors import IllegalTransition, MailboxFull, RunNotFound
from stepwell.store import port
from stepwell.store.port import Portion, Store, WriteRefused
from tests.store.making import (
    ALICE,
    ALL,
    BOB,
    FIRST,
    NOW,
    bring_to,
    claim_one,
    claimed_run,
    claims,
    leave,
    move,
    new_run,
    numbers,
    outcome,
    run_id,
    write,
)


async def send(store: Store, name: str = "go", payload: str = "1", *, id: str | None = None, run: str = FIRST, now: float = NOW) -> None:
    await store.signal(run, id or f"{name}-{payload}", name, payload, now)


async def sleeping(store: Store, **changed: Any) -> None:
    """Run 1 sleeps, and no worker has it."""
    await claimed_run(store)
    await write(store, move(Action.PARK, **{"due": None, "seen": 0, **changed}))


def of_signal(number: int, seq: int = 1, **changed: Any) -> Any:
    return outcome(changed.pop("key", "go"), seq, kind=Kind.SIGNAL, mark=number, value="1", **changed)


async def test_a_run_is_claimed_with_the_signals_that_were_sent_to_it(store: Store) -> None:
    await store.enqueue([new_run()])
    await send(store, "go", "1")
    await send(store, "stop", '"now"', now=NOW + 1)

    claimed = await claim_one(store, now=NOW + 2)

    assert claimed.signals == (Signal(1, "go", "1", NOW), Signal(2, "stop", '"now"', NOW + 1))
    assert claimed.news == 2


async def test_a_run_to_which_nothing_was_sent_has_no_news(store: Store) -> None:
    claimed = await claimed_run(store)

    assert (claimed.signals, claimed.news) == ((), 0)


async def test_each_of_many_runs_is_claimed_with_its_own_signals(store: Store) -> None:
    await store.enqueue([new_run(number) for number in (1, 2, 3)])
    await send(store, "go", "1", run=run_id(1))
    await send(store, "go", "3", run=run_id(3))

    claimed = await claims(store)

    assert [[signal.payload for signal in each.signals] for each in claimed] == [["1"], [], ["3"]]


async def test_signals_for_which_an_outcome_stands_do_not_come_with_a_claim(store: Store) -> None:
    await claimed_run(store)
    for payload in ("1", "2", "3"):
        await send(store, payload=payload)
    await write(store, of_signal(2), outcome("charge", 2, mark=3), move(Action.RELEASE))

    claimed = await claim_one(store)

    assert [signal.number for signal in claimed.signals] == [1, 3]
    assert claimed.news == 3


async def test_the_same_signal_again_changes_nothing(store: Store) -> None:
    await store.enqueue([new_run()])
    await send(store, id="one", payload="1")
    await send(store, id="one", payload="2")

    claimed = await claim_one(store)

    assert [signal.payload for signal in claimed.signals] == ["1"]


async def test_two_runs_may_be_sent_signals_of_one_id(store: Store) -> None:
    await store.enqueue([new_run(1), new_run(2)])
    await send(store, id="one", run=run_id(1))
    await send(store, id="one", run=run_id(2))

    assert [len(each.signals) for each in await claims(store)] == [1, 1]


@pytest.mark.parametrize("status", [RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELED])
async def test_a_run_that_has_ended_takes_no_signal(store: Store, status: RunStatus) -> None:
    await bring_to(store, status)

    with pytest.raises(IllegalTransition, match=f"is {status}; it cannot signal from there"):
        await send(store)


async def test_the_same_signal_again_is_no_error_when_the_run_has_ended(store: Store) -> None:
    await claimed_run(store)
    await send(store, id="one")
    await write(store, move(Action.COMPLETE))

    await send(store, id="one")


async def test_a_signal_to_a_run_that_is_not_there_is_an_error(store: Store) -> None:
    with pytest.raises(RunNotFound):
        await send(store)


@pytest.mark.parametrize("text", ["\0", "\ud800"])
async def test_a_signal_that_databases_cannot_keep_is_refused(store: Store, text: str) -> None:
    await store.enqueue([new_run()])

    with pytest.raises(WriteRefused):
        await send(store, name=text)

    assert (await claim_one(store)).signals == ()


async def test_a_run_takes_so_many_signals_and_no_more(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (port, *_adapters()):
        monkeypatch.setattr(module, "MAX_SIGNALS", 3)
    await store.enqueue([new_run()])
    for payload in ("1", "2", "3"):
        await send(store, payload=payload)

    with pytest.raises(MailboxFull, match="has 3 signals"):
        await send(store, payload="4")

    await send(store, payload="3")  # it is there already
    assert await store.signal_all(ALL, "all", "go", "1", NOW, None, 10) == Portion(0, None)


def _adapters() -> list[Any]:
    from stepwell.store.memory import mailing as memory  # noqa: PLC0415
    from stepwell.store.sql import mailing as sql  # noqa: PLC0415

    return [memory, sql]


# -- who is told, and who wakes


@pytest.mark.parametrize("status", [RunStatus.RUNNING, RunStatus.SLEEPING, RunStatus.PAUSED, RunStatus.PENDING])
async def test_a_worker_that_has_the_run_is_told_and_the_run_stays_as_it_is(store: Store, status: RunStatus) -> None:
    await bring_to(store, status)
    seen = (await store.notices(ALICE, 0, NOW)).last

    await send(store)

    assert (await store.look(ALICE, NOW)).notices
    assert dict((await store.notices(ALICE, seen, NOW)).runs) == {FIRST: (1, status)}
    assert dict((await store.notices(BOB, 0, NOW)).runs) == {}
    assert (await store.get(FIRST)).status is status
    assert await claims(store) == []


async def test_a_run_that_sleeps_in_no_memory_can_be_claimed_at_once(store: Store) -> None:
    await sleeping(store)
    assert await claims(store) == []

    await send(store, now=NOW + 5)

    assert (await store.get(FIRST)).status is RunStatus.PENDING
    claimed = await claim_one(store, BOB, now=NOW + 5)
    assert [signal.payload for signal in claimed.signals] == ["1"]


async def test_a_run_that_sleeps_until_later_is_woken_before(store: Store) -> None:
    await sleeping(store, due=NOW + 60)

    await send(store, now=NOW + 5)

    assert numbers(await claims(store, now=NOW + 5)) == [1]


async def test_the_delay_of_a_retry_is_slept_out(store: Store) -> None:
    await claimed_run(store)
    await write(store, move(Action.RETRY_LATER, due=NOW + 60))

    await send(store)

    assert (await store.get(FIRST)).status is RunStatus.SLEEPING
    assert await claims(store, now=NOW + 59) == []
    assert len((await claim_one(store, now=NOW + 60)).signals) == 1


async def test_a_paused_run_stays_paused_and_has_the_signal_later(store: Store) -> None:
    await sleeping(store)
    await store.act(FIRST, Action.PAUSE, NOW)

    await send(store)

    assert (await store.get(FIRST)).status is RunStatus.PAUSED
    await store.act(FIRST, Action.RESUME, NOW)
    assert len((await claim_one(store)).signals) == 1


# -- nothing is missed


async def test_a_run_that_is_let_go_of_before_its_worker_has_seen_a_signal_is_ready(store: Store) -> None:
    await claimed_run(store)
    await send(store)

    await write(store, move(Action.PARK, due=None, seen=0))

    assert (await store.get(FIRST)).status is RunStatus.PENDING
    assert (await store.get(FIRST)).worker is None
    assert len((await claim_one(store, BOB)).signals) == 1


async def test_a_run_that_is_let_go_of_when_all_signals_are_seen_sleeps(store: Store) -> None:
    await claimed_run(store)
    await send(store)

    await write(store, move(Action.PARK, due=NOW + 60, seen=1))

    assert (await store.get(FIRST)).status is RunStatus.SLEEPING
    assert await claims(store, now=NOW + 59) == []


@pytest.mark.parametrize("order", ["park, send", "send, park"])
async def test_a_run_that_was_to_be_told_of_a_signal_by_a_worker_that_is_gone_is_made_ready(store: Store, order: str) -> None:
    await claimed_run(store)
    if order == "send, park":
        await send(store)
    await write(store, move(Action.PARK, due=None, keep=True, seen=0))
    if order == "park, send":
        await send(store)
    assert (await store.get(FIRST)).status is RunStatus.SLEEPING
    assert await claims(store) == []

    await leave(store)

    assert (await store.look(BOB, NOW)).due == NOW
    assert len((await claim_one(store, BOB)).signals) == 1


async def test_a_run_that_has_seen_its_signals_sleeps_on_when_its_worker_is_gone(store: Store) -> None:
    await claimed_run(store)
    await send(store)
    await write(store, move(Action.PARK, due=None, keep=True, seen=1))

    await leave(store)

    assert (await store.get(FIRST)).status is RunStatus.SLEEPING
    assert await claims(store, now=NOW + 1_000_000) == []


async def test_a_worker_learns_what_has_come_since(store: Store) -> None:
    await store.enqueue([new_run(1), new_run(2), new_run(3)])
    await send(store, payload="1", run=run_id(1))
    await send(store, payload="2", run=run_id(1), now=NOW + 1)
    await send(store, payload="3", run=run_id(2))

    news = await store.news({run_id(1): 1, run_id(2): 1, run_id(3): 0, run_id(4): 0})

    assert dict(news) == {
        run_id(1): News(2, (Signal(2, "go", "2", NOW + 1),)),
        run_id(2): News(1, ()),
        run_id(3): News(0, ()),
    }


# -- all that match


async def test_a_signal_to_all_reaches_each_live_run_once_in_portions(store: Store) -> None:
    await store.enqueue([new_run(number) for number in range(1, 8)])
    await store.act(run_id(3), Action.CANCEL, NOW)

    portions = [await store.signal_all(ALL, "all", "go", "1", NOW, None, 4)]
    while portions[-1].last is not None:
        portions.append(await store.signal_all(ALL, "all", "go", "1", NOW, portions[-1].last, 4))
    again = await store.signal_all(ALL, "all", "go", "1", NOW, None, 10)

    assert [portion.done for portion in portions] == [4, 2]
    assert again == Portion(6, None)
    claimed = await claims(store)
    assert numbers(claimed) == [1, 2, 4, 5, 6, 7]
    assert [len(each.signals) for each in claimed] == [1] * 6


# -- where they go


async def test_a_run_that_goes_on_as_new_keeps_what_it_has_not_read(store: Store) -> None:
    await claimed_run(store)
    for payload in ("1", "2", "3"):
        await send(store, payload=payload)
    await write(store, of_signal(1), of_signal(2, 2, key="go:1"), move(Action.CONTINUE_AS_NEW, read=(2,)))
    await send(store, payload="4")

    claimed = await claim_one(store)

    assert [signal.number for signal in claimed.signals] == [1, 3, 4]


async def test_a_retry_gives_back_what_was_read_in_vain(store: Store) -> None:
    await claimed_run(store)
    await send(store)
    charge = outcome("charge", 1, ok=False, value='{"type": "E", "message": "", "steps": []}')
    failed = '{"type": "StepFailed", "message": "", "steps": ["charge"]}'
    await write(store, charge, of_signal(1, 2, asked=1), move(Action.FAIL, error=failed))

    await store.act(FIRST, Action.RETRY, NOW)

    claimed = await claim_one(store)
    assert claimed.outcomes == ()
    assert [signal.number for signal in claimed.signals] == [1]


async def test_a_fork_does_not_have_the_mailbox_of_its_source_and_numbers_go_on(store: Store) -> None:
    await claimed_run(store)
    await send(store, payload="1")
    await send(store, payload="2")
    await write(store, of_signal(1), outcome("charge", 2, asked=1))
    await store.fork(FIRST, new_run(2, created_at=NOW, available_at=NOW), "charge")

    await send(store, payload="3", run=run_id(2))

    (forked,) = await claims(store)
    assert [each.key for each in forked.outcomes] == ["go"]
    assert [(signal.number, signal.payload) for signal in forked.signals] == [(3, "3")]


async def test_a_deleted_run_leaves_no_signals(store: Store) -> None:
    await claimed_run(store)
    await send(store)
    await write(store, move(Action.COMPLETE))
    await store.delete(FIRST)

    assert (await claimed_run(store)).signals == ()


async def test_a_signal_that_was_read_is_shown_among_the_steps(store: Store) -> None:
    await claimed_run(store)
    await send(store)
    await write(store, of_signal(1))

    (step,) = await store.steps(FIRST)

    assert (step.key, step.kind, step.status, step.output) == ("go", "signal", "completed", 1)
