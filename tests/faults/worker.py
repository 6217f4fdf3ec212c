"""A worker in a process of its own: `python -m tests.faults.worker FOLDER [OPTION=VALUE …]`. It works until it is told to stop.

With `leaves=in time` it takes no longer for that than workers do; otherwise as long as it needs.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

from stepwell.engine import stopping
from tests.faults.flows import app_in
from tests.faults.processes import say


async def main(folder: str, *options: str) -> None:
    """Work, and say when it has left."""
    given = dict(option.split("=") for option in options)
    if given.pop("leaves", "") != "in time":
        # On a busy machine it may need longer to hand back what it has than it takes for that elsewhere.
        vars(stopping).update(TO_LET_GO=60.0, TO_LEAVE=60.0)
    concurrency = int(given.pop("concurrency", "100"))
    database = Path(given.pop("database")) if "database" in given else None
    async with app_in(Path(folder), database) as app:
        say("is open")
        await app.worker(concurrency=concurrency, lease=given.pop("lease", "30s"), grace=given.pop("grace", "30s"), **given).run()
    say("has left")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stdout)
    asyncio.run(main(*sys.argv[1:]))
