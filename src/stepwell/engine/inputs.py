"""Inputs of scheduled runs: a value's text, and what a function says when it is called. Writes nothing."""

from __future__ import annotations

import asyncio
import inspect
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from stepwell.core.codec import codec_of, input_text
from stepwell.core.mark import UNKNOWN, mark_of
from stepwell.core.options import takes_slot
from stepwell.engine.attempts import is_async
from stepwell.errors import DefinitionError

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
    """

    def __init__(self, threads: Threads, max_payload: int) -> None:
        self._threads = threads
        self._max_payload = max_payload

    def text(self, workflow: Workflow[Any, Any], value: Any, schedule: str) -> str:
        """The JSON text of an input. Raises InvalidInput, NotSerializable, PayloadTooLarge: it cannot be one of this workflow."""
        if value is None and workflow.input_optional:
            return "null"
        codec = codec_of(workflow.input_annotation)
        return input_text(codec, value, workflow=workflow.name, limit=self._max_payload, schedule=schedule)

    def likeness(self, workflow: Workflow[Any, Any], value: Any, text: str) -> str:
        """Equal for equal inputs, of which `text` is one's. Their texts need not be: of a set, each process writes another one."""
        mark = mark_of("input", (codec_of(workflow.input_annotation).validate(value, "input"),), {}) if value is not None else UNKNOWN
        return text if mark == UNKNOWN else f"{mark} {''.join(sorted(text))}"

    async def computed(self, workflow: Workflow[Any, Any], schedule: Schedule, slot: float, timezone: str) -> str:
        """The JSON text of what the schedule's function returns for this slot.

        Raises what the function raises, be it SystemExit; TimeoutError: it took too long; DefinitionError: it was canceled, though
        nobody here has done so.
        """
        when = datetime.fromtimestamp(slot, ZoneInfo(timezone))
        call = partial(schedule.input, when) if takes_slot(schedule.input) else schedule.input
        task = asyncio.get_running_loop().create_task(self._outcome(call, schedule.input), name="stepwell-input")
        try:
            await asyncio.wait([task], timeout=LONGEST)
            if not task.done():
                raise TimeoutError(f"the input function of schedule {schedule.name!r} took longer than {LONGEST:g} s")
            value, error = (None, asyncio.CancelledError()) if task.cancelled() else task.result()
        finally:
            task.cancel()  # where it takes no notice, it is left behind
        if isinstance(error, asyncio.CancelledError):
            raise DefinitionError(f"the input function of schedule {schedule.name!r} was canceled") from error
        if error is not None:
            raise error
        return self.text(workflow, value, schedule.name)

    async def _outcome(self, call: Callable[[], Any], function: Any) -> tuple[Any, BaseException | None]:
        """What it returns, or raises. No task may end by SystemExit: that ends the event loop as well."""
        try:
            if is_async(function):
                return await call(), None
            value = await self._threads.run(call)
            return (await value if inspect.isawaitable(value) else value), None
        except BaseException as error:  # noqa: BLE001  # whatever the user's function raises is for the run to say
            return None, error
