"""Requests that no page of ours makes are refused, and change and break nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from httpx import AsyncClient

from stepwell import Step, workflow
from stepwell.testing import TestApp
from tests.engine.harness import scenario
from tests.web.seeing import Counting, app_in, links_of, seen


@workflow(name="waiting")
async def waiting(step: Step) -> None:
    await step.wait_for_signal("go")


async def _sent(client: AsyncClient, run_id: str, payload: str) -> int:
    answer = await client.post(f"/runs/{run_id}/signal", data={"name": "go", "payload": payload})
    return answer.status_code


@pytest.mark.parametrize("payload", ["[" * 100_000, "[" * 300 + "]" * 300, "NaN", '"\\ud800"', "9" * 5_000, "{"])
@scenario
async def test_a_payload_that_is_no_json_that_can_be_kept_is_refused(payload: str, tmp_path: Path) -> None:
    async with app_in(tmp_path, waiting) as app, seen(app) as client:
        run = await app.start(waiting)

        assert await _sent(client, run.run_id, payload) in (400, 413, 422)
        assert await _sent(client, run.run_id, '{"n": 9007199254740993}') == 303


@pytest.mark.parametrize("origin", ["http://[", "null", "http://", "http://testserver.example.com"])
@scenario
async def test_an_origin_that_is_not_ours_is_refused_however_it_is_written(origin: str, tmp_path: Path) -> None:
    async with app_in(tmp_path, waiting) as app, seen(app, token=None) as client:
        answer = await client.post("/-/settings", data={"theme": "dark"}, headers={"origin": origin})

    assert answer.status_code == 403


@scenario
async def test_more_runs_than_a_page_has_cannot_be_ticked(tmp_path: Path) -> None:
    async with app_in(tmp_path, waiting) as app, seen(app) as client:
        run = await app.start(waiting)
        answer = await client.post("/tasks", data={"action": "cancel", "run": [run.run_id, *(f"x{number}" for number in range(1_000))]})

        assert answer.status_code == 400
        assert (await run.get()).status == "pending"


@scenario
async def test_a_page_reads_no_more_of_a_long_log_than_it_shows() -> None:
    async with TestApp(waiting, self_moving=False) as app:
        run = await app.start(waiting)
        app.store = counting = _Limits(app.store)
        async with seen(app) as client:
            assert (await client.get(f"/runs/{run.run_id}?tab=logs&line=500")).status_code == 200

    assert counting.limits == [501]


class _Limits(Counting):
    """A store that also says how many lines it was asked for."""

    def __init__(self, store: Any) -> None:
        super().__init__(store)
        self.limits: list[int] = []

    async def logs(self, run_id: str, after: int = 0, limit: int = 0, **more: Any) -> Any:
        self.limits.append(limit)
        return await self._store.logs(run_id, after, limit, **more)


@scenario
async def test_what_a_deed_has_said_is_not_taken_by_a_page_that_is_fetched_in_the_background(tmp_path: Path) -> None:
    async with app_in(tmp_path, waiting) as app, seen(app) as client:
        run = await app.start(waiting)
        await client.post(f"/runs/{run.run_id}/pause")
        fetched = await client.get("/tasks", headers={"sec-fetch-dest": "empty"})
        opened = await client.get(f"/runs/{run.run_id}", headers={"sec-fetch-dest": "document"})
        later = await client.get(f"/runs/{run.run_id}", headers={"sec-fetch-dest": "document"})

    assert "a step in progress goes on" not in fetched.text
    assert "a step in progress goes on" in opened.text
    assert "a step in progress goes on" not in later.text


@scenario
async def test_links_to_other_runs_lead_there_also_below_a_prefix_that_is_called_as_a_page(tmp_path: Path) -> None:
    @workflow(name="parent")
    async def parent(step: Step) -> None:
        await step.start(waiting)

    async with app_in(tmp_path, waiting, parent) as app:
        run = await app.start(parent)
        await app.worker().run_until_idle()
        async with seen(app, prefix="/tasks") as client:
            page = await client.get(f"/tasks/runs/{run.run_id}")
            children = [link for link in links_of(page) if "/runs/" in link and run.run_id not in link]

            assert children
            for link in children:
                assert (await client.get(link)).status_code == 200


@scenario
async def test_a_request_without_a_length_is_read_no_further_than_a_form_may_be_long(tmp_path: Path) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1_000_000

    async with app_in(tmp_path, waiting) as app, seen(app) as client:
        answer = await client.post("/-/settings", content=endless())

    assert answer.status_code == 413


@workflow(name="patient")
async def patient(step: Step) -> None:
    await step.sleep("nearly for ever", "3000000d")


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
@scenario
async def test_a_run_that_sleeps_beyond_the_last_year_is_shown_on_all_clocks(zone: str, tmp_path: Path) -> None:
    async with app_in(tmp_path, patient) as app, seen(app) as client:
        run = await app.start(patient)
        async with app.worker(grace="0s"):
            async with asyncio.timeout(50):
                while (await run.get()).status != "sleeping":
                    await asyncio.sleep(0.01)

        for path in ("/tasks", f"/runs/{run.run_id}", "/workflows/patient"):
            assert (await client.get(path, headers={"cookie": f"stepwell_tz={zone}"})).status_code == 200


@scenario
async def test_a_run_with_very_many_tags_has_a_page_that_shows_some_of_them(tmp_path: Path) -> None:
    async with app_in(tmp_path, waiting) as app, seen(app) as client:
        run = await app.start(waiting, tags=[f"t{number}" for number in range(10_000)])
        page = await client.get(f"/runs/{run.run_id}")

    assert "and 9,950 more tags" in page.text
    assert ">t49<" in page.text
    assert ">t50<" not in page.text
