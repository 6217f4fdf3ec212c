"""`app.runs` and the starts, as operations."""

from __future__ import annotations

from typing import Any, Final

from stepwell.core.records import Page, Run, StepRecord
from stepwell.web.api.answers import Count, Counts, Events, LogPage, Reply, RunIds, RunPage, Steps
from stepwell.web.api.calls import Call
from stepwell.web.api.given import All, Attempts, Fork, Lines, Listed, Nothing, Signal, SignalAll, Start, Started, StartMany, Which
from stepwell.web.api.inputs import Inputs
from stepwell.web.portions import gathered

_EVENTS: Final = 10_000
"""That are told of one run."""

_ROOM: Final = 16 * 1024 * 1024
"""Bytes of inputs and outputs after which a page has no further records."""

# -- starts


async def start(call: Call[Start]) -> Reply[Run]:
    """Start a run.

    201 with the new run; 200 with the first run where its key is taken.
    """
    given, text = call.given, call.given.sent("input")
    value = None if text is None else Inputs(call.app, given.workflow, given.version, call.hides).read(text)
    handle = await call.app.start(given.workflow, value, key=given.key, actor=call.actor, **_options(given))
    run = await call.app.runs.get(handle.run_id)
    return Reply(value=run, status=201 if handle.created else 200, headers=_location(call, run.id))


async def start_many(call: Call[StartMany]) -> RunIds:
    """Start a run for each input.

    All inputs are checked before the first run is stored. The ids are in the order of the inputs.
    """
    given = call.given
    inputs = Inputs(call.app, given.workflow, given.version, call.hides).read_all(given.sent("inputs") or "[]")
    handles = await call.app.start_many(given.workflow, inputs, actor=call.actor, **_options(given))
    return RunIds(run_ids=[handle.run_id for handle in handles])


def _options(given: Started) -> dict[str, Any]:
    return {
        "version": given.version,
        "delay": given.delay,
        "at": given.at,
        "timeout": given.timeout,
        "priority": given.priority,
        "queue": given.queue,
        "tags": given.tags or (),
    }


def _location(call: Call[Any], run_id: str) -> dict[str, str]:
    return {"location": call.address(f"/runs/{run_id}")}


# -- those that match


async def list_runs(call: Call[Listed]) -> RunPage:
    """List runs, by the time of their creation.

    With inputs and outputs, and fewer at a time where these are large; `/api/overview/runs` is without them, and faster.
    """
    given = call.given

    async def read(limit: int, cursor: str | None) -> Page[Run]:
        return await call.app.runs.list(order=given.order, limit=limit, cursor=cursor, **given.filters)

    page = await gathered(read, given.limit, _ROOM, given.cursor)
    return RunPage(runs=list(page), next_cursor=page.next_cursor)


async def count_runs(call: Call[Which]) -> Counts:
    """Count runs, by status.

    Every one is counted; `/api/overview/tally` counts up to a cap, and is faster where there are many.
    """
    return Counts(counts={status.value: count for status, count in (await call.app.runs.count(**call.given.filters)).items()})


async def pause_all(call: Call[All]) -> Count:
    """Pause all runs that match.

    All that match now are meant, and that can be paused. Likewise the others below.
    """
    given = call.given
    return Count(count=await call.app.runs.pause_all(everything=given.everything, actor=call.actor, **given.filters))


async def resume_all(call: Call[All]) -> Count:
    """Resume all runs that match."""
    given = call.given
    return Count(count=await call.app.runs.resume_all(everything=given.everything, actor=call.actor, **given.filters))


async def cancel_all(call: Call[All]) -> Count:
    """Cancel all runs that match."""
    given = call.given
    return Count(count=await call.app.runs.cancel_all(everything=given.everything, actor=call.actor, **given.filters))


async def retry_all(call: Call[All]) -> Count:
    """Retry all failed or canceled runs that match."""
    given = call.given
    return Count(count=await call.app.runs.retry_all(everything=given.everything, actor=call.actor, **given.filters))


async def delete_all(call: Call[All]) -> Count:
    """Delete all ended runs that match."""
    given = call.given
    return Count(count=await call.app.runs.delete_all(everything=given.everything, actor=call.actor, **given.filters))


async def signal_all(call: Call[SignalAll]) -> Count:
    """Send a signal to all live runs that match."""
    given = call.given
    bulk = call.app.runs.signal_all
    return Count(count=await bulk(given.name, given.payload, everything=given.everything, actor=call.actor, **given.filters))


# -- one run


async def get_run(call: Call[Nothing]) -> Run:
    """Get a run as it stands."""
    return await call.app.runs.get(call.path("run_id"))


async def get_steps(call: Call[Attempts]) -> Steps:
    """List the steps of a run, one record an attempt, in order of their start.

    Where outputs are large, fewer come at a time.
    """
    given = call.given

    async def read(limit: int, cursor: str | None) -> Page[StepRecord]:
        return await call.app.runs.some_steps(call.path("run_id"), step=given.step, attempt=given.attempt, limit=limit, cursor=cursor)

    page = await gathered(read, given.limit, _ROOM, given.cursor)
    return Steps(steps=list(page), next_cursor=page.next_cursor)


async def get_logs(call: Call[Lines]) -> LogPage:
    """List what a run has said.

    `next_after` is where the next page begins, and null where there is nothing more yet.
    """
    given = call.given
    lines = await call.app.runs.logs(call.path("run_id"), after=given.after, limit=given.limit + 1)
    more = len(lines) > given.limit
    return LogPage(logs=lines[: given.limit], next_after=given.after + given.limit if more else None)


async def get_events(call: Call[Nothing]) -> Events:
    """List what was done to a run, when and by whom: the first 10,000 things."""
    return Events(events=await call.app.runs.events(call.path("run_id"), limit=_EVENTS))


async def pause_run(call: Call[Nothing]) -> Run:
    """Stop a run before its next step.

    The step in progress goes on to its end, and its result is kept. Pausing twice changes nothing.
    """
    return await call.app.runs.pause(call.path("run_id"), actor=call.actor)


async def resume_run(call: Call[Nothing]) -> Run:
    """Let a run go on where it was paused."""
    return await call.app.runs.resume(call.path("run_id"), actor=call.actor)


async def cancel_run(call: Call[Nothing]) -> Run:
    """End a run here and now. Canceling twice changes nothing."""
    return await call.app.runs.cancel(call.path("run_id"), actor=call.actor)


async def retry_run(call: Call[Nothing]) -> Run:
    """Let a failed or canceled run go on: finished steps are kept."""
    return await call.app.runs.retry(call.path("run_id"), actor=call.actor)


async def fork_run(call: Call[Fork]) -> Reply[Run]:
    """Start a new run that has the results recorded before a step of this one, and goes on from there."""
    given, text = call.given, call.given.sent("input")
    said: dict[str, Any] = {"version": given.version} if "version" in given.model_fields_set else {}
    if text is not None:
        run = await call.app.runs.get(call.path("run_id"))
        said["input"] = Inputs(call.app, run.workflow, said.get("version", run.version), call.hides).read(text)
    handle = await call.app.runs.fork(call.path("run_id"), from_step=given.from_step, actor=call.actor, **said)
    return Reply(value=await call.app.runs.get(handle.run_id), status=201, headers=_location(call, handle.run_id))


async def signal_run(call: Call[Signal]) -> None:
    """Send a signal to a run. It is kept until it is waited for."""
    await call.app.runs.signal(call.path("run_id"), call.given.name, call.given.payload, actor=call.actor)


async def delete_run(call: Call[Nothing]) -> None:
    """Forget an ended run, with its steps, logs and events."""
    await call.app.runs.delete(call.path("run_id"), actor=call.actor)
