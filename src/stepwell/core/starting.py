"""What may be said when a run is started: checked here, before anything is stored that a worker would stumble over."""

from __future__ import annotations

from collections.abc import Iterable

from stepwell.core.definition import checked_priority
from stepwell.core.naming import checked_name
from stepwell.errors import DefinitionError


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
    """The tags. Raises DefinitionError: they are one text rather than several, or one of them is no text."""
    if isinstance(tags, str) or not isinstance(tags, Iterable):
        raise DefinitionError(f'tags are several texts, such as ["acme", "import"]; not {tags!r}')
    return tuple(checked_name(tag, "tag") for tag in tags)
