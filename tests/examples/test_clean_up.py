"""The clean-up: at night, in batches, up to a time that its slot settles."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from examples import clean_up as example
from examples.clean_up import Visits, clean_up, main
from stepwell.testing import TestApp
from stepwell.testing.clock import EPOCH
from tests.engine.harness import crash, scenario, successor

DAY = 86_400


@pytest.fixture(autouse=True)
def visits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Visits:
    """Twelve a day, of the two hundred days before the moved clock begins."""
    visits = Visits(tmp_path / "visits.db")
    visits.make([EPOCH - number * DAY / 12 for number in range(1, 200 * 12 + 1)])
    monkeypatch.setattr(example, "visits", visits)
    return visits


@scenario
async def test_every_night_deletes_what_has_become_too_old_in_batches(visits: Visits) -> None:
    async with TestApp(clean_up) as app:
        await app.advance("1 day")
        (first,) = await app.runs.list(workflow="clean_up")
        steps = await app.runs.steps(first.id)
        await app.advance("3 days")
        deleted = [run.output for run in await app.runs.list(workflow="clean_up", order="oldest")]

    assert [step.output for step in steps if step.key.startswith("delete")] == [500, 500, 330]
    assert deleted == [1330, 12, 12, 12]
    assert visits.count() == 200 * 12 - sum(deleted)


@scenario
async def test_it_begins_up_to_half_an_hour_after_its_slot_and_deletes_up_to_ninety_days_before_the_slot(visits: Visits) -> None:
    async with TestApp(clean_up) as app:
        await app.advance("10 days")
        runs = await app.runs.list(workflow="clean_up")

    late = [run.started_at - run.scheduled_at for run in runs if run.started_at is not None and run.scheduled_at is not None]
    assert len(set(late)) == len(runs) == 10
    assert all(timedelta(0) <= each < timedelta(minutes=30) for each in late)
    assert {f"{run.scheduled_at:%H:%M}" for run in runs} == {"03:15"}
    assert all(
        run.scheduled_at is not None and run.input.startswith(f"{run.scheduled_at - timedelta(days=90):%Y-%m-%dT03:15}") for run in runs
    )


@scenario
async def test_after_a_crash_it_goes_on_up_to_the_same_time(visits: Visits) -> None:
    async with TestApp(clean_up, self_moving=False) as app:
        begins = (await app.schedules.preview(clean_up, "nightly", 1))[0]
        handle = await app.start(clean_up, begins - timedelta(days=90))
        await app.advance("150ms")
        await crash(app)
        assert visits.count() == 200 * 12 - 2 * 500

    async with successor(app, clean_up) as later:
        assert await later.handle(handle.run_id).result() == 1330

    assert visits.count() == 200 * 12 - 1330


@scenario
async def test_its_program_cleans_up_a_table_that_it_makes_up(
    url: str, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    await main(tmp_path_factory.mktemp("made-up"), url)

    first, second = capsys.readouterr().out.splitlines()
    assert "visits in 6 batches" in first
    assert second.endswith("03:15 UTC")
