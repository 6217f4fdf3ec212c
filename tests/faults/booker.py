"""A worker on PostgreSQL that ends itself by SIGKILL before or after its n-th commit of a step that writes: `URL NAMESPACE NUMBER SIDE`.

With the number 0 nothing happens to it, and it works until the run has ended.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

import psycopg

from stepwell import Step, Stepwell, current_step, workflow
from stepwell.store.postgres.lines import PsycopgLine


def book(connection: psycopg.Connection[Any], name: str) -> str:
    connection.execute("INSERT INTO ledger VALUES (%s)", (current_step().key,))
    return name.upper()


async def abook(connection: psycopg.AsyncConnection[Any], name: str) -> str:
    await connection.execute("INSERT INTO ledger VALUES (%s)", (current_step().key,))
    return name.upper()


@workflow
async def books(step: Step) -> list[str]:
    """Writes to its own database, in branches and after each other."""
    first = await step.transaction("first", book, "first")
    branches = await asyncio.gather(step.transaction("a", book, "a"), step.transaction("b", abook, "b"))
    return [first, *branches, await step.transaction("last", abook, "last")]


def kill_at(number: int, side: str) -> None:
    commits = 0
    commit = PsycopgLine.commit

    async def counted(self: PsycopgLine) -> None:
        nonlocal commits
        commits += 1
        mine = commits
        if mine == number and side == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        await commit(self)
        if mine == number:
            os.kill(os.getpid(), signal.SIGKILL)

    PsycopgLine.commit = counted  # type: ignore[method-assign]  # the crash points of this process


async def main(url: str, namespace: str, number: str, side: str) -> None:
    kill_at(int(number), side)
    async with Stepwell(url, namespace=namespace, workflows=[books]) as app:
        handle = await app.start(books, key="the one")
        async with app.worker(lease="1s"):
            await handle.result()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
