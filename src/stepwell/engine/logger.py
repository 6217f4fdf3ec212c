"""What user code logs with. A line is written once, although the body replays."""

from __future__ import annotations

import json
import logging
import traceback
from typing import TYPE_CHECKING, Any, Final

from stepwell.core import definition
from stepwell.engine.requests import StepRequest

if TYPE_CHECKING:
    from stepwell.engine.execution import Execution

MAX_LINE: Final = 20_000
"""Characters of a message, and of its fields as JSON; what is longer is cut off."""


class Logger:
    """Logs for one run: to the standard `logging` tree under `stepwell.workflow.<name>`, and into the database with the run.

    Fields are given by name. What JSON does not know is logged as its `repr`.

    Example:
        logger.info("Sending welcome email", email=input.email)
    """

    __slots__ = ("_logger", "_run")

    def __init__(self, run: Execution) -> None:
        self._run = run
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
        message = str(message)[:MAX_LINE]
        if not self._run.log(logging.getLevelName(level).lower(), message, _as_json(fields)):
            return
        asker = definition.body.get()
        step = asker.key if isinstance(asker, StepRequest) else None
        shown = "".join(f" {name}={value!r}" for name, value in fields.items() if name != "traceback")
        trace = f"\n{fields['traceback']}" if "traceback" in fields else ""
        extra = {"run_id": self._run.id, "step": step, "fields": fields}
        self._logger.log(level, "%s%s%s", message, shown, trace, extra=extra, stacklevel=3)


def _as_json(fields: dict[str, Any]) -> str:
    try:
        text = json.dumps(fields, default=repr, ensure_ascii=True, allow_nan=False)
    except (ValueError, TypeError):  # NaN, a cycle, odd keys
        text = json.dumps({name: repr(value) for name, value in fields.items()})
    return text if len(text) <= MAX_LINE else json.dumps({"cut": text[:MAX_LINE]})
