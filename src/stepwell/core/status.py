"""The states of a run and every way between them, as data. Who may act, and what else a move changes, is not decided here.

The guards of the SQL statements, the tests and the diagram in ARCHITECTURE.md are checked against `TRANSITIONS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class RunStatus(StrEnum):
    """What a run is doing."""

    PENDING = "pending"
    """Waits for a worker, or for its time to start."""
    RUNNING = "running"
    """A worker executes it."""
    SLEEPING = "sleeping"
    """Waits for a timer, a signal, a child or a retry's delay, and takes no slot."""
    PAUSED = "paused"
    """Stopped by an operator, or because its code no longer fits what is recorded."""
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def ended(self) -> bool:
        """Whether the run is over. Only `retry` takes a failed or canceled run out of its end."""
        return self in _ENDED


_ENDED: Final = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELED})


class Action(StrEnum):
    """What moves a run from one status to another. Those of operators come first, then the engine's."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    RETRY = "retry"

    CLAIM = "claim"
    """A worker begins to execute it."""
    PARK = "park"
    """It waits for something, and gives up its slot."""
    WAKE = "wake"
    """It goes on in the worker that has kept it in memory: what it waited for is there, or it was resumed in time."""
    MAKE_READY = "make_ready"
    """What it waited for is there, and no worker has it in memory: any may claim it."""
    RETRY_LATER = "retry_later"
    """Its body has failed, and is tried again after a delay."""
    RELEASE = "release"
    """Its worker lets go of it."""
    RESCUE = "rescue"
    """Its worker is dead."""
    CONTINUE_AS_NEW = "continue_as_new"
    """It goes on with another input and an empty history."""
    DIVERGE = "diverge"
    """Its code no longer fits what is recorded."""
    COMPLETE = "complete"
    FAIL = "fail"
    EXPIRE = "expire"
    """Its deadline has passed, whatever it was doing; of a paused run, not before it is resumed."""


def _table() -> dict[tuple[RunStatus, Action], RunStatus]:
    pending, running, sleeping, paused, completed, failed, canceled = RunStatus
    return {
        # Operators: the table in the documentation. The same status means that nothing changes.
        (pending, Action.PAUSE): paused,
        (running, Action.PAUSE): paused,
        (sleeping, Action.PAUSE): paused,
        (paused, Action.PAUSE): paused,
        (pending, Action.RESUME): pending,
        (running, Action.RESUME): running,
        (sleeping, Action.RESUME): sleeping,
        (paused, Action.RESUME): pending,
        (pending, Action.CANCEL): canceled,
        (running, Action.CANCEL): canceled,
        (sleeping, Action.CANCEL): canceled,
        (paused, Action.CANCEL): canceled,
        (canceled, Action.CANCEL): canceled,
        (failed, Action.RETRY): pending,
        (canceled, Action.RETRY): pending,
        # The engine, in the order of a run's life.
        (pending, Action.CLAIM): running,
        (running, Action.PARK): sleeping,
        (sleeping, Action.PARK): sleeping,
        (sleeping, Action.WAKE): running,
        (running, Action.WAKE): running,
        (pending, Action.WAKE): running,
        (sleeping, Action.MAKE_READY): pending,
        (running, Action.RETRY_LATER): sleeping,
        (running, Action.CONTINUE_AS_NEW): pending,
        (running, Action.DIVERGE): paused,
        (running, Action.COMPLETE): completed,
        (running, Action.FAIL): failed,
        # A woken run that ends at once may be written in one move: its waking is left out.
        (sleeping, Action.RETRY_LATER): sleeping,
        (sleeping, Action.CONTINUE_AS_NEW): pending,
        (sleeping, Action.DIVERGE): paused,
        (sleeping, Action.COMPLETE): completed,
        (sleeping, Action.FAIL): failed,
        (pending, Action.EXPIRE): failed,
        (running, Action.EXPIRE): failed,
        (sleeping, Action.EXPIRE): failed,
        # Letting go clears the owner whatever the status; only a run in execution becomes ready for others.
        (pending, Action.RELEASE): pending,
        (running, Action.RELEASE): pending,
        (sleeping, Action.RELEASE): sleeping,
        (paused, Action.RELEASE): paused,
        (canceled, Action.RELEASE): canceled,
        (pending, Action.RESCUE): pending,
        (running, Action.RESCUE): pending,
        (sleeping, Action.RESCUE): sleeping,
        (paused, Action.RESCUE): paused,
        (canceled, Action.RESCUE): canceled,
    }


TRANSITIONS: Final[Mapping[tuple[RunStatus, Action], RunStatus]] = MappingProxyType(_table())
"""Where each action leads from each status. What is not in here is illegal; a target equal to its source is no change."""


def after(status: RunStatus, action: Action) -> RunStatus | None:
    """The status after the action; None where the status does not allow it."""
    return TRANSITIONS.get((status, action))


def diagram() -> str:
    """`TRANSITIONS` as a Mermaid state diagram, without what changes nothing. Equal tables give equal texts."""
    edges: dict[tuple[RunStatus, RunStatus], list[Action]] = {}
    for (source, action), target in TRANSITIONS.items():
        if source is not target:
            edges.setdefault((source, target), []).append(action)

    place = list(RunStatus).index
    lines = ["stateDiagram-v2", "    [*] --> pending"]
    for source, target in sorted(edges, key=lambda edge: (place(edge[0]), place(edge[1]))):
        lines.append(f"    {source} --> {target}: {', '.join(edges[source, target])}")
    lines += [f"    {status} --> [*]" for status in RunStatus if status.ended]
    return "\n".join(lines) + "\n"
