"""Threads for `def` steps and bodies."""

import asyncio
import logging
import threading
from typing import Any, Never

import pytest

from stepwell.engine.threads import Threads
from tests.loops import on_a_loop, turns


class Call:
    """A call that ends when it is told to."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.end = threading.Event()
        self.thread: threading.Thread | None = None

    def __call__(self) -> str:
        self.thread = threading.current_thread()
        self.begun.set()
        assert self.end.wait(50)
        return "done"


def pool(limit: int = 256) -> Threads:
    return Threads(asyncio.get_running_loop(), "test", limit)


async def begun(call: Call) -> None:
    assert await asyncio.to_thread(call.begun.wait, 10)


async def eventually(true: Any) -> None:
    async with asyncio.timeout(50):
        while not true():  # threads end without telling anybody
            await asyncio.sleep(0.001)


async def gone(call: Call) -> None:
    thread = call.thread
    assert thread is not None
    await eventually(lambda: not thread.is_alive())


@on_a_loop
async def test_a_call_runs_in_a_daemon_thread_with_a_name() -> None:
    threads = pool()

    thread = await threads.run(threading.current_thread)

    assert (thread.name, thread.daemon) == ("test-1", True)
    assert thread is not threading.current_thread()


@on_a_loop
async def test_a_thread_is_kept_for_the_next_call() -> None:
    threads = pool()

    idents = [await threads.run(threading.get_ident) for _ in range(5)]

    assert len(set(idents)) == 1
    assert threads.busy == 0


@on_a_loop
async def test_calls_at_the_same_time_have_threads_of_their_own() -> None:
    threads, calls = pool(), [Call(), Call()]

    futures = [threads.run(call) for call in calls]
    for call in calls:
        await begun(call)
    busy = threads.busy
    for call in calls:
        call.end.set()

    assert await asyncio.gather(*futures) == ["done", "done"]
    assert (busy, threads.busy) == (2, 0)
    assert calls[0].thread is not calls[1].thread


@on_a_loop
async def test_beyond_the_limit_calls_wait_and_then_go_in_order() -> None:
    threads, first, order = pool(limit=1), Call(), list[int]()

    futures = [threads.run(first), *(threads.run(lambda number=number: order.append(number)) for number in range(5))]  # type: ignore[misc]
    await begun(first)
    waiting = (threads.busy, list(order))
    first.end.set()
    await asyncio.gather(*futures)

    assert waiting == (1, [])
    assert order == [0, 1, 2, 3, 4]


@on_a_loop
async def test_a_call_that_is_canceled_while_it_waits_is_never_made() -> None:
    threads, first, made = pool(limit=1), Call(), list[str]()
    running, waiting, last = threads.run(first), threads.run(lambda: made.append("waiting")), threads.run(lambda: made.append("last"))
    await begun(first)

    waiting.cancel()
    first.end.set()
    await asyncio.gather(running, last)

    assert made == ["last"]
    assert (threads.busy, threads.left_behind) == (0, 0)


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()], ids=repr)
@on_a_loop
async def test_whatever_the_call_raises_is_its_outcome(error: BaseException) -> None:
    def fail() -> Never:
        raise error

    future = pool().run(fail)
    await asyncio.wait([future])

    assert future.exception() is error


@on_a_loop
async def test_a_call_that_raises_stop_iteration_says_so() -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        await pool().run(lambda: next(iter(())))


# -- calls that nobody waits for any more


@on_a_loop
async def test_a_canceled_call_is_left_behind_until_it_ends() -> None:
    threads, call = pool(), Call()
    future = threads.run(call)
    await begun(call)

    future.cancel()
    await turns()
    left = (threads.busy, threads.left_behind)
    call.end.set()
    await eventually(lambda: threads.busy == 0)

    assert left == (1, 1)
    assert threads.left_behind == 0


@on_a_loop
async def test_calls_left_behind_do_not_keep_others_waiting() -> None:
    threads, stuck = pool(limit=1), Call()
    future = threads.run(stuck)
    await begun(stuck)
    waiting = threads.run(lambda: "served")

    future.cancel()

    assert await waiting == "served"
    stuck.end.set()


@on_a_loop
async def test_a_call_canceled_just_when_it_has_ended_is_not_left_behind() -> None:
    seen: list[int] = []

    def look() -> None:
        seen.append(threads.left_behind)

    class Hasty(Threads):
        def _ended(self, *arguments: Any) -> None:
            future.cancel()  # between the end in the thread and its arrival here
            super()._ended(*arguments)
            look()

    threads = Hasty(asyncio.get_running_loop(), "test")
    future = threads.run(lambda: None)
    await asyncio.wait([future])
    look()
    await turns()
    look()

    assert seen == [0, 0, 0]
    assert threads.busy == 0


@on_a_loop
async def test_many_calls_canceled_at_any_moment_are_all_accounted_for() -> None:
    threads = pool(limit=8)

    for turn in range(30):
        futures = [threads.run(lambda: None) for _ in range(20)]
        for future in futures[turn % 3 :: 3]:
            future.cancel()
        await asyncio.sleep(0)
        for future in futures[::5]:
            future.cancel()
        await asyncio.wait(futures)
        assert 0 <= threads.left_behind <= threads.busy
    await eventually(lambda: threads.busy == 0)

    assert threads.left_behind == 0
    assert await threads.run(lambda: "still at work") == "still at work"


async def left_behind(threads: Threads, count: int) -> list[Call]:
    """So many calls that nobody waits for."""
    calls = [Call() for _ in range(count)]
    futures = [threads.run(call) for call in calls]
    for call, future in zip(calls, futures, strict=True):
        await begun(call)
        future.cancel()
    await turns()
    return calls


@on_a_loop
async def test_calls_left_behind_are_told_of_ten_times_as_rarely_each_time(caplog: pytest.LogCaptureFixture) -> None:
    threads = pool()

    with caplog.at_level(logging.WARNING, "stepwell"):
        calls = await left_behind(threads, 12)

    assert [record.getMessage().split(" ")[0] for record in caplog.records] == ["1", "10"]
    assert "go on although nobody waits for them" in caplog.text
    for call in calls:
        call.end.set()
    await eventually(lambda: threads.busy == 0)


@on_a_loop
async def test_with_too_many_calls_left_behind_further_ones_fail_until_some_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepwell.engine.threads.MAX_LEFT_BEHIND", 3)
    threads = pool(limit=1)
    stuck = await left_behind(threads, 2)
    last, waiting = Call(), list[asyncio.Future[Any]]()
    future = threads.run(last)
    await begun(last)
    waiting.append(threads.run(lambda: "never"))

    future.cancel()
    await asyncio.wait([*waiting, refused := threads.run(lambda: "never")])
    for each in (*waiting, refused):
        with pytest.raises(RuntimeError, match="3 calls that timed out or were canceled go on in threads of test"):
            await each

    for call in (*stuck, last):
        call.end.set()
    await eventually(lambda: threads.left_behind < 3)
    assert await threads.run(lambda: "served") == "served"


# -- the end


@on_a_loop
async def test_idle_threads_end_when_the_pool_is_closed() -> None:
    threads = pool()
    thread = await threads.run(threading.current_thread)

    threads.close()

    await eventually(lambda: not thread.is_alive())


@on_a_loop
async def test_a_call_under_way_when_the_pool_is_closed_runs_out_and_then_its_thread_ends() -> None:
    threads, call = pool(), Call()
    future = threads.run(call)
    await begun(call)

    threads.close()
    threads.close()
    call.end.set()

    assert await future == "done"
    await gone(call)


def test_a_call_that_ends_after_its_loop_was_closed_is_forgotten() -> None:
    call = Call()

    async def leave() -> None:
        pool().run(call)
        await begun(call)

    asyncio.run(leave())
    call.end.set()

    assert call.thread is not None
    call.thread.join(50)
    assert not call.thread.is_alive()


@on_a_loop
async def test_where_no_thread_can_be_made_the_call_fails_and_others_are_served_later(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = pool(limit=1)

    def refuse(_: threading.Thread) -> Never:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        futures = [threads.run(lambda: None) for _ in range(3)]
        with pytest.raises(RuntimeError, match="can't start new thread"):
            await futures[0]
        await asyncio.wait(futures)

    assert (threads.busy, [str(future.exception()) for future in futures[1:]]) == (0, ["can't start new thread"] * 2)
    assert await threads.run(lambda: "served") == "served"
