"""What the tests of schedules say and see: declarations, firings and cursors, with everything filled in that a test does not care about."""

from collections.abc import Sequence
from typing import Any, Final

from stepwell.core.records import Cursor, Declaration, Firing, NewRun, NewSchedule, NewSlot, Slot
from stepwell.store.port import Store
from tests.store.making import ALICE, NOW, new_run, new_worker

NIGHTLY: Final = "nightly"
KEY: Final = ("pay", NIGHTLY)
HOUR: Final = 3600.0
SLOT: Final = NOW + 60.0
"""The first slot of `nightly`."""


def new_schedule(name: str = NIGHTLY, **changed: Any) -> NewSchedule:
    """Each hour, from a minute after the beginning."""
    known = {"expression": "0 * * * *", "timezone": "UTC", "overlap": "allow", "catch_up": "latest", "jitter": None, "input": "null"}
    return NewSchedule(**{"name": name, "version": None, "first_at": SLOT, **known, **changed})


def declaration(*schedules: NewSchedule, workflow: str = "pay", digest: str = "one") -> Declaration:
    """What is said of one workflow."""
    return Declaration(workflow, digest, schedules)


async def declared(store: Store, *schedules: NewSchedule, worker: str = ALICE, digest: str = "one", now: float = NOW) -> int:
    """These are the schedules of `pay`; without any, `nightly` is."""
    return await store.declare(worker, [declaration(*(schedules or (new_schedule(),)), digest=digest)], None, now)


async def cursor(store: Store, name: str = NIGHTLY, workflow: str = "pay") -> Cursor:
    """How far it has come, whenever that was read."""
    (found,) = await store.cursors([(workflow, name)])
    return found._replace(seen_at=None)


def scheduled_run(number: int = 1, slot: float = SLOT, **changed: Any) -> NewRun:
    """The run of a slot."""
    return new_run(number, **{"created_at": slot, "schedule": NIGHTLY, "scheduled_at": slot, **changed})


def started(run: NewRun, **changed: Any) -> NewSlot:
    """The record that a run was made of its slot."""
    slot = SLOT if run.scheduled_at is None else run.scheduled_at
    return NewSlot(**{"slot": slot, "until": slot, "count": 1, "outcome": "started", "run": run.id, **changed})


def firing(seen: Cursor, *runs: NewRun, next_at: float | None = SLOT + HOUR, **changed: Any) -> Firing:
    """The slot of these runs is over."""
    return Firing(**{"cursor": seen, "next_at": next_at, "runs": runs, "slots": tuple(started(run) for run in runs), **changed})


async def fired(store: Store, number: int = 1, slot: float = SLOT, now: float | None = None, **changed: Any) -> bool:
    """Whether the schedule, as it stands, has made this run of this slot."""
    run = scheduled_run(number, slot, **changed)
    (won,) = await store.fire([firing(await cursor(store), run, next_at=slot + HOUR)], slot if now is None else now)
    return won


async def deeds(store: Store) -> int:
    """How much was done to schedules, as a worker sees it."""
    return (await store.look(ALICE, NOW)).schedules


async def records(store: Store, name: str = NIGHTLY, workflow: str = "pay") -> Sequence[Slot]:
    """What has become of its slots, the newest first."""
    return await store.slots(workflow, name, 100)


async def told(store: Store, name: str = NIGHTLY) -> list[tuple[str, float]]:
    """The same in short: what, and of which slot."""
    return [(record.outcome, record.at.timestamp()) for record in await records(store, name)]


async def dies(store: Store, worker: str) -> None:
    """It is taken for dead, and forgotten."""
    assert await store.rescue(worker, 0, NOW, 1_000, 5) < 1_000


async def returns(store: Store, worker: str) -> None:
    """It is registered anew, under its old id."""
    await store.register(new_worker(worker))
