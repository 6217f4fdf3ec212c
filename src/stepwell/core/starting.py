"""What may be said when a run is started: checked here, before anything is stored that a worker would stumble over.

Owns what is meant by a workflow's name when the program has no such function: what workers have published, or nothing yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from stepwell.core.definition import Workflow, checked_priority, checked_version
from stepwell.core.duration import Duration, parse_duration
from stepwell.core.naming import checked_name
from stepwell.core.records import UNRESOLVED, Definition
from stepwell.core.registry import natural_order
from stepwell.errors import DefinitionError, RunNotFound

LAST_INSTANT: Final = 253_402_214_400.0
"""31 December 9999, the last day that a datetime can be."""


class Target(NamedTuple):
    """What is started: the name and version of a workflow, and what its definition says, as far as it is known."""

    name: str
    version: str | None
    queue: str = "default"
    priority: int = 0
    timeout: float | None = None
    input: Any = Any
    """The annotation."""
    input_optional: bool = False
    output: Any = Any
    """The annotation."""


def target_of(workflow: Workflow[Any, Any], version: str | None) -> Target:
    """A workflow whose function is at hand, for a run of this version."""
    return Target(
        name=workflow.name,
        version=version,
        queue=workflow.queue,
        priority=workflow.priority,
        timeout=None if workflow.timeout is None else workflow.timeout.total_seconds(),
        input=workflow.input_annotation,
        input_optional=workflow.input_optional,
        output=workflow.output_annotation,
    )


def published_target(name: str, version: str | None, published: Iterable[Definition]) -> Target:
    """A workflow that only workers have, as they have published it.

    Without a version it is the one that has none, else the newest. Where nothing is known, the run's first claim says what it is.
    """
    definition = published_definition(name, version, published)
    if definition is None:
        return Target(name, UNRESOLVED if version is None else version)
    return Target(name, definition.version, definition.queue, definition.priority, definition.timeout)


def published_definition(name: str, version: str | None, published: Iterable[Definition]) -> Definition | None:
    """What is published of a workflow, with the version that a run of it has; None: nobody has published one that takes such a run."""
    known = {each.version: each for each in published if each.name == name}
    wanted = _newest(known) if version is None and known else version
    definition = known.get(wanted)
    if definition is None:
        takers = {each.version: each for each in known.values() if each.takes_version}
        definition = takers[max(takers, key=natural_order)] if takers else None
    return None if definition is None else definition._replace(version=wanted)


def _newest(known: dict[str | None, Definition]) -> str | None:
    return None if None in known else max(known, key=natural_order)


def checked_target(workflow: object, version: object) -> tuple[str, str | None]:
    """A workflow's name and the version, as they were given to a start. Raises DefinitionError: they cannot be that."""
    if not isinstance(workflow, str):
        raise DefinitionError(f"start takes a Workflow or its name, not {workflow!r}; is it decorated with @workflow?")
    name = checked_name(workflow, "workflow")
    return name, checked_version(version, name)


def checked_inputs(inputs: object) -> Sequence[Any]:
    """The inputs of many runs. Raises DefinitionError: they are one value rather than several."""
    if isinstance(inputs, str | bytes | dict) or not isinstance(inputs, Iterable):
        raise DefinitionError(f"start_many takes the inputs of several runs, such as a list of them; not {type(inputs).__name__}")
    return list(inputs)


def checked_queue(queue: object, workflow: str, default: str) -> str:
    """The queue to wait in; the workflow's, where None is given. Raises DefinitionError: it cannot be the name of one."""
    return default if queue is None else checked_name(queue, f"queue (given to a start of {workflow!r})")


def checked_start_priority(priority: object, workflow: str, default: int) -> int:
    """The priority; the workflow's, where None is given. Raises DefinitionError: it is no number in the range."""
    return default if priority is None else checked_priority(priority, workflow)


def checked_key(key: object) -> str | None:
    """The idempotency key. Raises DefinitionError: it is no text, or empty, or too long."""
    return None if key is None else checked_name(key, "idempotency key")


def checked_tags(tags: object) -> tuple[str, ...]:
    """The tags, each once. Raises DefinitionError: they are one text rather than several, or one of them is no text."""
    if isinstance(tags, str) or not isinstance(tags, Iterable):
        raise DefinitionError(f'tags are several texts, such as ["acme", "import"]; not {tags!r}')
    return tuple(dict.fromkeys(checked_name(tag, "tag") for tag in tags))


def checked_actor(actor: object) -> str | None:
    """Who acts, as it is kept with the event. Raises DefinitionError: it is no text, or empty, or too long."""
    return None if actor is None else checked_name(actor, "actor")


def checked_run_id(run_id: object) -> str:
    """The id of a run. Raises TypeError: it is no text; RunNotFound: no run can have it."""
    if not isinstance(run_id, str):
        hint = "; a handle has it as handle.run_id, a Run as run.id" if hasattr(run_id, "run_id") or hasattr(run_id, "id") else ""
        raise TypeError(f"the id of a run is a text, not {type(run_id).__name__}: {run_id!r}{hint}")
    if not run_id.isascii():
        raise RunNotFound(run_id)
    return run_id


def due_at(now: float, delay: Duration | None, at: object) -> float:
    """When a run may begin, in seconds since 1970: now, after the delay, or at this time; at once when that has passed.

    Raises:
        DefinitionError: both are given, `at` is no aware datetime, or the time is after the year 9999.
        ValueError, TypeError: the delay is no duration.
    """
    if delay is not None and at is not None:
        raise DefinitionError("a start takes delay or at, not both: delay is a time from now, at an instant")
    if at is not None:
        return max(now, _instant(at))
    return now if delay is None else _within_reach(now + parse_duration(delay, "delay").total_seconds(), "the delay")


def run_timeout(timeout: Duration | None, default: float | None, available_at: float) -> float | None:
    """Seconds that a run may take from when it is due; the workflow's, where None is given.

    Raises:
        DefinitionError: it would end after the year 9999.
        ValueError, TypeError: it is no duration.
    """
    seconds = default if timeout is None else parse_duration(timeout, "timeout").total_seconds()
    if seconds is not None:
        _within_reach(available_at + seconds, "the timeout")
    return seconds


def _instant(at: object) -> float:
    if not isinstance(at, datetime):
        raise DefinitionError(f"at is a datetime with a timezone, not {type(at).__name__}: {at!r}")
    if at.utcoffset() is None:
        raise DefinitionError(
            f"at needs a timezone: {at.isoformat()} is a different instant in each; write datetime(…, tzinfo=UTC), or at.astimezone()"
        )
    return _within_reach(at.timestamp(), "at")


def _within_reach(instant: float, what: str) -> float:
    if instant > LAST_INSTANT:
        raise DefinitionError(f"{what} ends after the year 9999, which is the last that can be stored")
    return instant
