"""What must be so when all is over: every run that was accepted has ended as its record says, and nothing is left of the workers."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

from stepwell import ContinueAsNew, Workflow
from stepwell.core.naming import name_of
from stepwell.core.records import TO_COMPUTE, Claimed, Kind, Outcome, Run
from stepwell.core.registry import Registry
from stepwell.core.status import RunStatus
from stepwell.errors import RunNotFound
from tests.proof.oracle import Impossible, Story, tell
from tests.simulation.timetable import computed_for, ticking
from tests.simulation.workflows import ALL, ATTEMPTS, TRANSACTIONS

if TYPE_CHECKING:
    from tests.simulation.people import Client
    from tests.simulation.processes import Process
    from tests.simulation.world import World

_REGISTRY = Registry((*ALL, ticking()))
_BY_TIME_OR_CRASHES = ("DeadlineExceeded", "WorkerCrashed")
_OF_INPUTS = ("ConnectionError", "DefinitionError", *_BY_TIME_OR_CRASHES)
"""By what runs fail whose inputs are to be computed: their function does, or a release has begun them that does not have it."""


async def check_all(world: World, processes: list[Process]) -> None:
    """Everything. What is wrong is told to the world."""
    check_engines(world)
    check_accepted(world)
    check_entries(world)
    for run_id in sorted(world.watch.runs):
        await check_run(world, run_id)
    await world.watch.almanac.check()
    for client in world.clients:
        check_answers(world, client)
    await check_workers(world, processes)


def check_engines(world: World) -> None:
    """No worker has ended by an error of its own."""
    for worker, process in world.processes.items():
        if worker.failure is not None:
            world.wrong(f"{process.name} was ended by an error of the engine: {worker.failure!r}")


def check_accepted(world: World) -> None:
    """No run is lost."""
    for run_id in sorted(world.confirmed):
        if run_id not in world.watch.runs and run_id not in world.watch.deleted:
            world.wrong(f"run {world.short(run_id)} was accepted, and is not there")
    for run_id, seen in world.watch.runs.items():
        world.counts["runs"] += 1
        world.counts[str(seen.status)] += 1
        if not seen.status.ended and seen.status is not RunStatus.PAUSED:
            new = world.watch.new[run_id]
            world.wrong(f"run {world.short(run_id)} of {new.workflow} {new.version} never ends: {seen}")


def check_entries(world: World) -> None:
    """What transactions have written is there once for each that is recorded, and for no other."""
    entries = Counter(world.tables.booked())
    for entry, count in entries.items():
        if count > 1:
            world.wrong(f"{entry.key} of run {world.short(entry.run_id)} was written {count} times")
    for run_id, seen in world.watch.runs.items():
        if seen.workflow != "bookkeeping" or run_id in world.forks:
            continue
        epoch = world.watch.epochs.get(run_id, 0)
        keys = {entry.key for entry in entries if entry.run_id == run_id}
        recorded = {key for key, outcome in seen.outcomes.items() if name_of(key) in TRANSACTIONS and is_ok(outcome)}
        now = {entry.key for entry in entries if (entry.run_id, entry.generation, entry.epoch) == (run_id, seen.generation, epoch)}
        if not now <= recorded <= keys:
            world.wrong(f"run {world.short(run_id)} has written {sorted(keys)}, {sorted(now)} of it now, and recorded {sorted(recorded)}")


def is_ok(outcome: Any) -> bool:
    """Whether what the tables show of an outcome is a result."""
    return bool(outcome.ok if isinstance(outcome, Outcome) else outcome[4])


async def check_run(world: World, run_id: str) -> None:
    """It has ended as its record says."""
    link = world.operator.link
    run: Run = await link.get(run_id)
    record: Claimed = await link.history(run_id)
    for outcome in record.outcomes:
        _check_outcome(world, outcome, record, is_fork=run_id in world.forks)
    error = run.error.type if run.error is not None else None
    if run.status is RunStatus.PAUSED and error is not None:
        world.wrong(f"run {world.short(run_id)} is paused, and its code has not changed: {run.error}")
    if record.input == TO_COMPUTE:
        _check_input(world, run)
    elif run.status in (RunStatus.COMPLETED, RunStatus.FAILED) and error not in _BY_TIME_OR_CRASHES:
        _check_end(world, run, record)
    if error == "DeadlineExceeded" and run.deadline_at is None:
        world.wrong(f"run {world.short(run_id)} has failed by a deadline that it does not have")


def _check_input(world: World, run: Run) -> None:
    """It was never computed, or could not be."""
    error = None if run.error is None else run.error.type
    if run.status is RunStatus.COMPLETED or (run.status is RunStatus.FAILED and error not in _OF_INPUTS):
        world.wrong(f"run {world.short(run.id)} is {run.status} with {run.error}, and has no input")


def _check_outcome(world: World, outcome: Outcome, record: Claimed, *, is_fork: bool) -> None:
    if outcome.kind != Kind.FUNCTION:
        return
    begun = [
        effect
        for effect in world.ledger.effects
        if (effect.run_id, effect.generation, effect.key) == (outcome.run, record.generation, outcome.key)
    ]
    where = f"outcome {outcome.key} of run {world.short(outcome.run)}"
    if not begun and not is_fork:
        world.wrong(f"{where} is of a step that never was begun")
    if begun and not any(effect.attempt == outcome.attempt and effect.ended_at is not None for effect in begun) and not is_fork:
        world.wrong(f"{where} is of attempt {outcome.attempt}, and none of that number has ended")
    if not outcome.ok and outcome.attempt < ATTEMPTS.get(name_of(outcome.key), 1):
        world.wrong(f"{where} has failed for good at attempt {outcome.attempt}")


def _check_end(world: World, run: Run, record: Claimed) -> None:
    """Its body, handed the recorded outcomes without an engine, ends the same way."""
    workflow = _REGISTRY.get(run.workflow, run.version)
    where = f"run {world.short(run.id)} of {workflow}"
    new = world.watch.new[run.id]
    values = {each.input for each in world.timetable.schedules if not callable(each.input)}  # another release may have one
    if new.input == TO_COMPUTE and int(record.input) not in {computed_for(new.scheduled_at or 0.0), *values}:
        world.wrong(f"{where} has input {record.input}, of slot {new.scheduled_at}")
    try:
        story = _told(workflow, record)
    except Impossible as impossible:
        world.wrong(f"{where}: no undisturbed run has this record: {impossible}")
        return
    unasked = [outcome.key for outcome in story.left if outcome.key not in story.asked]
    if unasked:
        world.wrong(f"{where}: {unasked} are recorded, and were never asked for")
    if not story.ended or isinstance(story.error, ContinueAsNew):
        world.wrong(f"{where} is {run.status}, and its body would still wait")
    elif story.error is not None:
        if run.status is not RunStatus.FAILED or run.error is None or run.error.type != type(story.error).__name__:
            world.wrong(f"{where} is {run.status} with {run.error}, and should have failed with {story.error!r}")
    elif run.status is not RunStatus.COMPLETED or run.output != story.result:
        world.wrong(f"{where} is {run.status} with {run.output!r}, and should have ended with {story.result!r}")


def _told(workflow: Workflow[Any, Any], record: Claimed) -> Story:
    outcomes = sorted(record.outcomes, key=lambda outcome: outcome.seq)
    return tell(workflow.function, int(record.input), record.started_at, outcomes)


def check_answers(world: World, client: Client) -> None:
    """Who has waited for the end of a run was told of it."""
    for run_id, waiting in client.waiting.items():
        seen = world.watch.runs.get(run_id)
        if seen is None:
            is_right = waiting.done() and (waiting.exception() is None or isinstance(waiting.exception(), RunNotFound))
        elif seen.status is RunStatus.PAUSED:
            is_right = True
        else:
            is_right = waiting.done() and waiting.exception() is None
        if not is_right:
            world.wrong(f"{client.name} waits for the end of run {world.short(run_id)}, which is {seen}: {waiting}")


async def check_workers(world: World, processes: list[Process]) -> None:
    """They leave nothing behind, and the dead are forgotten."""
    for process in processes:
        if not world.tables.lives(process.worker.id):
            world.wrong(f"{process.name} works, and is not registered")
        await process.stop()
    await asyncio.sleep(0.1)
    for process in processes:
        process.check_empty()
    left = await world.operator.link.workers()
    if left:
        world.wrong(f"workers are registered, and none is there: {[worker.id for worker in left]}")
