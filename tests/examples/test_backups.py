"""The backups: two schedules with an input each on one workflow, and none of them beside its own last run."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from examples import backups as example
from examples.backups import Disks, back_up, main
from stepwell.testing import TestApp
from stepwell.testing.clock import MovedClock
from tests.engine.harness import scenario


@pytest.fixture(autouse=True)
def disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disks:
    """With three files to copy."""
    disks = Disks(tmp_path / "data", tmp_path / "backups")
    monkeypatch.setattr(example, "disks", disks)
    for name in ("customers", "orders", "old/prices"):
        write(disks, name, 1)
    return disks


def write(disks: Disks, name: str, version: int) -> None:
    """Write a file, with another time for each version."""
    file = disks.source / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"version {version}")
    os.utime(file, (version, version))


def copied(disks: Disks) -> dict[str, list[str]]:
    """What is in each folder of the backups."""
    folders = sorted(disks.target.glob("*"))
    return {folder.name: sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()) for folder in folders}


def beginning(when: str) -> TestApp:
    """An app with the backups, at a time in UTC."""
    app = TestApp(back_up)
    app.clock = MovedClock(start=datetime.fromisoformat(when).replace(tzinfo=UTC).timestamp())
    return app


@scenario
async def test_each_schedule_gives_its_own_input(disks: Disks) -> None:
    async with beginning("2027-01-15 00:45") as app:
        await app.advance("30m")
        write(disks, "orders", 2)
        await app.advance("1h")
        write(disks, "customers", 2)
        write(disks, "orders", 3)
        await app.advance("1h")

    assert copied(disks) == {
        "2027-01-15 01.00.00 incremental": ["customers", "old/prices", "orders"],  # there was nothing yet
        "2027-01-15 01.30.00 full": ["customers", "old/prices", "orders"],  # 02:30 in Paris
        "2027-01-15 03.00.00 incremental": ["customers", "orders"],
    }
    assert (disks.target / "2027-01-15 03.00.00 incremental" / "orders").read_text() == "version 3"


@scenario
async def test_the_full_backup_of_the_night_on_which_its_hour_is_skipped_comes_right_after_the_gap(disks: Disks) -> None:
    async with beginning("2027-03-27 12:00") as app:
        await app.advance("2 days")

    assert [folder for folder in copied(disks) if folder.endswith("full")] == ["2027-03-28 01.00.00 full", "2027-03-29 00.30.00 full"]


@scenario
async def test_while_the_disk_is_away_one_backup_of_each_kind_waits_for_it_and_the_others_are_skipped(disks: Disks) -> None:
    async with beginning("2027-01-15 00:45") as app:
        app.fail_step("find", times=42, error=OSError("the disk is away"))
        await app.advance("1 day")
        runs = list(await app.runs.list(workflow="back_up", order="oldest"))
        hourly = await app.schedules.slots(back_up, "hourly")

    assert {run.status for run in runs} == {"completed"}
    skipped = [slot for slot in hourly if slot.outcome == "skipped"]
    assert [slot.at.hour for slot in skipped] == [3, 2]
    assert skipped[0].reason == f"run {runs[0].id} was still going"
    assert len(runs) == 24 - 2 + 1


@scenario
async def test_its_program_copies_all_and_then_what_has_changed(
    url: str, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    await main(tmp_path_factory.mktemp("made-up"), url)

    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["nightly: copied 3 files", "hourly: copied 1 files"]
    assert [line.partition(" comes next")[0] for line in lines[2:]] == ["back_up hourly", "back_up nightly"]
