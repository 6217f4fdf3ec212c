"""Children: runs that a body starts. Their ids, and what the end of one says to the parent that awaits it."""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from stepwell.core.failure import error_text
from stepwell.core.records import UNRESOLVED, NewRun
from stepwell.core.starting import published_target
from stepwell.core.status import RunStatus
from stepwell.errors import ErrorInfo, RunCanceled, StepwellError, qualified_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stepwell.core.records import Definition, StartChild

_LIKE: Final = "00000000-0000-7000-8000-000000000000"
_SHARD: Final = slice(19, 23)
"""Of the text of an id: the two bits of the variant, the eight of the shard, and six more."""


def child_id(parent: str, generation: int, key: str, attempt: int, asked_at: float) -> str:
    """The id of the child that a step of a parent stands for: the same on every replay, and another for each attempt.

    It is a UUID of version 7, as other ids are, with the time at which the body asked for it, and in its parent's shard.
    """
    digest = blake2b(f"{parent}:{generation}:{key}:{attempt}".encode(), digest_size=10).hexdigest()
    tick = f"{int(asked_at * 1_000):012x}"
    shard = int(parent[_SHARD], 16) if len(parent) == len(_LIKE) else 0x8000
    variant = shard & 0xFFC0 | int(digest[3:7], 16) & 0x3F
    return f"{tick[:8]}-{tick[8:]}-7{digest[:3]}-{variant:04x}-{digest[7:19]}"


def mail_from(child: str) -> str:
    """The name under which news of a child come into its parent's mailbox; none that a user can give to a signal."""
    return f"~{child}"


def told(ok: bool, text: str) -> str:
    """What a child says to its parent, as it lies in the mailbox: its output, or its error."""
    return json.dumps([ok, text])


def heard(payload: str) -> tuple[bool, str]:
    """What `told` has written."""
    ok, text = json.loads(payload)
    return ok, text


def end_told(run_id: str, workflow: str, status: RunStatus, output: str | None, error: str | None) -> str:
    """What the end of a run says to its parent."""
    match status:
        case RunStatus.COMPLETED:
            return told(True, output or "null")
        case RunStatus.CANCELED:
            canceled = RunCanceled(run_id=run_id, workflow=workflow)
            kinds = tuple(qualified_name(kind) for kind in (RunCanceled, StepwellError, Exception, BaseException))
            return told(False, error_text(ErrorInfo("RunCanceled", str(canceled), kinds=kinds)))
    return told(False, error or error_text(ErrorInfo("Unknown", "")))


def resolved(start: StartChild, published: Iterable[Definition]) -> NewRun:
    """The child as it is to be stored: one whose workflow its parent's worker does not have is what workers have published of it."""
    new = start.new
    if not start.by_name:
        return new
    target = published_target(new.workflow, None if new.version == UNRESOLVED else new.version, published)
    return new._replace(
        version=target.version,
        queue=target.queue if start.queue is None else start.queue,
        priority=target.priority if start.priority is None else start.priority,
        timeout=target.timeout if new.timeout is None else new.timeout,
    )
