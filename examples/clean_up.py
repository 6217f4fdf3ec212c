"""Cleans up at night what is older than ninety days: in small batches, between which others have their turn at the table.

python examples/clean_up.py                                             # once, in a table that it makes up
VISITS=/srv/shop/visits.db stepwell worker examples/clean_up.py         # or: every night, in yours

Runs of Stepwell itself need no such workflow: `Stepwell(retention="90d")` deletes those that have ended, and
`app.runs.delete_all(workflow="clean_up", finished_before=…)` some of them by hand.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from stepwell import Schedule, Step, Stepwell, workflow

BATCH = 500
BATCHES = 2_000
"""Of one night. What is left is the next one's."""


def ninety_days_before(slot: datetime) -> datetime:
    """What a night deletes is settled by its slot: a run that takes long, or goes on after a crash, means the same visits until its end."""
    return slot - timedelta(days=90)


# Nobody minds when exactly it begins: with a jitter, the clean-ups of many programs do not all come in the same second.
@workflow(schedules=[Schedule("nightly", "15 3 * * *", input=ninety_days_before, overlap="skip", jitter="30m")])
async def clean_up(before: datetime, step: Step) -> int:
    """Delete old visits; how many."""
    deleted = 0
    for _ in range(BATCHES):
        batch = await step.run("delete", delete, before)
        deleted += batch
        if batch < BATCH:
            break
        await step.progress(deleted, message="visits deleted")
        await step.sleep("rest", "100ms")
    return deleted


def delete(before: datetime) -> int:
    """Delete a batch of visits. Done once more after a crash, it deletes the next ones: no harm, but they are not counted."""
    with closing(sqlite3.connect(visits.file)) as connection, connection:
        return connection.execute(
            "DELETE FROM visits WHERE rowid IN (SELECT rowid FROM visits WHERE at < ? ORDER BY at LIMIT ?)", (before.timestamp(), BATCH)
        ).rowcount


class Visits:
    """Where the table is."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def make(self, times: list[float]) -> None:
        """Make it up, of visits at these times."""
        with closing(sqlite3.connect(self.file)) as connection, connection:
            connection.execute("CREATE TABLE visits (at REAL NOT NULL)")
            connection.execute("CREATE INDEX visits_at ON visits (at)")
            connection.executemany("INSERT INTO visits VALUES (?)", [(each,) for each in times])

    def count(self) -> int:
        """How many there are."""
        with closing(sqlite3.connect(self.file)) as connection:
            (count,) = connection.execute("SELECT count(*) FROM visits").fetchone()
            return int(count)


visits = Visits(Path(os.environ.get("VISITS", "visits.db")))


async def main(folder: Path, database_url: str | None = None) -> None:
    """Make up a table with a visit each hour of two hundred days, and clean it up now, rather than tonight."""
    async with Stepwell(database_url, workflows=[clean_up]) as app, app.worker():
        (next_at,) = await app.schedules.preview(clean_up, "nightly", 1)
        visits.file = folder / "visits.db"
        visits.make([next_at.timestamp() - 3600 * hours for hours in range(200 * 24)])

        handle = await app.schedules.trigger(clean_up, "nightly")
        print(f"deleted {await handle.result()} visits in {len(await handle.steps()) // 2 + 1} batches; {visits.count()} are left")
        print(f"the next clean-up begins within half an hour of {next_at:%Y-%m-%d %H:%M} UTC")


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder)))
