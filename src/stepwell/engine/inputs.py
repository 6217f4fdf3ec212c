"""Inputs of scheduled runs: a value's text, and what a function says when it is called. Writes nothing."""

from __future__ import annotations

import asyncio
import inspect
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from stepwell.core.codec import codec_of, input_text
from stepwell.core.options import takes_slot
from stepwell.engine.attempts import is_async

if TYPE_CHECKING:
    from collections.abc import Callable

    from stepwell.core.definition import Workflow
    from stepwell.core.options import Schedule
    from stepwell.engine.threads import Threads

LONGEST: Final = 30.0
"""Seconds that the function of a schedule may take."""


class Inputs:
    """Makes the inputs that the schedules of a worker give their runs.

    Args:
        threads: in which functions are called that are no `async def`.
        max_payload: bytes of JSON.
        longest: seconds that a function may take.
    """

    def __init__(self, threads: Threads, max_payload: int, longest: float = LONGEST) -> None:
        self._threads = threads
        self._max_payload = max_payload
        self._longest = longest

    def text(self, workflow: Workflow[Any, Any], value: Any, schedule: str) -> str:
        """The JSON text of an input. Raises InvalidInput, NotSerializable, PayloadTooLarge: it cannot be one of this workflow."""
        if value is None and workflow.input_optional:
            return "null"
        codec = codec_of(workflow.input_annotation)
        return input_text(codec, value, workflow=workflow.name, limit=self._max_payload, schedule=schedule)

    async def computed(self, workflow: Workflow[Any, Any], schedule: Schedule, slot: float, timezone: str) -> str:
        """The JSON text of what the schedule's function returns for this slot. Raises what it raises; TimeoutError: it took too long."""
        when = datetime.fromtimestamp(slot, ZoneInfo(timezone))
        call = partial(schedule.input, when) if takes_slot(schedule.input) else schedule.input
        task = asyncio.get_running_loop().create_task(self._called(call, schedule.input), name="stepwell-input")
        try:
            await asyncio.wait([task], timeout=self._longest)
            if not task.done():
                raise TimeoutError(f"the input function of schedule {schedule.name!r} took longer than {self._longest:g} s")
            return self.text(workflow, task.result(), schedule.name)
        finally:
            task.cancel()  # where it takes no notice, it is left behind
            task.add_done_callback(_heed)

    async def _called(self, call: Callable[[], Any], function: Any) -> Any:
        if is_async(function):
            return await call()
        value = await self._threads.run(call)
        return await value if inspect.isawaitable(value) else value


def _heed(task: asyncio.Future[Any]) -> None:
    """Nobody waits for it any more: an error that comes now is not to be called forgotten."""
    if not task.cancelled():
        task.exception()
