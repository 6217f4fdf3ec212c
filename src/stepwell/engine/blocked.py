"""Says when something blocks the worker's loop: where, and which step it is."""

from __future__ import annotations

import logging
import sys
import traceback
from typing import TYPE_CHECKING, Final

from stepwell.engine.attempts import StepRunner
from stepwell.engine.effects import Effect
from stepwell.engine.requests import StepRequest

if TYPE_CHECKING:
    import asyncio
    from types import FrameType

log = logging.getLogger(__name__)

PATIENCE: Final = 1.0
"""Seconds in which a loop has to answer."""

REPEAT: Final = 10.0
"""Seconds between two warnings of one blockage."""

# Their frames are the sign that a step executes.
_ATTEMPTS: Final = (StepRunner._attempt.__code__, StepRunner._transaction.__code__, Effect._called.__code__)


class LoopWatch:
    """Asks a loop whether it is there, from a thread that is not the loop's."""

    def __init__(self, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        self._loop = loop
        self._thread = thread
        self._asked: float | None = None
        self._warn_at = 0.0

    def look(self, now: float) -> bool:
        """Ask, or see how long the answer to the last question has been missing. `now`: by a clock that nobody sets.

        False: the loop is closed, and there is nothing to watch any more.
        """
        asked = self._asked
        if asked is None:
            self._warn_at = now + PATIENCE
            self._asked = now
            try:
                self._loop.call_soon_threadsafe(self._answer)
            except RuntimeError:
                return False
        elif now >= self._warn_at:
            self._warn_at = now + REPEAT
            self._warn(now - asked)
        return True

    def _answer(self) -> None:
        self._asked = None

    def _warn(self, seconds: float) -> None:
        frame = sys._current_frames().get(self._thread)  # the one way to see what another thread does
        request = _step_in(frame)
        what = "something" if request is None else f"step {request.key!r} of run {request.run.id}"
        stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
        log.warning(
            "%s has blocked the worker's event loop for %.1f s: all its other runs wait. "
            "Make the step a `def`, which runs in a thread, or await what it waits for. It is at\n%s",
            what,
            seconds,
            stack,
        )


def _step_in(frame: FrameType | None) -> StepRequest | None:
    while frame is not None:
        if frame.f_code in _ATTEMPTS:
            request = frame.f_locals.get("request")
            return request if isinstance(request, StepRequest) else None
        frame = frame.f_back
    return None
