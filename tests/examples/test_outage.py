"""The outage: paused runs use up no attempts, and lose nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from examples.outage import ATTEMPTS, Site, attempts_failed, collect, main
from stepwell import Handle, RunStatus, Stepwell
from stepwell.testing import MovedClock
from tests.engine.harness import scenario

PAGES = 6
SERVED = 3


@asynccontextmanager
async def met_by_the_outage(url: str, site: Site, clock: MovedClock) -> AsyncIterator[tuple[Stepwell, list[Handle[Any]]]]:
    """Runs of which some have got their page, and all others have failed in their first attempt."""
    async with Stepwell(url, workflows=[collect], clock=clock) as app, app.worker():
        served = await app.start_many(collect, [f"{site.url}/{number}" for number in range(SERVED)])
        for handle in served:
            await handle.result()
        down = await app.start_many(collect, [f"{site.url}/{number}" for number in range(SERVED, PAGES)])
        await becomes(lambda: attempts_failed(down), [1] * len(down))
        yield app, served + down


async def becomes(look: Callable[[], Awaitable[object]], wanted: object) -> None:
    """Wait until it looks so."""
    async with asyncio.timeout(10):
        while await look() != wanted:
            await asyncio.sleep(0)


async def workers_of(handles: list[Handle[Any]]) -> list[str | None]:
    return [(await handle.get()).worker for handle in handles]


@scenario
async def test_a_pause_outlasts_the_outage_and_uses_up_no_attempt(url: str) -> None:
    clock = MovedClock()
    with Site(healthy_for=SERVED) as site:
        async with met_by_the_outage(url, site, clock) as (app, handles):
            assert await app.runs.pause_all(workflow="collect") == PAGES - SERVED
            await becomes(lambda: workers_of(handles), [None] * PAGES)

            clock.move_to(clock.now() + 86_400)
            assert await app.runs.count() == {RunStatus.COMPLETED: SERVED, RunStatus.PAUSED: PAGES - SERVED}
            assert await attempts_failed(handles) == [0] * SERVED + [1] * (PAGES - SERVED)

            site.repair()
            assert await app.runs.resume_all(workflow="collect") == PAGES - SERVED
            assert [await handle.result() for handle in handles] == [f"Page {number}" for number in range(PAGES)]
            assert await attempts_failed(handles) == [0] * SERVED + [1] * (PAGES - SERVED)

    assert len(site.asked) == PAGES + PAGES - SERVED


@scenario
async def test_without_the_pause_the_outage_uses_up_all_attempts(url: str) -> None:
    clock = MovedClock()
    with Site(healthy_for=SERVED) as site:
        async with met_by_the_outage(url, site, clock) as (_, handles):
            for handle in handles[SERVED:]:
                while await handle.status() is not RunStatus.FAILED:
                    clock.move_to(clock.now() + 1)
                    await asyncio.sleep(0)

            assert await attempts_failed(handles) == [0] * SERVED + [ATTEMPTS] * (PAGES - SERVED)


@scenario
async def test_its_program_collects_every_page(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    await main(url, outage_seconds=0)

    out = capsys.readouterr().out
    assert "the site is down: paused" in out
    assert "collected Page 1 to Page 20, all 20 of them" in out
