"""One heap of what is due."""

import asyncio
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from stepwell.engine.alarms import Alarms
from stepwell.testing.clock import EPOCH, MovedClock
from tests.loops import on_a_loop, turns


class Sleeper:
    def __init__(self, name: str = "", rung: list[tuple[str, float]] | None = None, clock: MovedClock | None = None) -> None:
        self.alarm_at: float | None = None
        self.name = name
        self.rung = rung if rung is not None else []
        self.clock = clock or MovedClock()
        self.then: Callable[[], None] = lambda: None

    def ring(self) -> None:
        self.rung.append((self.name, self.clock.now() - EPOCH))
        self.then()


class Room:
    """Alarms on a clock that is moved, and who was rung when."""

    def __init__(self) -> None:
        self.clock = MovedClock()
        self.alarms = Alarms(self.clock)
        self.rung: list[tuple[str, float]] = []

    def sleeper(self, name: str, when: float | None = None) -> Sleeper:
        sleeper = Sleeper(name, self.rung, self.clock)
        self.alarms.set(sleeper, None if when is None else EPOCH + when)
        return sleeper

    async def move_to(self, when: float) -> None:
        self.clock.move_to(EPOCH + when)
        await turns(3)


@on_a_loop
async def test_sleepers_are_called_when_they_are_due_and_once() -> None:
    room = Room()
    for name, when in [("late", 3.0), ("early", 1.0), ("middle", 2.0)]:
        room.sleeper(name, when)

    for when in (0.5, 1.0, 2.5, 9.0, 99.0):
        await room.move_to(when)

    assert room.rung == [("early", 1.0), ("middle", 2.5), ("late", 9.0)]


@on_a_loop
async def test_who_is_due_at_one_moment_is_called_in_the_order_of_asking() -> None:
    room = Room()
    for name in "cab":
        room.sleeper(name, 1.0)

    await room.move_to(1.0)

    assert [name for name, _ in room.rung] == ["c", "a", "b"]


@on_a_loop
async def test_the_last_time_set_is_the_one_that_counts() -> None:
    room = Room()
    later, sooner, never = room.sleeper("later", 1.0), room.sleeper("sooner", 5.0), room.sleeper("never", 1.0)

    room.alarms.set(later, EPOCH + 4.0)
    room.alarms.set(sooner, EPOCH + 2.0)
    room.alarms.set(never, None)
    for when in (1.0, 2.0, 3.0, 4.0, 9.0):
        await room.move_to(when)

    assert room.rung == [("sooner", 2.0), ("later", 4.0)]


@on_a_loop
async def test_a_time_that_was_changed_and_changed_back_rings_once() -> None:
    room = Room()
    sleeper = room.sleeper("a", 1.0)
    room.alarms.set(sleeper, EPOCH + 2.0)
    room.alarms.set(sleeper, EPOCH + 1.0)

    for when in (1.0, 2.0, 3.0):
        await room.move_to(when)

    assert room.rung == [("a", 1.0)]


@on_a_loop
async def test_a_time_that_has_passed_rings_at_the_next_turn() -> None:
    clock = _LoopTime()
    alarms, rung = Alarms(clock), list[tuple[str, float]]()

    alarms.set(Sleeper("a", rung), clock.now() - 10)
    before = list(rung)
    await asyncio.sleep(0.01)

    assert (before, [name for name, _ in rung]) == ([], ["a"])


@on_a_loop
async def test_a_sleeper_may_set_itself_anew_when_it_is_called() -> None:
    room = Room()
    sleeper = room.sleeper("a", 1.0)
    sleeper.then = lambda: room.alarms.set(sleeper, room.clock.now() + 1.0)

    for when in (1.0, 2.0, 3.0):
        await room.move_to(when)

    assert room.rung == [("a", 1.0), ("a", 2.0), ("a", 3.0)]


@on_a_loop
async def test_a_sleeper_may_change_the_times_of_others_that_are_due_too() -> None:
    room = Room()
    first, second = room.sleeper("first", 1.0), room.sleeper("second", 1.0)
    first.then = lambda: room.alarms.set(second, None)

    await room.move_to(1.0)

    assert room.rung == [("first", 1.0)]


@on_a_loop
async def test_a_sleeper_that_raises_does_not_keep_the_others_asleep() -> None:
    room = Room()
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context.get("exception")))
    broken = room.sleeper("broken", 1.0)
    for name, when in [("same moment", 1.0), ("later", 2.0)]:
        room.sleeper(name, when)

    def fail() -> None:
        raise ZeroDivisionError

    broken.then = fail
    for when in (1.0, 1.5, 2.0, 3.0):
        await room.move_to(when)

    assert [type(error) for error in reported] == [ZeroDivisionError]
    assert {name for name, _ in room.rung} == {"broken", "same moment", "later"}


@on_a_loop
async def test_next_is_when_somebody_is_due() -> None:
    room = Room()
    times = [room.alarms.next()]
    sleeper = room.sleeper("a", 5.0)
    room.sleeper("b", 9.0)
    times.append(room.alarms.next())
    room.alarms.set(sleeper, None)
    times.append(room.alarms.next())

    assert times == [None, EPOCH + 5.0, EPOCH + 9.0]


@on_a_loop
async def test_nobody_is_called_after_the_close() -> None:
    room = Room()
    room.sleeper("a", 1.0)

    room.alarms.close()
    await room.move_to(2.0)

    assert (room.rung, room.alarms.next()) == ([], None)


@on_a_loop
async def test_times_set_and_changed_a_hundred_thousand_times_leave_nothing_behind() -> None:
    room = Room()
    sleepers = [room.sleeper(str(number)) for number in range(10)]

    for number in range(100_000):
        room.alarms.set(sleepers[number % 10], EPOCH + 1_000 + number)

    assert len(room.alarms._heap) < 200


@given(st.lists(st.tuples(st.integers(0, 4), st.none() | st.integers(1, 20), st.integers(0, 3))))
def test_everybody_is_called_once_for_the_last_time_that_was_set(acts: list[tuple[int, int | None, int]]) -> None:
    async def scenario() -> None:
        room, time = Room(), 0
        sleepers = [room.sleeper(str(number)) for number in range(5)]
        expected: dict[int, int] = {}
        rung: list[tuple[str, float]] = []
        for number, delay, moved in acts:
            room.alarms.set(sleepers[number], None if delay is None else EPOCH + time + delay)
            expected.pop(number, None)
            if delay is not None:
                expected[number] = time + delay
            for _ in range(moved):
                time += 1
                await room.move_to(time)
                due = [number for number, when in expected.items() if when == time]
                rung += [(str(number), float(time)) for number in due]
                expected = {number: when for number, when in expected.items() if when != time}
            assert room.alarms.next() == min((EPOCH + when for when in expected.values()), default=None)
            assert sorted(room.rung) == sorted(rung)

    asyncio.run(scenario())


class _LoopTime(MovedClock):
    """The time of the running loop."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def call_at(self, when: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_at(when, callback)
