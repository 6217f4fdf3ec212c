"""Has a database open when it is cut off, and says what it reads then: `python -m tests.faults.cut_off FILE`."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from contextlib import closing

from stepwell import Stepwell, StepwellError
from tests.faults.processes import say


async def main(file: str) -> None:
    """Read all there is, twice."""
    async with Stepwell(f"sqlite:///{file}") as app:
        await app.start_many("nobody_has_it", ["x" * 10_000] * 500)
        say("has read", len([await app.runs.get(run.id) async for run in app.runs.iterate()]))
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        os.truncate(file, 100_000)
        try:
            say("has read", len([await app.runs.get(run.id) async for run in app.runs.iterate()]))
        except StepwellError as error:
            say(type(error).__name__, getattr(error, "permanent", ""), error)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
