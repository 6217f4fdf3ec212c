"""Processes that are killed while they make the tables, or start a run: `python -m tests.faults.beginnings FOLDER`.

Each is a fork of this process, and each has a folder of its own. What those find who come afterwards is told line by line.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Final

from stepwell.store.sqlite import store
from stepwell.store.sqlite.connection import connect
from tests.faults.flows import app_in, short
from tests.faults.lives import KEY, asyncio_run, kill_at
from tests.faults.processes import forked, say

STATEMENTS: Final = (0, 1, 2, 10, 20)
"""After how many statements of the schema a process is killed."""

KILL: Final = "SELECT kill()"


def kill_after(statements: int) -> None:
    """End this process when it has made so much of the tables."""
    split = store._statements

    def cut(script: str) -> list[str]:
        found = split(script)
        return [*found[:statements], KILL, *found[statements:]]

    vars(store).update(_statements=cut, connect=connect_that_kills)


def connect_that_kills(path: str, *, create: bool = False) -> sqlite3.Connection:
    """A connection with a function that ends the process."""
    connection = connect(path, create=create)
    connection.create_function("kill", 0, lambda: os.kill(os.getpid(), signal.SIGKILL))
    return connection


async def open_and_die(folder: Path, statements: int) -> None:
    kill_after(statements)
    await app_in(folder).open()


async def start_and_die(folder: Path, side: str) -> None:
    async with app_in(folder) as app:
        kill_at(1, side)
        await app.start(short, 1, key=KEY)


async def come_afterwards(folder: Path, what: object) -> None:
    """Say whether a run with the key was there, and what comes of it."""
    async with app_in(folder) as app, app.worker():
        handle = await app.start(short, 1, key=KEY)
        result, count = await handle.result(), len(await app.runs.list())
        say(what, "made" if handle.created else "found", result, count)


def main(folder: str) -> None:
    for statements in STATEMENTS:
        place = Path(folder) / str(statements)
        place.mkdir()
        assert forked(asyncio_run, open_and_die, place, statements) == -signal.SIGKILL
        forked(asyncio_run, come_afterwards, place, statements)
    for side in ("before", "after"):
        place = Path(folder) / side
        place.mkdir()
        assert forked(asyncio_run, start_and_die, place, side) == -signal.SIGKILL
        forked(asyncio_run, come_afterwards, place, side)


if __name__ == "__main__":
    main(sys.argv[1])
