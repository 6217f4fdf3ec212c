"""Schedules on workers that are killed, frozen and replaced: each slot makes one run, or a record that says why not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import pytest

from stepwell import RunStatus
from tests.faults.databases import Database, database_of
from tests.faults.processes import Program, until
from tests.faults.scheduled import made, release_in, slots_made, without_gap
from tests.loops import on_a_loop

IS_LONG: Final = bool(os.environ.get("STEPWELL_TEST_LONG"))
"""Slots come for as long as people look: `make troubles`."""


async def made_in(folder: Path) -> Database:
    """The database of the folder, with its tables."""
    async with release_in(folder, "without"):
        return database_of(folder)


async def fires_more(database: Database, number: int, name: str = "it") -> None:
    """Wait for so many more slots than there are runs of now."""
    enough = len(slots_made(database, name)) + number
    await until(lambda: len(slots_made(database, name)) >= enough, every=0.05)


# -- many workers


@pytest.mark.timeout(180)
@on_a_loop
async def test_ten_workers_that_are_killed_and_replaced_make_one_run_of_each_second(folder: Path) -> None:
    database, names = await made_in(folder), ("value", "def", "async")
    with Program("fleet", folder, "three", 10) as fleet:
        for name in names:
            await fires_more(database, 1, name)
        for _ in range(60 if IS_LONG else 8):
            fleet.tell("replace")
            await fires_more(database, 1, "def")
        fleet.tell("end")
        await fleet.says_meanwhile("have all stopped")

    for name in names:
        runs = made(database, name)
        assert without_gap([run.slot for run in runs])
        assert len(runs) >= (59 if IS_LONG else 7)
        assert [run for run in runs if not 0.0 <= run.created_at - run.slot < 3.0] == []
        assert {run.input for run in runs} == ({'"value"'} if name == "value" else {str(run.slot) for run in runs})
        assert records(database, name) == [(run.slot, run.slot, 1, "started", None, run.id) for run in runs]
    database.bury()
    async with release_in(folder, "without") as app:
        await app.worker().run_until_idle()
        assert set(await app.runs.count()) == {RunStatus.COMPLETED}


def records(database: Database, name: str = "it") -> list[tuple[Any, ...]]:
    """What became of its slots, in order."""
    columns = "slot, until, count, outcome, reason, run"
    return database.execute(f"SELECT {columns} FROM {database.table('slots')} WHERE name = '{name}' ORDER BY slot, id")
