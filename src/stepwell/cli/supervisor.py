"""Looks after several workers in child processes: begins each again when it dies, passes signals on, and ends when all have ended."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from stepwell.cli.child import WorkerOptions, begin, how_it_ended, on_signals, stop
from stepwell.cli.output import note

if TYPE_CHECKING:
    from asyncio.subprocess import Process

_FIRST_DELAY: Final = 1.0
_LONGEST_DELAY: Final = 30.0
"""Seconds until a child that has died is begun again; twice as long each time."""

_STEADY: Final = 60.0
"""Seconds after which a child counts as having begun well: its next death is a first one."""

_BAD_USAGE: Final = 2


def supervise(count: int, options: WorkerOptions) -> int:
    """Keep so many workers going until they are told to stop; the exit code."""
    return asyncio.run(Supervisor(count, options).run())


class Supervisor:
    """Several workers, each in a process of its own.

    Args:
        count: how many.
        options: of each; a name gets `-1`, `-2`, … behind it.
        first_delay: seconds until the first that has died is begun again.
    """

    def __init__(self, count: int, options: WorkerOptions, *, first_delay: float = _FIRST_DELAY) -> None:
        self._count = count
        self._options = options
        self._first_delay = first_delay
        self._children: set[Process] = set()
        self._stopping = asyncio.Event()

    async def run(self) -> int:
        """Until all have ended: 0 if all did so as they should, 2 if they were called wrongly, else 1."""
        with on_signals(self._stop):
            async with asyncio.TaskGroup() as tasks:
                keepers = [tasks.create_task(self._keep(number)) for number in range(1, self._count + 1)]
        codes = {keeper.result() for keeper in keepers}
        return _BAD_USAGE if _BAD_USAGE in codes else int(codes != {0})

    def _stop(self) -> None:
        self._stopping.set()
        for child in self._children:
            stop(child)

    async def _keep(self, number: int) -> int:
        """Keep one going; how it ended for good."""
        options = self._options if self._options.name is None else replace(self._options, name=f"{self._options.name}-{number}")
        delay = self._first_delay
        while True:
            code, lived = await self._one_life(options)
            if code == _BAD_USAGE:
                self._stop()  # it would say the same every time, and so would the others
            if self._stopping.is_set():
                return 0 if code == -signal.SIGTERM else code  # it was told to stop before it could have said how
            if code == 0:
                return code
            delay = self._first_delay if lived > _STEADY else delay
            note(f"worker {number} ended {how_it_ended(code)}; it begins again in {delay:g} s")
            if await self._stopped_within(delay):
                return 0
            delay = min(2 * delay, _LONGEST_DELAY)

    async def _one_life(self, options: WorkerOptions) -> tuple[int, float]:
        """Begin a child and wait for its end: its exit code, and for how many seconds it lived."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        child = await begin(options)
        self._children.add(child)
        if self._stopping.is_set():
            stop(child)  # the signal came while it was being begun
        code = await child.wait()
        self._children.discard(child)
        return code, loop.time() - begun

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return False
        return True
