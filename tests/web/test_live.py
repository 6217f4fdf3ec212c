"""Who listens is told of changes, also of those while the database was away, and never left with a stream that says nothing more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest

from stepwell.errors import DatabaseUnavailable, StepwellError, TooSlow
from stepwell.web.live import MAX_STREAMS, Live
from tests.loops import on_a_loop


def _pulses(*said: str | Exception) -> Callable[[], Awaitable[str]]:
    """Says one after the other, and the last one for ever."""
    left = list(said)

    async def pulse() -> str:
        now = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(now, Exception):
            raise now
        return now

    return pulse


def _stream(live: Live) -> AsyncGenerator[str, None]:
    stream = live.events()
    assert isinstance(stream, AsyncGenerator)
    return stream


async def _told(live: Live) -> list[str]:
    """All that a listener is told until it hears of a change, or its stream ends."""
    heard = []
    async for text in live.events():
        heard.append(text.partition("\n")[0])
        if heard[-1] == "event: changed":
            break
    return heard


@on_a_loop
async def test_a_change_is_told() -> None:
    async with asyncio.timeout(50):
        assert await _told(Live(_pulses("1", "2"))) == [": still there", "event: changed"]


@pytest.mark.parametrize("error", [DatabaseUnavailable("gone"), TooSlow("busy")])
@on_a_loop
async def test_a_database_that_does_not_answer_is_told_once_and_that_it_does_again_as_a_change(error: Exception) -> None:
    async with asyncio.timeout(50):
        assert await _told(Live(_pulses("1", error, error, "1"))) == [": still there", "event: away", "event: changed"]


@on_a_loop
async def test_whoever_comes_while_the_database_is_away_is_told_so_at_once() -> None:
    live = Live(_pulses(DatabaseUnavailable("gone")))
    first = _stream(live)
    async with asyncio.timeout(50):
        assert [await anext(first), await anext(first)] == [": still there\n\n", "event: away\ndata: \n\n"]
        second = _stream(live)
        assert await anext(second) == "event: away\ndata: \n\n"
        await first.aclose()
        await second.aclose()
        live.close()
        await live.closed()


@pytest.mark.parametrize("error", [StepwellError("odd")])
@on_a_loop
async def test_streams_end_when_changes_are_not_told_any_more_so_that_browsers_come_again(error: Exception) -> None:
    live = Live(_pulses("1", error, "2", "3"))

    async with asyncio.timeout(50):
        assert await _told(live) == [": still there"]
        assert live.streams == 0
        assert (await _told(live))[-1] == "event: changed"


@on_a_loop
async def test_whoever_goes_away_leaves_room_for_another() -> None:
    live = Live(_pulses("1"))
    streams = [_stream(live) for _ in range(MAX_STREAMS)]
    for stream in streams:
        assert (await anext(stream)).startswith(": still there")
    refused = [text async for text in live.events()]
    await streams[0].aclose()
    another = _stream(live)

    assert refused == ["retry: 60000\nevent: full\ndata: \n\n"]
    assert (await anext(another)).startswith(": still there")
    assert live.streams == MAX_STREAMS
    live.close()
    for stream in [*streams[1:], another]:
        assert [text async for text in stream] == []
    assert live.streams == 0


@on_a_loop
async def test_a_stream_ends_after_a_while_and_says_that_another_one_is_to_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepwell.web.live.LASTING", 0.0)
    live = Live(_pulses("1"))

    assert [text.partition("\n")[0] async for text in live.events()] == [": still there", "event: again"]
    assert live.streams == 0


@on_a_loop
async def test_after_the_end_nobody_is_asked_for_changes_any_more_and_streams_can_begin_again() -> None:
    asked = 0

    async def pulse() -> str:
        nonlocal asked
        asked += 1
        return str(asked)

    live = Live(pulse)
    stream = _stream(live)
    await anext(stream)

    async with asyncio.timeout(10):
        live.close()
        await live.closed()
        before = asked
        assert [text async for text in stream] == []
        assert [text async for text in live.events()] == []
        assert asked == before
        live.open()
        assert (await _told(live))[-1] == "event: changed"
