"""What user code logs with, and where in the history a line belongs: it is written once, although the body replays."""

from __future__ import annotations

import json
import logging
import traceback
from contextlib import suppress
from itertools import count
from threading import BoundedSemaphore, get_ident
from typing import TYPE_CHECKING, Any, Final

from stepwell.core import definition
from stepwell.core.codec import MAX_DEPTH, codec_of
from stepwell.core.failure import storable
from stepwell.core.records import LogEntry
from stepwell.engine.requests import StepRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from stepwell.core.status import RunStatus
    from stepwell.engine.execution import Execution

log = logging.getLogger(__name__)

MAX_LINE: Final = 20_000
"""Characters of a message, and of its fields as JSON; what is longer is cut off."""

MAX_LINES: Final = 10_000
"""Lines of one run that are stored while it is in a worker's memory; a run that logs without end is not to fill the disk."""

MAX_ON_THEIR_WAY: Final = 1_000
"""Lines from threads that one run may have on their way to the database; a thread that logs faster waits."""

PATIENCE: Final = 5.0
"""Seconds that a thread waits so. Then its run's lines wait no more: the worker's own thread may be waiting for this one."""

_LINES: Final = count(1)
"""Numbers the lines that steps log, from whatever thread."""


class Logger:
    """Logs for one run: to the standard `logging` tree under `stepwell.workflow.<name>`, and into the database with the run.

    Fields are given by name. What JSON does not know is logged as its `repr`.

    Example:
        logger.info("Sending welcome email", email=input.email)
    """

    __slots__ = ("_book", "_logger", "_run")

    def __init__(self, run: Execution) -> None:
        self._run = run
        self._book = _Logbook(run)
        self._logger = logging.getLogger(f"stepwell.workflow.{run.claimed.workflow}")

    def debug(self, message: str, /, **fields: Any) -> None:
        """For whoever looks for an error."""
        self._log(logging.DEBUG, message, fields)

    def info(self, message: str, /, **fields: Any) -> None:
        """What happens."""
        self._log(logging.INFO, message, fields)

    def warning(self, message: str, /, **fields: Any) -> None:
        """What may need attention."""
        self._log(logging.WARNING, message, fields)

    def error(self, message: str, /, **fields: Any) -> None:
        """What has gone wrong."""
        self._log(logging.ERROR, message, fields)

    def exception(self, message: str, /, **fields: Any) -> None:
        """What has gone wrong, with the exception that is being handled."""
        self._log(logging.ERROR, message, {**fields, "traceback": traceback.format_exc(limit=50)})

    def _log(self, level: int, message: str, fields: dict[str, Any]) -> None:
        message = storable(_shown(message, str))[:MAX_LINE]
        if not self._book.write(logging.getLevelName(level).lower(), message, _as_json(fields)):
            return
        asker = definition.body.get()
        step = asker.key if isinstance(asker, StepRequest) else None
        shown = "".join(f" {name}={_shown(value, repr)}" for name, value in fields.items() if name != "traceback")
        trace = f"\n{fields['traceback']}" if "traceback" in fields else ""
        extra = {"run_id": self._run.id, "step": step, "fields": fields}
        self._logger.log(level, "%s%s%s", message, shown, trace, extra=extra, stacklevel=3)


class _Logbook:
    """The lines of one run, on their way to the database."""

    __slots__ = ("_count", "_numbers", "_pace", "_place", "_run")

    def __init__(self, run: Execution) -> None:
        self._run = run
        self._place = -1  # outcomes delivered when the body last spoke
        self._count = 0  # how often it has spoken since
        self._numbers = count(1)  # of what is stored, whoever speaks
        self._pace = _Pace(run)

    def write(self, level: str, message: str, fields: str) -> bool:
        """Store a line; False when it was stored by an earlier life of the run, or the body is being left."""
        run = self._run
        now, claim = run.host.clock.now(), run.claimed.claim
        if not self._is_body_speaking():
            asker = definition.body.get()
            step, scope = (asker.key, f"{asker.key}#{asker.attempt}.{claim}") if isinstance(asker, StepRequest) else (None, f"~{claim}")
            self._store(LogEntry(run.id, claim, -1, scope, next(_LINES), now, level, message, fields, step))
            return True
        if run.over or run.loop.closing:
            return False
        place = run.history.delivered
        if place != self._place:
            self._place, self._count = place, 0
        self._count += 1
        if (place, self._count) <= run.claimed.logged:
            return False
        self._store(LogEntry(run.id, claim, place, "", self._count, now, level, message, fields, None))
        return True

    def _store(self, entry: LogEntry) -> None:
        number = next(self._numbers)
        if number > MAX_LINES + 1:
            return
        if number == MAX_LINES + 1:
            message = f"further lines of this run are not stored: it has logged {MAX_LINES:,} since its worker has it"
            entry = entry._replace(
                after=-1, scope=f"~{entry.claim}", n=next(_LINES), level="warning", message=message, fields="{}", step=None
            )
        self._pace.put(entry)

    def _is_body_speaking(self) -> bool:
        """And not a step, or a thread that a step has made."""
        body_thread = self._run.body_thread
        return self._run.loop.is_entered if body_thread is None else body_thread.is_body_speaking()


class _Pace:
    """Lets a thread that logs faster than the database stores wait. The worker's own thread never waits."""

    __slots__ = ("_free", "_is_patient", "_run")

    def __init__(self, run: Execution) -> None:
        self._run = run
        self._free = BoundedSemaphore(MAX_ON_THEIR_WAY)
        self._is_patient = True

    def put(self, entry: LogEntry) -> None:
        """Let it be written. From whatever thread."""
        host = self._run.host
        if get_ident() == host.thread:
            host.committer.put(entry, self._run)
            return
        writer = self if self._has_waited() else self._run
        with suppress(RuntimeError):  # the worker's loop has been closed, and this thread left behind
            host.loop.call_soon_threadsafe(host.committer.put, entry, writer)

    def _has_waited(self) -> bool:
        """Whether there is room; False: it is not worth while to wait for any."""
        if self._free.acquire(blocking=False):
            return True
        waited = 0.0
        while self._is_patient and not self._run.over and not self._run.host.loop.is_closed():
            if self._free.acquire(timeout=0.1):
                return True
            waited += 0.1
            if waited >= PATIENCE:
                self._is_patient = False
        return False

    def written(self, write: LogEntry, status: RunStatus | None) -> None:
        """See `Writer.written`."""
        self._free.release()
        self._run.written(write, status)

    def refused(self, write: LogEntry, error: Exception) -> None:
        """See `Writer.refused`."""
        self._free.release()
        self._run.refused(write, error)


def warn_of_changed_arguments(run: Execution, keys: Iterable[str]) -> None:
    """Steps are called with other arguments than their recorded results came from. The results stay; somebody may want to know."""
    claim, now = run.claimed.claim, run.host.clock.now()
    for key in keys:
        message = f"step {key!r} is called with other arguments than those its recorded result came from; the result stays"
        log.warning("run %s of %s: %s", run.id, run.claimed.workflow, message)
        run.host.committer.put(LogEntry(run.id, claim, -1, f"~{key}", 0, now, "warning", message, "{}", key), run)


def _as_json(fields: dict[str, Any]) -> str:
    text = "{" + ", ".join(f"{json.dumps(storable(name))}: {_value_as_json(value)}" for name, value in fields.items()) + "}"
    return text if len(text) <= MAX_LINE else json.dumps({"cut": text[: MAX_LINE // 2]})


def _value_as_json(value: Any) -> str:
    try:
        text = storable(json.dumps(value, default=repr, ensure_ascii=False, allow_nan=False))
        if text.count("[") + text.count("{") > MAX_DEPTH:
            codec_of(Any).decode(text)  # what is too deep for the one that reads it is no use
    except Exception:  # noqa: BLE001  # NaN, a cycle, odd keys, too deep, a __repr__ that raises: to log it must not fail
        text = json.dumps(storable(_shown(value, repr)))
    return text


def _shown(value: Any, show: Callable[[Any], str]) -> str:
    try:
        return show(value)
    except Exception:  # noqa: BLE001  # its __repr__ is the user's
        return f"<{type(value).__name__} that cannot be printed>"
