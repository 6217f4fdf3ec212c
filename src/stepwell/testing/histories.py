"""Histories of runs as JSON: what a replay needs, to be kept beside tests. Reads them from a store, and back from JSON; replays nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from stepwell.core.records import TO_COMPUTE, Claimed, Kind, Outcome, Tried
from stepwell.handle import Handle
from stepwell.store.port import Store

FORMAT: Final = 1
"""Of what `export_history` gives. A later one is refused."""

_PAGE: Final = 1_000


async def export_history(handle: Handle[Any]) -> dict[str, Any]:
    """All that a run has recorded, to be kept as JSON and replayed against later code.

    It has the run's input and the results of its steps in it, in plain text. Of a run that has gone on as new, it is what was recorded
    since then.

    Args:
        handle: of the run, in whatever status.

    Raises:
        RunNotFound: there is no such run.
        ValueError: its schedule has a function for its input that has not been called yet, or has failed: nothing is recorded.

    Example:
        Path("tests/pay.json").write_text(json.dumps(await export_history(handle), indent=2))
    """
    if not isinstance(handle, Handle):
        raise TypeError(f"export_history takes the handle of a run, such as app.handle(run_id); not {handle!r}")
    claimed = await read_history(handle._home.store, handle.run_id)
    if claimed.input == TO_COMPUTE:
        raise ValueError(f"run {claimed.id} has no history yet: the function of its schedule has not given it its input")
    history = as_json(claimed)
    return history | {"status": str(await handle.status())}


async def read_history(store: Store, run_id: str) -> Claimed:
    """The run as a worker would get it, with all of its outcomes. Raises RunNotFound."""
    claimed = await store.history(run_id)
    outcomes = list(claimed.outcomes)
    while not claimed.complete:
        page = await store.outcomes(run_id, outcomes[-1].seq if outcomes else 0, _PAGE)
        outcomes += page
        if len(page) < _PAGE:
            claimed = replace(claimed, outcomes=tuple(outcomes), complete=True)
    return claimed


# -- to JSON and back


def as_json(claimed: Claimed) -> dict[str, Any]:
    """The history as what JSON knows, of a run that has its input."""
    return {
        "format": FORMAT,
        "run_id": claimed.id,
        "workflow": claimed.workflow,
        "version": claimed.version,
        "input": json.loads(claimed.input),
        "attempt": claimed.attempt,
        "generation": claimed.generation,
        "created_at": claimed.created_at,
        "started_at": claimed.started_at,
        "scheduled_at": claimed.scheduled_at,
        "tags": list(claimed.tags),
        "outcomes": [_outcome_as_json(outcome) for outcome in claimed.outcomes],
        "attempts": {
            key: {"attempts": tried.attempts, "failures": tried.failures, "due": tried.due, "evidence": tried.evidence}
            for key, tried in claimed.tried.items()
        },
    }


def _outcome_as_json(outcome: Outcome) -> dict[str, Any]:
    shown = {
        "key": outcome.key,
        "kind": Kind(outcome.kind).name.lower(),
        "seq": outcome.seq,
        "asked": outcome.asked,
        "ok": outcome.ok,
        "at": outcome.at,
        "mark": outcome.mark,
        "attempt": outcome.attempt,
        "started_at": outcome.started_at,
        "python": outcome.python,
    }
    if outcome.child is not None:
        shown["child"] = outcome.child
    return shown if outcome.value is None else shown | {"value": json.loads(outcome.value)}  # a timer has none; a step may have null


def from_json(history: Mapping[str, Any]) -> Claimed:
    """What `as_json` gave.

    Raises:
        ValueError: it is no such thing, or of a later format.
    """
    if not isinstance(history, Mapping) or "format" not in history:  # type: ignore[redundant-expr]  # JSON may be anything
        raise ValueError("this is no history of a run; `export_history(handle)` gives one")
    if history["format"] != FORMAT:
        raise ValueError(f"this history is of format {history['format']!r}; this version of Stepwell reads format {FORMAT}: export it anew")
    try:
        return _claimed(history)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"this history is incomplete or was changed: {type(error).__name__}: {error}") from error


def _claimed(history: Mapping[str, Any]) -> Claimed:
    run_id = str(history["run_id"])
    return Claimed(
        id=run_id,
        claim=0,
        workflow=history["workflow"],
        version=history["version"],
        input=json.dumps(history["input"]),
        attempt=int(history["attempt"]),
        generation=int(history["generation"]),
        created_at=float(history["created_at"]),
        started_at=float(history["started_at"]),
        scheduled_at=history["scheduled_at"],
        tags=tuple(history["tags"]),
        outcomes=tuple(_outcome(run_id, outcome) for outcome in history["outcomes"]),
        tried={key: Tried(each["attempts"], each["failures"], each["due"], each["evidence"]) for key, each in history["attempts"].items()},
        logged=(-1, 0),
    )


def _outcome(run_id: str, outcome: Mapping[str, Any]) -> Outcome:
    return Outcome(
        run=run_id,
        claim=0,
        key=outcome["key"],
        seq=int(outcome["seq"]),
        asked=int(outcome["asked"]),
        kind=Kind[outcome["kind"].upper()],
        ok=bool(outcome["ok"]),
        value=json.dumps(outcome["value"]) if "value" in outcome else None,
        at=float(outcome["at"]),
        mark=int(outcome["mark"]),
        attempt=int(outcome["attempt"]),
        started_at=float(outcome["started_at"]),
        python=int(outcome["python"]),
        child=outcome.get("child"),
    )
