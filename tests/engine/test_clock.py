"""Time, chance, and ids made of both."""

import asyncio
import random
import time
from types import SimpleNamespace
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.engine import clock as module
from stepwell.engine.clock import RunIds, SystemClock, call_later
from stepwell.testing.clock import EPOCH, LoopClock, MovedClock
from tests.loops import on_a_loop, turns

# -- ids of runs


def test_an_id_is_a_uuid_of_version_7_made_now() -> None:
    run_id = UUID(RunIds(MovedClock()).new())

    assert (run_id.version, run_id.variant) == (7, RFC_4122)
    assert run_id.int >> 80 == int(EPOCH * 1_000)


def test_an_id_is_written_as_uuids_are() -> None:
    run_id = RunIds(MovedClock()).new()

    assert str(UUID(run_id)) == run_id


@given(st.integers(0, 255), st.integers())
def test_a_shard_can_be_read_off_the_id(shard: int, seed: int) -> None:
    run_id = UUID(RunIds(MovedClock(seed)).new(shard))

    assert run_id.int >> 54 & 0xFF == shard
    assert (run_id.version, run_id.variant) == (7, RFC_4122)


def test_without_a_shard_chance_decides() -> None:
    ids = RunIds(MovedClock())

    assert len({UUID(ids.new()).int >> 54 & 0xFF for _ in range(5_000)}) == 256


@given(st.lists(st.floats(-10_000, 10_000), min_size=1, max_size=50))
def test_every_id_is_greater_than_those_before_it_however_the_clock_jumps(jumps: list[float]) -> None:
    class Jumping(MovedClock):
        def now(self) -> float:
            return EPOCH + jumps[min(len(made), len(jumps) - 1)]

    made: list[str] = []
    ids = RunIds(Jumping())
    for _ in range(len(jumps) + 5):
        made.append(ids.new())  # noqa: PERF401  # the clock looks at how many there are

    assert made == sorted(set(made))
    assert {UUID(run_id).version for run_id in made} == {7}


def test_ids_of_one_millisecond_grow_beyond_what_its_counter_holds() -> None:
    ids = RunIds(MovedClock())

    made = [ids.new(shard=7) for _ in range(10_000)]

    assert made == sorted(set(made))
    assert {(UUID(run_id).version, UUID(run_id).variant, UUID(run_id).int >> 54 & 0xFF) for run_id in made} == {(7, RFC_4122, 7)}


def test_two_makers_with_the_same_chance_make_the_same_ids() -> None:
    first, second = (RunIds(MovedClock(seed=5)) for _ in range(2))

    assert [first.new() for _ in range(10)] == [second.new() for _ in range(10)]


# -- the machine's clock


@on_a_loop
async def test_the_system_clock_tells_the_machines_time() -> None:
    before, now, after = time.time(), SystemClock().now(), time.time()

    assert before <= now <= after


@on_a_loop
async def test_the_system_clock_calls_when_it_is_time_and_at_once_when_it_has_passed() -> None:
    clock, called = SystemClock(), list[str]()
    over = asyncio.get_running_loop().create_future()

    clock.call_at(clock.now() + 0.02, lambda: over.set_result(None))
    clock.call_at(clock.now() - 1_000_000, lambda: called.append("passed"))
    begun = [*called]
    await asyncio.wait_for(over, 5)

    assert (begun, called) == ([], ["passed"])


@on_a_loop
async def test_a_canceled_call_of_the_system_clock_is_not_made() -> None:
    clock, called = SystemClock(), list[str]()

    alarm = clock.call_at(clock.now(), lambda: called.append("canceled"))
    alarm.cancel()
    alarm.cancel()
    await asyncio.sleep(0.01)

    assert called == []


@on_a_loop
async def test_the_system_clock_follows_the_database_both_ways() -> None:
    clock = SystemClock()

    shown = []
    for offset in (3_600.0, -3_600.0, 0.0):
        clock.follow(offset)
        shown.append((time.time() + offset, clock.now(), time.time() + offset))

    assert all(before - 1e-6 <= now <= after for before, now, after in shown)


@on_a_loop
async def test_the_system_clock_says_once_that_it_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = 0.0
    # Both are read at one instant, however slow this machine is.
    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: 5.0 + ahead, monotonic=lambda: 5.0))
    clock = SystemClock()

    said = [clock.has_jumped()]
    for ahead in (3_600.0, -3_600.0, -3_600.0, -3_599.9):  # noqa: B007  # the clock looks at it
        said += [clock.has_jumped(), clock.has_jumped()]
    clock.follow(1_000.0)

    assert said == [False, True, False, True, False, False, False, False, False]
    assert not clock.has_jumped()


@on_a_loop
async def test_an_alarm_of_a_clock_that_is_set_forward_rings_once_and_not_late_by_the_jump(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_WAIT", 0.01)
    clock, rung = SystemClock(), list[float]()
    clock.call_at(clock.now() + 600.0, lambda: rung.append(clock.now()))
    await asyncio.sleep(0.03)
    early = list(rung)

    clock.follow(3_600.0)
    await asyncio.sleep(0.05)

    assert (early, len(rung)) == ([], 1)


@on_a_loop
async def test_an_alarm_of_a_clock_that_is_set_back_does_not_ring_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_WAIT", 0.01)
    clock, rung = SystemClock(), list[float]()
    when = clock.now() + 0.02
    clock.call_at(when, lambda: rung.append(clock.now()))

    clock.follow(-600.0)
    await asyncio.sleep(0.06)
    early = list(rung)
    clock.follow(0.0)
    await asyncio.sleep(0.06)

    assert (early, len(rung)) == ([], 1)
    assert rung[0] >= when


@on_a_loop
async def test_an_alarm_that_has_looked_at_the_clock_before_can_be_canceled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_WAIT", 0.005)
    clock, rung = SystemClock(), list[str]()
    alarm = clock.call_at(clock.now() + 600.0, lambda: rung.append("rung"))
    await asyncio.sleep(0.012)

    alarm.cancel()
    clock.follow(3_600.0)
    await asyncio.sleep(0.04)

    assert rung == []


@on_a_loop
async def test_a_time_that_is_waited_for_is_as_long_whatever_becomes_of_the_time_of_day() -> None:
    clock, loop = SystemClock(), asyncio.get_running_loop()
    over = loop.create_future()
    began = loop.time()

    call_later(clock, 0.03, lambda: over.set_result(None))
    clock.follow(-3_600.0)
    await asyncio.wait_for(over, 5)

    assert loop.time() - began >= 0.029


@on_a_loop
async def test_on_a_clock_that_is_moved_a_time_is_over_when_it_shows_so() -> None:
    clock, over = MovedClock(), list[str]()

    call_later(clock, 30.0, lambda: over.append("over"))
    clock.move_to(EPOCH + 29)
    await turns(2)
    early = list(over)
    clock.move_to(EPOCH + 30)
    await turns(2)

    assert (early, over) == ([], ["over"])


@on_a_loop
async def test_chance_is_in_its_range_and_can_be_given() -> None:
    chance = [SystemClock().random() for _ in range(100)]
    seeded = SystemClock(random.Random(1))

    assert all(0 <= number < 1 for number in chance)
    assert len(set(chance)) == 100
    assert (seeded.random(), SystemClock().random_bits(8) < 256) == (random.Random(1).random(), True)


# -- a clock that is moved


@on_a_loop
async def test_a_moved_clock_stands_still_until_it_is_moved() -> None:
    clock = MovedClock()

    times = [clock.now(), clock.now()]
    clock.move_to(EPOCH + 90)

    assert [*times, clock.now()] == [EPOCH, EPOCH, EPOCH + 90]


@on_a_loop
async def test_a_moved_clock_never_goes_back() -> None:
    clock = MovedClock()
    clock.move_to(EPOCH + 90)

    clock.move_to(EPOCH + 30)

    assert clock.now() == EPOCH + 90


@on_a_loop
async def test_a_moved_clock_calls_who_is_due_in_order_and_says_who_is_next() -> None:
    clock, called = MovedClock(), list[str]()
    for name, delay in [("b", 2.0), ("a", 1.0), ("c", 2.0), ("d", 3.0)]:
        clock.call_at(EPOCH + delay, lambda name=name: called.append(name))  # type: ignore[misc]
    first = clock.next()

    clock.move_to(EPOCH + 2.5)
    before_its_turn = [*called]
    await turns(1)

    assert (first, clock.next()) == (EPOCH + 1.0, EPOCH + 3.0)
    assert (before_its_turn, called) == ([], ["a", "b", "c"])


@on_a_loop
async def test_a_canceled_call_of_a_moved_clock_is_not_made() -> None:
    clock, called = MovedClock(), list[str]()
    alarm = clock.call_at(EPOCH + 1, lambda: called.append("canceled"))

    alarm.cancel()
    alarm.cancel()
    clock.move_to(EPOCH + 2)
    await turns(1)

    assert (called, clock.next()) == ([], None)


def test_a_moved_clock_has_the_same_chance_for_the_same_seed() -> None:
    first, second, other = MovedClock(1), MovedClock(1), MovedClock(2)

    assert [first.random(), first.random_bits(62)] == [second.random(), second.random_bits(62)]
    assert other.random() != MovedClock(1).random()


@on_a_loop
async def test_the_clock_of_a_loop_follows_the_loop() -> None:
    loop, called = asyncio.get_running_loop(), list[str]()
    clock = LoopClock(loop, random.Random(3))

    clock.call_at(loop.time(), lambda: called.append("due"))
    await asyncio.sleep(0.01)

    assert called == ["due"]
    assert loop.time() <= clock.now() <= loop.time()
    assert (clock.random(), clock.random_bits(5) < 32) == (random.Random(3).random(), True)
