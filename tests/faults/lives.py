"""The lives of runs whose workers are killed at one commit after the other: `python -m tests.faults.lives FOLDER WORKFLOW INPUT SIDE`.

Each life is a fork of this process that ends itself by SIGKILL just before, or just after, its n-th commit. What is left then, and what
has become of the run after a life without a kill, is told as one line of JSON for each n, until there is no n-th commit any more.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from stepwell import Stepwell
from stepwell.store.sqlite.transaction import Transaction
from tests.faults.databases import Database, database_of, own_of
from tests.faults.flows import FLOWS, app_in, effects, use
from tests.faults.processes import forked, say
from tests.postgres.wire import Side, Wire

KEY = "the one"
MOST_LIVES = 100


def kill_at(number: int, side: str) -> None:
    """End this process at its n-th commit."""
    commits = 0
    finish = Transaction.finish

    def counted(self: Transaction) -> None:
        nonlocal commits
        commits += 1
        if commits == number and side == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        finish(self)
        if commits == number:
            os.kill(os.getpid(), signal.SIGKILL)

    Transaction.finish = counted  # type: ignore[method-assign]  # the crash points of this process


@contextmanager
def killed_at(database: Database, number: int, side: Side) -> Iterator[tuple[str, Callable[[], None]]]:
    """The URL by which to open the database, and what to call when it is open: the n-th commit after that ends this process."""
    if not number:
        yield database.url, lambda: None
    elif database.is_postgres:
        with Wire(f"{database.url}?hints=off") as wire:
            yield wire.url, partial(wire.arm, number, side, lambda _: os.kill(os.getpid(), signal.SIGKILL))
    else:
        yield database.url, partial(kill_at, number, side)


async def start(folder: Path, workflow: str, given: Any) -> None:
    async with app_in(folder) as app:
        await app.start(workflow, given, key=KEY)


async def live(folder: Path, workflow: str, number: int, side: Side) -> None:
    """One life of a worker, until the run has ended. With the number 0 nothing happens to it."""
    database = use(folder)
    with killed_at(database, number, side) as (url, arm):
        async with Stepwell(url, namespace=database.namespace, workflows=FLOWS) as app:
            arm()
            async with app.worker():
                (run,) = await app.runs.list(workflow=workflow)
                result = await app.handle(run.id).result()
            (folder / "result").write_text(json.dumps(result))


def recorded(folder: Path) -> dict[str, list[Any]]:
    """The outcomes that are durable, by their keys."""
    database = database_of(folder)
    rows = database.execute(f"SELECT key, seq, ok, value, attempt FROM {database.table('outcomes')} ORDER BY seq")
    return {key: rest for key, *rest in rows}


def booked(folder: Path) -> list[str]:
    """The keys of the transactions that are durable, as often as they were made."""
    database = database_of(folder)
    if database.is_postgres or not database.execute("SELECT 1 FROM sqlite_schema WHERE name = 'ledger'"):
        return []
    return [key for (key,) in database.execute("SELECT key FROM ledger ORDER BY key")]


def trace(folder: Path) -> dict[str, Any]:
    """What is durable, and how often each step has had its effect."""
    made = Counter(each.partition(":")[2] for each in effects(folder))
    return {"recorded": recorded(folder), "times": made, "booked": booked(folder)}


def lives(folder: Path, workflow: str, given: Any, number: int, side: str) -> dict[str, Any]:
    """A run whose first worker is killed at this commit; with the side `each`, all of them are, until one has no such commit."""
    asyncio_run(start, folder, workflow, given)
    where = "after" if side == "each" else side
    code = forked(asyncio_run, live, folder, workflow, number, where)
    report: dict[str, Any] = {"number": number, "killed": code == -signal.SIGKILL, "left": trace(folder), "lives": 1}
    while code == -signal.SIGKILL and report["lives"] < MOST_LIVES:
        database_of(folder).bury()
        code = forked(asyncio_run, live, folder, workflow, number if side == "each" else 0, where)
        report["lives"] += 1
    return report | {"code": code, "end": trace(folder), "result": json.loads((folder / "result").read_text())}


def asyncio_run(function: Any, *arguments: Any) -> None:
    asyncio.run(function(*arguments))


def main(folder: str, workflow: str, given: str, side: str, first: str = "1") -> None:
    number = int(first)
    while True:
        report = lives(own_of(Path(folder), f"{side}-{number}"), workflow, json.loads(given), number, side)
        say(json.dumps(report))
        if not report["killed"]:
            return
        number += 1


if __name__ == "__main__":
    main(*sys.argv[1:])
