"""Lists of records with large values are read a portion at a time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stepwell import Step, workflow
from stepwell.core.records import Page, StepRecord
from stepwell.web.portions import FIRST, MOST, PORTION, gathered, portions
from tests.engine.harness import scenario
from tests.web.guests import client_of
from tests.web.seeing import app_in

_NOW = datetime(2026, 1, 31, tzinfo=UTC)
_STEP = StepRecord(
    key="k", name="k", kind="function", status="completed", attempt=1, output=None, error=None, started_at=_NOW, finished_at=_NOW
)

MIB = 1024 * 1024


class Attempts:
    """A list of attempts with outputs of these sizes, which remembers how many of them were read at once."""

    def __init__(self, sizes: list[int]) -> None:
        self._items = [replace(_STEP, attempt=place, output="x" * size) for place, size in enumerate(sizes, 1)]
        self.read: list[int] = []

    async def __call__(self, limit: int, cursor: str | None) -> Page[StepRecord]:
        begin = int(cursor or 0)
        found = self._items[begin : begin + limit]
        self.read.append(len(found))
        end = begin + len(found)
        return Page(items=tuple(found), next_cursor=str(end) if end < len(self._items) else None)


def _numbers(page: Page[StepRecord]) -> list[int]:
    return [step.attempt for step in page]


@scenario
async def test_small_records_take_few_portions_and_none_is_left_out() -> None:
    attempts = Attempts([10] * 1_000)

    page = await gathered(attempts, 1_000, MIB)

    assert _numbers(page) == list(range(1, 1_001))
    assert page.next_cursor is None
    assert attempts.read[:3] == [FIRST, 4 * FIRST, MOST]
    assert len(attempts.read) <= 12


@scenario
async def test_a_page_of_large_records_ends_early_and_says_where_the_next_one_begins() -> None:
    attempts = Attempts([MIB] * 40)

    page = await gathered(attempts, 1_000, 16 * MIB)
    rest = await gathered(attempts, 1_000, 1_000 * MIB, page.next_cursor)

    assert len(page.items) <= 16 + PORTION // MIB
    assert _numbers(page) + _numbers(rest) == list(range(1, 41))


@scenario
async def test_what_is_asked_for_is_never_exceeded() -> None:
    attempts = Attempts([10] * 100)

    page = await gathered(attempts, 13, MIB)

    assert attempts.read == [10, 3]
    assert _numbers(await gathered(attempts, 1_000, MIB, page.next_cursor)) == list(range(14, 101))


@scenario
async def test_portions_become_small_where_records_become_large() -> None:
    attempts = Attempts([10] * 60 + [MIB] * 150)

    found = [page async for page in portions(attempts)]

    assert [step.attempt for page in found for step in page] == list(range(1, 211))
    assert max(attempts.read[4:]) <= PORTION // MIB + 1


@scenario
async def test_however_little_room_there_is_a_page_has_something() -> None:
    page = await gathered(Attempts([10] * 20), 5, 1)

    assert _numbers(page) == [1, 2, 3, 4, 5]


@workflow(name="large")
async def large(input: str, step: Step) -> None:
    for name in range(12):
        await step.run(f"s{name}", lambda: "x" * 2 * MIB)


@scenario
async def test_a_page_of_the_api_ends_where_outputs_are_large_and_its_cursor_leads_to_the_others(tmp_path: Path) -> None:
    async with app_in(tmp_path, large) as app, client_of(app) as client:
        async with app.worker(grace="0s"):
            run = await app.start(large, "x" * 2 * MIB)
            await run.result()
        keys: list[str] = []
        asked: dict[str, Any] = {"limit": 1_000}
        while True:
            page = (await client.get(f"/api/runs/{run.run_id}/steps", params=asked)).json()
            assert len(page["steps"]) < 12
            keys += [step["key"] for step in page["steps"]]
            if page["next_cursor"] is None:
                break
            asked["cursor"] = page["next_cursor"]
        shown = await client.get(f"/runs/{run.run_id}?tab=json")
        file = (await client.get(f"/runs/{run.run_id}.json")).json()

    assert keys == [f"s{name}" for name in range(12)]
    assert "This is the beginning of it." in shown.text
    assert [step["key"] for step in file["steps"]] == keys
