"""What is done to many runs in the background shows on pages, and how it ended does too."""

from __future__ import annotations

import asyncio

import pytest

from stepwell.errors import DatabaseUnavailable
from stepwell.web.batches import Batches
from tests.loops import on_a_loop


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (None, "2 runs were paused"),
        (DatabaseUnavailable("gone"), "pause runs: stopped, gone"),
        (RuntimeError("hunter2"), "pause runs: stopped by an error that the server's log shows"),
    ],
)
@on_a_loop
async def test_how_a_long_one_ended_is_shown_to_whoever_did_not_wait_for_it(error: Exception | None, said: str) -> None:
    go_on, batches = asyncio.Event(), Batches()

    async def work() -> int:
        await go_on.wait()
        if error is not None:
            raise error
        return 2

    batch = batches.begin("pause runs", work, "paused")
    await batch.settled(0)
    batches.told(batch)
    assert [each.said for each in batches.shown()] == ["pause runs: under way"]
    go_on.set()
    await batch.settled(10)

    assert [each.said for each in batches.shown()] == [said]


@on_a_loop
async def test_one_whose_end_was_told_at_once_is_not_shown_again() -> None:
    batches = Batches()

    async def work() -> int:
        return 1

    batch = batches.begin("pause runs", work, "paused")
    await batch.settled(10)
    batches.told(batch)

    assert batch.said == "1 run was paused"
    assert batches.shown() == []
