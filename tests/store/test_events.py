"""Events: what was done to a run from outside, by whom and when."""

from datetime import UTC, datetime

import pytest

from stepwell.core.records import Event
from stepwell.core.status import TRANSITIONS, Action, RunStatus
from stepwell.errors import IllegalTransition
from stepwell.store.port import Store
from tests.store.making import ALICE, ALL, BOB, FIRST, NOW, OPERATORS, bring_to, claims, move, new_run, new_worker, run_id, write
from tests.store.scheduling import NIGHTLY, cursor, declared


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


async def test_what_operators_do_is_kept_in_order_with_its_time_and_who_did_it(store: Store) -> None:
    await store.enqueue([new_run()])
    await store.act(FIRST, Action.PAUSE, NOW + 3, "eve")
    await store.act(FIRST, Action.RESUME, NOW + 4)
    await store.act(FIRST, Action.CANCEL, NOW + 4, "mallory@example.org")
    await store.act(FIRST, Action.RETRY, NOW + 4.5, "")

    assert await store.events(FIRST) == [
        Event(at=at(NOW + 3), action="pause", actor="eve"),
        Event(at=at(NOW + 4), action="resume", actor=None),
        Event(at=at(NOW + 4), action="cancel", actor="mallory@example.org"),
        Event(at=at(NOW + 4.5), action="retry", actor=""),
    ]


@pytest.mark.parametrize(
    ("status", "action"), [(status, action) for (status, action), target in TRANSITIONS.items() if status is target and action in OPERATORS]
)
async def test_what_changes_nothing_is_no_event(store: Store, status: RunStatus, action: Action) -> None:
    await bring_to(store, status)
    before = await store.events(FIRST)

    await store.act(FIRST, action, NOW + 1, "eve")

    assert await store.events(FIRST) == before


async def test_what_is_refused_is_no_event(store: Store) -> None:
    await bring_to(store, RunStatus.COMPLETED)

    with pytest.raises(IllegalTransition):
        await store.act(FIRST, Action.PAUSE, NOW, "eve")

    assert await store.events(FIRST) == []


async def test_what_is_done_to_all_is_an_event_of_each(store: Store) -> None:
    await store.enqueue([new_run()])

    await store.act_on_all(ALL, Action.PAUSE, NOW, "eve", 10)
    await store.act_on_all(ALL, Action.PAUSE, NOW, "eve", 10)

    assert await store.events(FIRST) == [Event(at=at(NOW), action="pause", actor="eve")]


async def test_what_workers_time_and_death_do_is_no_event(store: Store) -> None:
    await bring_to(store, RunStatus.RUNNING, created_at=NOW, timeout=60.0)
    await store.rescue(ALICE, 0, NOW, 10, 5)
    await claims(store, BOB)
    await write(store, move(Action.RELEASE, claim=2), worker=BOB)
    await store.expire(NOW + 60, 10)

    assert (await store.get(FIRST)).status is RunStatus.FAILED
    assert await store.events(FIRST) == []


async def test_who_has_paused_and_resumed_a_schedule_is_kept_in_order_with_the_time(store: Store) -> None:
    await store.register(new_worker())
    await declared(store)
    await store.pause_schedule("pay", NIGHTLY, NOW + 1, "eve")
    await store.pause_schedule("pay", NIGHTLY, NOW + 2, "bob")
    await store.resume_schedule(await cursor(store), NOW + 60, None, NOW + 3, None)
    await store.resume_schedule(await cursor(store), NOW + 60, None, NOW + 4, "bob")

    assert await store.schedule_events("pay", NIGHTLY) == [
        Event(at=at(NOW + 1), action="pause", actor="eve"),
        Event(at=at(NOW + 3), action="resume", actor=None),
    ]


async def test_of_other_schedules_nothing_is_told(store: Store) -> None:
    await store.register(new_worker())
    await declared(store)
    await store.pause_schedule("pay", NIGHTLY, NOW, "eve")

    assert await store.schedule_events("pay", "nightl") == []
    assert await store.schedule_events(NIGHTLY, "pay") == []


async def test_who_starts_a_run_is_kept_as_the_first_of_its_events(store: Store) -> None:
    await store.enqueue([new_run(1, actor="eve", created_at=NOW), new_run(2, created_at=NOW), new_run(3, actor="bob", created_at=NOW + 1)])
    await store.act(FIRST, Action.PAUSE, NOW + 3, "mallory")

    assert await store.events(FIRST) == [
        Event(at=at(NOW), action="start", actor="eve"),
        Event(at=at(NOW + 3), action="pause", actor="mallory"),
    ]
    assert await store.events(run_id(2)) == []
    assert await store.events(run_id(3)) == [Event(at=at(NOW + 1), action="start", actor="bob")]


async def test_the_same_start_again_is_no_second_event(store: Store) -> None:
    new = new_run(actor="eve")

    await store.enqueue([new, new])
    await store.enqueue([new])

    assert [event.actor for event in await store.events(FIRST)] == ["eve"]


async def test_who_gives_a_key_that_is_taken_has_not_started_the_run(store: Store) -> None:
    await store.enqueue([new_run(1, key="order-7", actor="eve")])

    await store.enqueue([new_run(2, key="order-7", actor="bob"), new_run(3, key="order-8", actor="bob")])

    assert [event.actor for event in await store.events(FIRST)] == ["eve"]
    assert [event.actor for event in await store.events(run_id(3))] == ["bob"]


async def test_who_sends_a_run_which_signal_is_kept_with_the_time(store: Store) -> None:
    await store.enqueue([new_run()])
    await store.signal(FIRST, "a", "approved", "1", NOW + 1, "eve")
    await store.act(FIRST, Action.PAUSE, NOW + 2, "bob")
    await store.signal(FIRST, "b", "rejected", "2", NOW + 3, "mallory")

    kept = [
        Event(at=at(NOW + 1), action="signal", actor="eve", signal="approved"),
        Event(at=at(NOW + 2), action="pause", actor="bob"),
        Event(at=at(NOW + 3), action="signal", actor="mallory", signal="rejected"),
    ]
    assert await store.events(FIRST) == kept
    assert list((await store.story(FIRST, 10)).events) == kept
    assert [signal.number for signal in (await store.news({FIRST: 0}))[FIRST].signals] == [1, 2]


async def test_a_signal_of_which_nobody_says_that_he_sends_it_is_no_event(store: Store) -> None:
    await store.enqueue([new_run()])

    await store.signal(FIRST, "a", "approved", "1", NOW)

    assert await store.events(FIRST) == []


async def test_the_same_signal_again_is_no_second_event(store: Store) -> None:
    await store.enqueue([new_run()])

    for _ in range(2):
        await store.signal(FIRST, "a", "approved", "1", NOW, "eve")
        await store.signal_all(ALL, "a", "approved", "1", NOW, None, 10, "eve")

    assert [event.actor for event in await store.events(FIRST)] == ["eve"]


async def test_a_signal_that_is_refused_is_no_event(store: Store) -> None:
    await bring_to(store, RunStatus.COMPLETED)

    with pytest.raises(IllegalTransition):
        await store.signal(FIRST, "a", "approved", "1", NOW, "eve")

    assert await store.events(FIRST) == []


async def test_a_signal_to_all_is_an_event_of_each_that_it_was_sent_to(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("stepwell.store.memory.mailing", "stepwell.store.sql.mailing"):
        monkeypatch.setattr(f"{module}.MAX_SIGNALS", 1)
    await store.enqueue([new_run(1), new_run(2)])
    await store.signal(FIRST, "a", "approved", "1", NOW)

    assert await store.signal_all(ALL, "b", "stop", "1", NOW + 1, None, 10, "eve") == (1, None)

    assert await store.events(FIRST) == []
    assert await store.events(run_id(2)) == [Event(at=at(NOW + 1), action="signal", actor="eve", signal="stop")]
