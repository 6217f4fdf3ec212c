"""Opens a database, and says how that went: `python -m tests.faults.opener FILE [RUNS]`.

With a number, it starts so many runs and executes them. It waits for a line on its input before it opens, so that several can be let off at
once.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from stepwell import StepwellError
from tests.faults.databases import database_of
from tests.faults.flows import app_in, short
from tests.faults.processes import say


async def main(file: str, runs: str = "0") -> None:
    """Open it, and close it."""
    path = Path(file)
    say("is there")
    sys.stdin.readline()
    try:
        file_of_its_own = None if database_of(path.parent).is_postgres else path
        async with app_in(path.parent, file_of_its_own) as app:
            say("is open")
            if int(runs):
                async with app.worker():
                    handles = [await app.start(short, number) for number in range(int(runs))]
                    results = [await handle.result() for handle in handles]
                say("is done", sum(results))
    except StepwellError as error:
        say(type(error).__name__, getattr(error, "permanent", ""), error)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
