"""Workers that are killed around each commit while a slot is fired: `python -m tests.faults.firings FOLDER SIDE`.

Each is a fork of this process that ends itself by SIGKILL just before, or just after, its n-th commit since the slot was due. Another one
comes after it. The runs and records that there are then are told as one line of JSON for each n, until there is no n-th commit any more.
"""

from __future__ import annotations

import json
import signal
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

from stepwell import Schedule, Stepwell, Workflow
from tests.faults.databases import Database, database_of, own_of
from tests.faults.flows import use
from tests.faults.lives import asyncio_run, killed_at
from tests.faults.processes import forked, say, until
from tests.faults.scheduled import job, made
from tests.postgres.wire import Side

MOST: Final = 30
"""Commits, more than there are."""


def comes_later() -> Workflow[Any, Any]:
    """Once an hour, and not soon."""
    return job(Schedule("it", f"{(datetime.now(UTC).minute + 30) % 60} * * * *", input=1))


def make_due(database: Database, slot: int) -> None:
    """Let the schedule stand at this slot, and workers see it."""
    database.execute(f"UPDATE {database.table('schedules')} SET next_at = {slot}, changed = changed + 1")


def has_completed(database: Database) -> bool:
    return [run.status for run in made(database)] == ["completed"]


async def live(folder: Path, release: Workflow[Any, Any], number: int, side: Side, slot: int | None) -> None:
    """One life of a worker, until the run of the slot has ended. The slot is made due in the first one."""
    database = use(folder)
    with killed_at(database, number, side) as (url, arm):
        async with Stepwell(url, namespace=database.namespace, workflows=[release]) as app, app.worker() as worker:
            arm()
            if slot is not None:
                make_due(database, slot)
                assert worker._worker is not None
                worker._worker.look()
            await until(lambda: has_completed(database))


def lives(folder: Path, number: int, side: Side) -> dict[str, Any]:
    """What two workers make of a slot, of which the first is killed at this commit."""
    slot, release, database = int(datetime.now(UTC).timestamp()) - 1, comes_later(), database_of(folder)
    life = partial(forked, asyncio_run, live, folder, release)
    killed = life(number, side, slot) == -signal.SIGKILL
    left = len(made(database))
    if killed:
        database.bury()
        life(0, side, None)
    records = database.execute(f"SELECT slot, outcome FROM {database.table('slots')}")
    return {"killed": killed, "slot": slot, "left": left, "made": [run.slot for run in made(database)], "records": records}


def main(folder: str, side: str) -> None:
    """One slot after the other."""
    # On a server each statement on its own is a commit. What is before the second is after the first.
    for number in range(1, MOST, 2 if database_of(Path(folder)).is_postgres else 1):
        report = lives(own_of(Path(folder), f"{side}-{number}"), number, cast("Side", side))
        say(json.dumps(report))
        if not report["killed"]:
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
