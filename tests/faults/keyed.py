"""Starts runs with one key, at the same time: `python -m tests.faults.keyed FOLDER KEY COUNT`. It waits for a line on its input first."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.faults.flows import app_in, short
from tests.faults.processes import say


async def main(folder: str, key: str, count: str) -> None:
    """Start them, and say how many were made, and which run it is."""
    async with app_in(Path(folder)) as app:
        say("is there")
        sys.stdin.readline()
        handles = await asyncio.gather(*[app.start(short, 1, key=key) for _ in range(int(count))])
        (run_id,) = {handle.run_id for handle in handles}
        say("made", sum(handle.created for handle in handles), run_id)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
