"""Workflows that leave traces beside their database: effects that can be counted, and places where they wait to be killed.

Every process that executes them says with `use` which folder is theirs.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import threading
from collections import Counter
from datetime import timedelta
from pathlib import Path
from time import sleep
from typing import Any

import stepwell
from stepwell import Logger, Retry, Step, Stepwell, SyncStep, Workflow, current_step, workflow
from tests.faults.databases import Database, database_of
from tests.faults.processes import say

SEEN_FROM_HERE = "STEPWELL_DATABASE_SEEN_FROM_HERE"
"""Says where the database of the folder is for a process on another machine: its URL and namespace."""

_folder = Path()


def use(folder: Path) -> Database:
    """The traces are in this folder, and the database too, unless `database` in it says where it is."""
    global _folder  # noqa: PLW0603  # one for each process
    _folder = folder
    return database_of(folder)


def app_in(folder: Path, database: Path | None = None, **options: Any) -> Stepwell:
    """An app with all of these workflows on the database of this folder, or on a file elsewhere."""
    url, namespace = use(folder)
    if seen := os.environ.get(SEEN_FROM_HERE):
        url, namespace = seen.split()
    return Stepwell(url if database is None else f"sqlite:///{database}", namespace=namespace, workflows=FLOWS, **options)


# -- traces


def effect(text: str) -> None:
    """Something in the world that can be seen afterwards, and that no crash takes back."""
    file = os.open(_folder / "effects", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, f"{text}\n".encode())
    finally:
        os.close(file)


def effects(folder: Path) -> list[str]:
    """What was done, in order."""
    file = folder / "effects"
    return file.read_text().splitlines() if file.exists() else []


def times(folder: Path) -> Counter[str]:
    """How often each effect was made."""
    return Counter(effects(folder))


def is_first(name: str) -> bool:
    """Whether nobody has asked this before."""
    try:
        (_folder / f"{name}.mark").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


async def hold(name: str) -> None:
    """Say so, and never go on; but only the first time."""
    if is_first(name):
        say(name, "holds")
        await asyncio.Event().wait()


# -- workflows


async def mark(name: str) -> str:
    """Leaves an effect, with the key that a payment provider would be given."""
    effect(current_step().idempotency_key)
    return name.upper()


@workflow
async def three(hold_in: str, step: Step) -> list[str]:
    """Three steps, one after the other; in one of them, after its effect, it holds."""

    async def part(name: str) -> str:
        await mark(name)
        if name == hold_in:
            await hold(name)
        return name.upper()

    return [await step.run(name, part, name) for name in ("one", "two", "three")]


@workflow
async def short(input: int, step: Step) -> int:
    async def double() -> int:
        effect(f"{current_step().run_id} {os.getpid()}")
        return input * 2

    return await step.run("double", double)


class Flaky(Exception):
    """Comes once."""


@workflow(retry=Retry(3, "10ms", jitter=0))
async def life(input: list[str], step: Step, logger: Logger) -> dict[str, Any]:
    """Everything that a body can wait for, so that it has many commits."""
    logger.info("begins", items=len(input))

    async def flaky() -> str:
        await mark("flaky")
        if current_step().attempt == 1:
            raise Flaky("once")
        return "worked"

    async def branch(name: str) -> str:
        first = await step.run(f"begin {name}", mark, name)
        return first + await step.run(f"end {name}", mark, name)

    first = await step.run("first", mark, "first")
    branches = await asyncio.gather(*[branch(name) for name in input])
    await step.sleep("nap", timedelta(milliseconds=5))
    tasks = [asyncio.create_task(branch(name)) for name in ("x", "y")]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    winner = min(task.result() for task in done)
    number = await step.random()
    logger.info("ends", winner=winner)
    return {
        "first": first, "branches": branches, "winner": await step.run("tell", mark, winner), "flaky": await step.run("flaky", flaky),
        "chance": 0 <= number < 1, "rest": await asyncio.gather(*tasks),
    }  # fmt: skip


@workflow
def plain_body(input: str, step: SyncStep) -> str:
    """A body in a thread."""
    return str(step.run("first", mark, input)) + str(step.run("second", mark, input))


@workflow
async def books(input: list[str], step: Step) -> dict[str, Any]:
    """Writes to its own database, beside other steps."""

    def book(connection: sqlite3.Connection, name: str) -> str:
        connection.execute("CREATE TABLE IF NOT EXISTS ledger (key)")
        connection.execute("INSERT INTO ledger VALUES (?)", (current_step().key,))
        return name.upper()

    def book_at_last(connection: sqlite3.Connection) -> str:
        book(connection, "last")
        if current_step().attempt == 1:
            raise Flaky("once")
        return "last"

    branches = [asyncio.gather(step.run(name, mark, name), step.transaction(f"book {name}", book, name)) for name in input]
    return {
        "first": await step.transaction("book first", book, "first"),
        "branches": await asyncio.gather(*branches),
        "last": await step.transaction("book last", stepwell.step("last", retry=Retry(2, "5ms", jitter=0))(book_at_last)),
    }


@workflow
async def poison(input: None, step: Step) -> None:
    """Takes its process down each time."""

    async def kill() -> None:
        effect("poison")
        os.kill(os.getpid(), signal.SIGKILL)

    await step.run("kill", kill)


@workflow
async def bystander(input: int, step: Step) -> int:
    """Is executed beside the poison, and goes down with it twice."""

    async def work() -> int:
        while times(_folder)["poison"] < 2:
            await asyncio.sleep(0.005)
        return input

    return await step.run("work", work)


@workflow
async def blocks(seconds: float, step: Step) -> str:
    async def block() -> str:
        say("blocks")
        sleep(seconds)  # noqa: ASYNC251  # it is what is tested
        return "done"

    return await step.run("block", block)


@workflow
async def never_ends(input: str, step: Step) -> str:
    """A step that never ends: on the loop, in a thread, or without taking notice of its cancellation."""

    async def wait() -> None:
        say("never ends")
        await asyncio.Event().wait()

    def wait_in_thread() -> None:
        say("never ends")
        threading.Event().wait()

    async def ignore() -> None:
        say("never ends")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            say("takes no notice")
        await asyncio.Event().wait()

    if is_first("never_ends"):
        await step.run("work", {"loop": wait, "thread": wait_in_thread, "deaf": ignore}[input])
    return "over"


@workflow
async def in_two(input: None, step: Step) -> str:
    """Its first step waits until a file is there, and the second is marked."""

    async def wait_for_file() -> None:
        say("waits")
        while not (_folder / "go").exists():
            await asyncio.sleep(0.005)

    await step.run("first", wait_for_file)
    return await step.run("second", mark, "second")


@workflow
async def large(input: int, step: Step) -> int:
    """Results of so many bytes, one after the other."""
    for number in range(20):
        await step.run("page", lambda: "x" * input)
        await step.run("mark", mark, str(number))
    return 20


@workflow
async def notices(input: None, step: Step) -> None:
    """Its step says when it is canceled."""

    async def wait() -> None:
        say("waits")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            say("was canceled")
            raise

    await step.run("wait", wait)
    await step.run("after", mark, "after")


@workflow
async def waits_long(input: None, step: Step) -> None:
    """Never ends."""

    async def wait() -> None:
        effect("waits")
        await asyncio.Event().wait()

    await step.run("wait", wait)


@workflow
async def naps(input: None, step: Step) -> str:
    await step.sleep("nap", "30 days")
    return "awake"


FLOWS: list[Workflow[Any, Any]] = [
    three,
    short,
    life,
    plain_body,
    poison,
    bystander,
    books,
    blocks,
    never_ends,
    in_two,
    large,
    notices,
    naps,
    waits_long,
]
