"""What has happened to a run as a whole, in words: who has started it, and what was done to it since. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from stepwell.core.status import RunStatus

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from stepwell.core.records import Event, Run

_WORDS: Final = {
    "start": "started",
    "trigger": "started by hand, out of the turn of its schedule",
    "backfill": "started for a slot that had been missed",
    "fork": "started with steps of another run",
    "pause": "paused",
    "resume": "resumed",
    "cancel": "canceled",
    "retry": "retried",
}
_STARTS: Final = frozenset({"start", "trigger", "backfill", "fork"})
_RUN: Final = "run "
"""With which the actor begins that is another run."""


class Deed(NamedTuple):
    """Something that has happened."""

    at: datetime
    what: str
    who: str
    run_id: str | None = None
    """The run that has done it, or that it comes from."""


def past_of(run: Run, events: Sequence[Event]) -> list[Deed]:
    """All that is known, the earliest first."""
    deeds = [_deed(event, run) for event in events]
    if not any(event.action in _STARTS for event in events):
        deeds.insert(0, _start(run))
    if run.started_at is not None:
        deeds.append(Deed(run.started_at, "begun by a worker", ""))
    if run.finished_at is not None and run.status is not RunStatus.CANCELED:
        deeds.append(Deed(run.finished_at, str(run.status), ""))
    return sorted(deeds, key=lambda deed: deed.at)


def _deed(event: Event, run: Run) -> Deed:
    actor = event.actor or ""
    other = run.forked_from if event.action == "fork" else actor.removeprefix(_RUN) if actor.startswith(_RUN) else None
    what = _WORDS.get(event.action, event.action) if event.signal is None else f"sent signal {event.signal}"
    return Deed(event.at, what, "" if actor.startswith(_RUN) else actor, other)


def _start(run: Run) -> Deed:
    """Of a run of which nobody has said that he starts it."""
    who = f"schedule {run.schedule}" if run.schedule is not None else ""
    return Deed(run.created_at, "started", who, run.parent_id)
