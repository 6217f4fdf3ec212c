"""Makes the run that a body starts, from what the body says of it. Its workflow may be one that this worker does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

from stepwell.core.children import child_id
from stepwell.core.codec import codec_of, input_text
from stepwell.core.definition import Workflow
from stepwell.core.records import UNRESOLVED, NewRun, StartChild
from stepwell.core.registry import check_version, refuse_unsupported
from stepwell.core.starting import (
    Target,
    checked_key,
    checked_queue,
    checked_start_priority,
    checked_tags,
    checked_target,
    due_at,
    run_timeout,
    target_of,
)
from stepwell.errors import DefinitionError, NotInStep

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from stepwell.core.duration import Duration
    from stepwell.engine.execution import Execution

_OF_HANDLES: Final = frozenset({"result", "get", "status", "steps", "logs", "events", "pause", "resume", "cancel", "retry", "signal"})


class StartedRun:
    """A run that a body has started, and does not wait for.

    Attributes:
        run_id: the run's id. A body can keep it, return it, and send signals to it.
    """

    __slots__ = ("run_id",)

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id

    def __repr__(self) -> str:
        return f"<StartedRun {self.run_id}>"

    def __getattr__(self, name: str) -> NoReturn:
        if name in _OF_HANDLES:
            raise NotInStep(
                f"the body of a workflow calls {name}() of a run that it has started. On a replay that would happen again: in a body, "
                "only its run_id is of use. Await a child by step.execute; look at a run, and act on it, in a step."
            )
        raise AttributeError(f"a run that a body has started has no {name!r}")


class Child(NamedTuple):
    """What is started."""

    target: Target
    by_name: bool
    """Nothing is known here of a workflow of this name."""
    input: str
    output: Any
    """As what its output is read: by name it is plain JSON, which does not depend on the workflows that this worker has."""


class Options(NamedTuple):
    """What is said of it."""

    key: str | None = None
    delay: Duration | None = None
    at: datetime | None = None
    timeout: Duration | None = None
    priority: int | None = None
    queue: str | None = None
    tags: Iterable[str] = ()


def child_of(run: Execution, workflow: object, version: str | None, value: Any) -> Child:
    """The workflow that is meant, and its input.

    Raises:
        DefinitionError: it is none.
        InvalidInput, NotSerializable, PayloadTooLarge: the input is none of that workflow.
    """
    target, by_name = _target(run, workflow, version)
    output = Any if isinstance(workflow, str) else target.output
    if value is None and target.input_optional:
        return Child(target, by_name, "null", output)
    text = input_text(codec_of(target.input), value, workflow=target.name, limit=run.host.max_payload)
    return Child(target, by_name, text, output)


def _target(run: Execution, workflow: object, version: str | None) -> tuple[Target, bool]:
    if isinstance(workflow, Workflow):
        check_version(workflow, version)
        refuse_unsupported(workflow)
        return target_of(workflow, workflow.version), False
    if not isinstance(workflow, str):
        raise DefinitionError(f"a child is a Workflow or the name of one, not {workflow!r}; is it decorated with @workflow?")
    name, version = checked_target(workflow, version)
    known = run.host.registry.resolve(name, version)
    if known is not None:
        return target_of(known.workflow, known.version), False
    return Target(name, UNRESOLVED if version is None else version), True


def start_of(run: Execution, child: Child, key: str, attempt: int, options: Options, *, awaited: bool) -> StartChild:
    """The run to be stored. Raises DefinitionError, ValueError, TypeError: an option is none."""
    target, now = child.target, run.host.clock.now()
    available_at = due_at(now, options.delay, options.at)
    new = NewRun(
        id=child_id(run.id, run.generation, key, attempt, run.loop.now),
        workflow=target.name,
        version=target.version,
        input=child.input,
        created_at=now,
        available_at=available_at,
        queue=checked_queue(options.queue, target.name, target.queue),
        priority=checked_start_priority(options.priority, target.name, target.priority),
        tags=checked_tags(options.tags),
        key=checked_key(options.key),
        timeout=run_timeout(options.timeout, target.timeout, available_at),
        parent_id=run.id,
        awaited_as=key if awaited else None,
    )
    return StartChild(run.id, run.claimed.claim, key, new, child.by_name, options.queue, options.priority)
