"""Workflows with schedules in several releases, and a worker of one of them: `python -m tests.faults.scheduled FOLDER RELEASE`.

Options of the worker may follow, `lease=5s`. A number on its input sets the clock of its machine, as far as this process sees it: so many
seconds ahead of the real one. With the option `ahead`, it is wrong from the start.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from stepwell import Schedule, Step, Stepwell, Workflow, workflow
from stepwell.core.options import CatchUp
from tests.faults.databases import Database
from tests.faults.flows import is_first, use
from tests.faults.processes import say

EVERY_SECOND: Final = "* * * * * *"


# -- workflows


def of_slot(slot: datetime) -> float:
    return slot.timestamp()


async def of_slot_later(slot: datetime) -> float:
    await asyncio.sleep(0.001)
    return slot.timestamp()


def holds_once(slot: datetime) -> float:
    """The first time, say so and never return."""
    if is_first("input"):
        say("computes", slot.timestamp())
        threading.Event().wait()
    return slot.timestamp()


def job(*schedules: Schedule, name: str = "job") -> Workflow[Any, Any]:
    """A workflow of this name, with these schedules. What it returns is its input; with the input `stays`, it never ends."""

    async def stay() -> None:
        say("stays")
        await asyncio.Event().wait()

    @workflow(name=name, schedules=schedules)
    async def body(input: Any, step: Step) -> Any:
        if input == "stays":
            await step.run("stay", stay)
        return input

    return body


def each_second(input: Any, *, catch_up: CatchUp = "latest") -> Workflow[Any, Any]:
    return job(Schedule("it", EVERY_SECOND, input=input, catch_up=catch_up))


RELEASES: Final[dict[str, Callable[[], Workflow[Any, Any]]]] = {
    "three": lambda: job(
        Schedule("value", EVERY_SECOND, input="value"),
        Schedule("def", EVERY_SECOND, input=of_slot),
        Schedule("async", EVERY_SECOND, input=of_slot_later),
    ),
    "old": lambda: each_second("old"),
    "all": lambda: each_second("old", catch_up="all"),
    "new": lambda: job(Schedule("it", "*/2 * * * * *", input="new")),
    "stays": lambda: each_second("stays"),
    "without": job,
    "other": lambda: job(Schedule("other", EVERY_SECOND, input="other"), name="other"),
    "holds": lambda: each_second(holds_once),
}


def release_in(folder: Path, *released: Workflow[Any, Any] | str, **options: Any) -> Stepwell:
    """An app of a release on the database of this folder."""
    url, namespace = use(folder)
    workflows = [RELEASES[each]() if isinstance(each, str) else each for each in released]
    return Stepwell(url, namespace=namespace, workflows=workflows, **options)


# -- what has come of them


class Made(NamedTuple):
    """A run of a slot, as the database has it."""

    slot: float
    created_at: float
    input: str
    id: str
    status: str


def made(database: Database, name: str = "it") -> list[Made]:
    """The runs of a schedule, by their slots: counted without the app."""
    columns = "scheduled_at, created_at, preview, id, status"
    where = f"schedule = '{name}'"
    return [Made(*row) for row in database.execute(f"SELECT {columns} FROM {database.table('runs')} WHERE {where} ORDER BY scheduled_at")]


def slots_made(database: Database, name: str = "it") -> list[float]:
    return [run.slot for run in made(database, name)]


def without_gap(slots: list[float]) -> bool:
    """Whether they are one for each second, in order."""
    return slots == [slots[0] + seconds for seconds in range(len(slots))]


# -- the process


class Shifted:
    """Time of day on a machine whose clock is wrong."""

    def __init__(self, ahead: float) -> None:
        self.ahead = ahead
        self._real = time.time

    def time(self) -> float:
        return self._real() + self.ahead

    def obey(self) -> None:
        """Set it as the input says, until that ends."""
        for line in sys.stdin:
            self.ahead = float(line)
            say("is set")


async def work(folder: Path, release: str, **options: Any) -> None:
    """Until it is told to stop."""
    async with release_in(folder, release) as app:
        await app.worker(**options).run()


def main(folder: str, release: str, *options: str) -> None:
    """Work on a machine with such a clock."""
    given = dict(option.split("=") for option in options)
    clock = Shifted(float(given.pop("ahead", "0")))
    vars(time).update(time=clock.time)
    threading.Thread(target=clock.obey, daemon=True).start()
    asyncio.run(work(Path(folder), release, **given))


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s", stream=sys.stdout)
    main(*sys.argv[1:])
