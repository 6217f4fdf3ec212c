"""Hints: who listens is told that something may have changed, so that nobody has to ask all the time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from stepwell.core.records import UNRESOLVED
from stepwell.core.status import Action
from stepwell.store.port import Halt, Hint, Pin, Store
from tests.loops import turns
from tests.store.making import ALICE, ALL, BOB, FIRST, NOW, claimed_run, claims, failure, move, new_run, outcome, run_id, write

Deed = Callable[[Store], Awaitable[object]]


class Listener:
    """Hears hints, and can wait for one."""

    def __init__(self) -> None:
        self.heard: list[Hint] = []
        self.came = asyncio.Event()

    def __call__(self, hint: Hint) -> None:
        self.heard.append(hint)
        self.came.set()

    async def hear(self, hint: Hint) -> None:
        async with asyncio.timeout(50):
            while hint not in self.heard:
                await self.came.wait()
                self.came.clear()


@asynccontextmanager
async def listening(store: Store) -> AsyncIterator[Listener]:
    await turns()  # what was told before is not heard
    listener = Listener()
    end = store.listen(listener)
    yield listener
    end()


# -- deeds that make runs ready, each on a run that Alice executes


async def start(store: Store) -> None:
    await store.enqueue([new_run(2)])


async def start_late(store: Store) -> None:
    await store.enqueue([new_run(2, available_at=NOW + 10)])


async def start_with_timeout(store: Store) -> None:
    await store.enqueue([new_run(2, timeout=60.0)])


async def release(store: Store) -> None:
    await write(store, move(Action.RELEASE))


async def park(store: Store) -> None:
    await write(store, move(Action.PARK))


async def retry_later(store: Store) -> None:
    await write(store, move(Action.RETRY_LATER))


async def continue_as_new(store: Store) -> None:
    await write(store, move(Action.CONTINUE_AS_NEW))


async def complete(store: Store) -> None:
    await write(store, move(Action.COMPLETE))


async def fail(store: Store) -> None:
    await write(store, move(Action.FAIL))


async def pause(store: Store) -> None:
    await store.act(FIRST, Action.PAUSE, NOW)


async def cancel(store: Store) -> None:
    await store.act(FIRST, Action.CANCEL, NOW)


async def cancel_all(store: Store) -> None:
    await store.act_on_all(ALL, Action.CANCEL, NOW, None, 10)


async def hand_back(store: Store) -> None:
    await store.hand_back(ALICE, NOW, 10)


async def rescue(store: Store) -> None:
    await store.rescue(ALICE, 0, NOW, 10, 5)


async def rescue_for_the_last_time(store: Store) -> None:
    await store.rescue(ALICE, 0, NOW, 10, 1)


@pytest.mark.parametrize(
    ("deed", "hint"),
    [
        (start, Hint.READY),
        (release, Hint.READY),
        (continue_as_new, Hint.READY),
        (hand_back, Hint.READY),
        (rescue, Hint.READY),
        (start_late, Hint.DUE),
        (start_with_timeout, Hint.DUE),
        (park, Hint.DUE),
        (retry_later, Hint.DUE),
        (pause, Hint.NOTICE),
        (cancel, Hint.NOTICE),
        (cancel_all, Hint.NOTICE),
        (cancel, Hint.ENDED),
        (cancel_all, Hint.ENDED),
        (complete, Hint.ENDED),
        (fail, Hint.ENDED),
        (rescue_for_the_last_time, Hint.ENDED),
    ],
)
async def test_who_listens_is_told(store: Store, deed: Deed, hint: Hint) -> None:
    await claimed_run(store)

    async with listening(store) as listener:
        await deed(store)

        await listener.hear(hint)


@pytest.mark.parametrize(("first", "action", "hint"), [(pause, Action.RESUME, Hint.NOTICE), (cancel, Action.RETRY, Hint.READY)])
async def test_who_listens_is_told_of_a_run_that_goes_on(store: Store, first: Deed, action: Action, hint: Hint) -> None:
    await claimed_run(store)
    await first(store)

    async with listening(store) as listener:
        await store.act(FIRST, action, NOW)

        await listener.hear(hint)


async def test_who_listens_is_told_of_a_resumed_run_that_nobody_owns(store: Store) -> None:
    await store.enqueue([new_run()])
    await store.act(FIRST, Action.PAUSE, NOW)

    async with listening(store) as listener:
        await store.act(FIRST, Action.RESUME, NOW)

        await listener.hear(Hint.READY)


async def test_who_listens_is_told_when_what_was_due_is_ready(store: Store) -> None:
    await store.enqueue([new_run(available_at=NOW + 10)])

    async with listening(store) as listener:
        await store.make_ready(NOW + 10, 10)

        await listener.hear(Hint.READY)


async def test_who_listens_is_told_of_what_has_failed_at_its_deadline(store: Store) -> None:
    await claimed_run(store, created_at=NOW, timeout=60.0)

    async with listening(store) as listener:
        await store.expire(NOW + 60, 10)

        await listener.hear(Hint.ENDED)
        await listener.hear(Hint.NOTICE)


async def test_who_listens_is_told_of_a_sleeper_that_its_worker_lets_go_of(store: Store) -> None:
    await claimed_run(store)
    await write(store, move(Action.PARK, keep=True))

    async with listening(store) as listener:
        await write(store, move(Action.RELEASE))

        await listener.hear(Hint.DUE)


async def test_who_listens_is_told_of_a_deadline_that_the_first_claim_has_fixed(store: Store) -> None:
    await store.enqueue([new_run(version=UNRESOLVED)])

    async with listening(store) as listener:
        await store.claim(ALICE, lambda _: Pin("v2", 60.0), 10, NOW)

        await listener.hear(Hint.DUE)


@pytest.mark.parametrize("deed", [continue_as_new, cancel])
async def test_who_listens_is_told_of_a_deadline_that_counts_anew(store: Store, deed: Deed) -> None:
    await claimed_run(store, timeout=60.0)

    async with listening(store) as listener:
        await deed(store)
        if deed is cancel:
            await store.act(FIRST, Action.RETRY, NOW)

        await listener.hear(Hint.DUE)


async def test_who_listens_is_told_of_a_fork(store: Store) -> None:
    await claimed_run(store)
    await write(store, failure("charge", 1))

    async with listening(store) as listener:
        await store.fork(FIRST, new_run(2), "charge")

        await listener.hear(Hint.READY)


async def test_who_listens_is_told_when_a_halt_is_over(store: Store) -> None:
    await store.halt(Halt("queue", "default"), halted=True, now=NOW)

    async with listening(store) as listener:
        await store.halt(Halt("queue", "default"), halted=False, now=NOW)

        await listener.hear(Hint.READY)


@pytest.mark.parametrize("hint", list(Hint))
async def test_who_has_something_to_tell_can_tell_it(store: Store, hint: Hint) -> None:
    async with listening(store) as listener:
        store.hint(hint)

        await listener.hear(hint)


async def test_all_who_listen_are_told(store: Store) -> None:
    async with listening(store) as one, listening(store) as other:
        await start(store)

        await one.hear(Hint.READY)
        await other.hear(Hint.READY)


async def test_who_listens_no_longer_is_told_nothing(store: Store) -> None:
    leaving, staying = Listener(), Listener()
    end = store.listen(leaving)
    store.listen(staying)
    end()
    end()

    await start(store)

    await staying.hear(Hint.READY)
    assert leaving.heard == []


async def test_what_is_told_comes_from_the_loop_and_not_from_within_the_verb(store: Store) -> None:
    async with listening(store) as listener:
        store.hint(Hint.READY)

        assert listener.heard == []


async def test_one_verb_tells_each_kind_once(store: Store) -> None:
    async with listening(store) as listener:
        await store.enqueue([new_run(number) for number in range(1, 51)])
        await listener.hear(Hint.READY)
        await claims(store, ALICE, 50)
        await write(store, *(move(Action.COMPLETE, run=run_id(number)) for number in range(1, 51)))
        await listener.hear(Hint.ENDED)

        assert [listener.heard.count(hint) for hint in (Hint.READY, Hint.ENDED)] == [1, 1]


async def test_a_worker_at_work_tells_nobody(store: Store) -> None:
    await claimed_run(store)

    async with listening(store) as listener:
        await write(store, outcome("charge", 1))
        await write(store, move(Action.PARK, keep=True))
        await write(store, move(Action.WAKE))
        await store.claim(BOB, lambda _: None, 10, NOW)
        store.hint(Hint.NOTICE)
        await listener.hear(Hint.NOTICE)

        assert listener.heard == [Hint.NOTICE]
