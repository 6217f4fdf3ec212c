"""What user code logs with. A line is written once, although the body replays."""

from __future__ import annotations

import json
import logging
import traceback
from typing import TYPE_CHECKING, Any, Final

from stepwell.core import definition
from stepwell.core.codec import MAX_DEPTH, codec_of
from stepwell.engine.requests import StepRequest

if TYPE_CHECKING:
    from collections.abc import Callable

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
        message = _clean(_shown(message, str))[:MAX_LINE]
        if not self._run.log(logging.getLevelName(level).lower(), message, _as_json(fields)):
            return
        asker = definition.body.get()
        step = asker.key if isinstance(asker, StepRequest) else None
        shown = "".join(f" {name}={_shown(value, repr)}" for name, value in fields.items() if name != "traceback")
        trace = f"\n{fields['traceback']}" if "traceback" in fields else ""
        extra = {"run_id": self._run.id, "step": step, "fields": fields}
        self._logger.log(level, "%s%s%s", message, shown, trace, extra=extra, stacklevel=3)


def _as_json(fields: dict[str, Any]) -> str:
    text = "{" + ", ".join(f"{json.dumps(_clean(name))}: {_value_as_json(value)}" for name, value in fields.items()) + "}"
    return text if len(text) <= MAX_LINE else json.dumps({"cut": text[: MAX_LINE // 2]})


def _value_as_json(value: Any) -> str:
    try:
        text = _clean(json.dumps(value, default=repr, ensure_ascii=False, allow_nan=False))
        if text.count("[") + text.count("{") > MAX_DEPTH:
            codec_of(Any).decode(text)  # what is too deep for the one that reads it is no use
        return text
    except Exception:  # noqa: BLE001  # NaN, a cycle, odd keys, too deep, a __repr__ that raises: to log it must not fail
        return json.dumps(_clean(_shown(value, repr)))


def _shown(value: Any, show: Callable[[Any], str]) -> str:
    try:
        return show(value)
    except Exception:  # noqa: BLE001  # its __repr__ is the user's
        return f"<{type(value).__name__} that cannot be printed>"


def _clean(text: str) -> str:
    """Without NUL and lone surrogates, which databases refuse."""
    return text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
