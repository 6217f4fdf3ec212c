"""What is done to many runs in the background shows on pages, and how it ended does too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from stepwell.errors import DatabaseUnavailable, TooSlow
from stepwell.web.batches import Batches
from tests.loops import on_a_loop


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (None, "2 runs were paused"),
        (TooSlow("take less"), "Pause runs: stopped, take less; 1 run was paused"),
        (DatabaseUnavailable("postgres://ada@db"), "Pause runs: stopped, as the database does not answer; 1 run was paused"),
        (RuntimeError("hunter2"), "Pause runs: stopped by an error that the server's log shows; 1 run was paused"),
    ],
)
@on_a_loop
async def test_how_a_long_one_ended_is_shown_to_whoever_did_not_wait_for_it(error: Exception | None, said: str) -> None:
    go_on, batches = asyncio.Event(), Batches()

    async def work(progress: Callable[[int], None]) -> int:
        progress(1)
        await go_on.wait()
        if error is not None:
            raise error
        return 2

    batch = batches.begin("Pause runs", work, "paused")
    await batch.settled(0.01)
    batches.told(batch)
    assert [each.said for each in batches.shown()] == ["Pause runs: under way, 1 run was paused"]
    go_on.set()
    await batch.settled(10)

    assert [each.said for each in batches.shown()] == [said]


@on_a_loop
async def test_one_whose_end_was_told_at_once_is_not_shown_again() -> None:
    batches = Batches()

    async def work(progress: Callable[[int], None]) -> int:
        return 1

    batch = batches.begin("Pause runs", work, "paused")
    await batch.settled(10)
    batches.told(batch)

    assert batch.said == "1 run was paused"
    assert batches.shown() == []


class Portions:
    """Work that does 500 at a time, each when it is let; and a database that may not answer."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.let = asyncio.Semaphore(0)

    async def __call__(self, progress: Callable[[int], None]) -> int:
        for done in range(500, 100_000, 500):
            self.begun.set()
            await self.let.acquire()
            progress(done)
        raise AssertionError("nobody has stopped it")


@on_a_loop
async def test_one_that_is_stopped_ends_after_its_portion_and_says_what_was_done_and_what_was_not() -> None:
    batches, work = Batches(), Portions()
    batch = batches.begin("Cancel all runs", work, "canceled")
    await work.begun.wait()

    batch.stop("web:ada")
    work.let.release()
    await batch.settled(10)

    assert [each.said for each in batches.shown()] == [
        "Cancel all runs: stopped by web:ada; 500 runs were canceled, the others are as they were"
    ]


@on_a_loop
async def test_when_the_application_ends_in_the_midst_of_one_it_ends_too_and_the_log_says_how_far_it_came(
    caplog: pytest.LogCaptureFixture,
) -> None:
    batches, work = Batches(), Portions()
    batches.begin("Cancel all runs", work, "canceled")
    await work.begun.wait()
    work.let.release()

    async with asyncio.timeout(10):
        await batches.close()

    assert "Cancel all runs: stopped by the end of the server; 500 runs were canceled, the others are as they were" in caplog.text


@on_a_loop
async def test_one_whose_database_does_not_answer_does_not_keep_the_application_from_its_end(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepwell.web.batches._TO_END", 0.01)
    batches, work = Batches(), Portions()
    batch = batches.begin("Cancel all runs", work, "canceled")
    await work.begun.wait()

    async with asyncio.timeout(10):
        await batches.close()

    assert batch.is_over
    assert "Cancel all runs: broken off; at least 0 runs were canceled" in caplog.text
