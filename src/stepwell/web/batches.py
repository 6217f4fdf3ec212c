"""What was asked for many runs at once and takes a while: done in the background, and shown as long as it is under way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from stepwell.errors import StepwellError

log = logging.getLogger(__name__)

TOLD: Final = 60.0
"""Seconds for which it is shown how one has ended."""


class Batch:
    """One of them."""

    def __init__(self, label: str, work: Callable[[], Awaitable[int]], done: str) -> None:
        self.label = label
        self.said = f"{label}: under way"
        self.ended: float | None = None
        """By the clock of the loop."""
        self._done = done
        self._task = asyncio.get_running_loop().create_task(self._run(work), name="stepwell-batch")

    @property
    def is_over(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.ended is not None

    async def settled(self, limit: float) -> None:
        """Wait until it is over, for so many seconds at most."""
        await asyncio.wait([self._task], timeout=limit)

    async def _run(self, work: Callable[[], Awaitable[int]]) -> None:
        try:
            count = await work()
        except StepwellError as error:
            self.said = f"{self.label}: stopped, {error}"
        except Exception:
            log.exception("%s failed", self.label)
            self.said = f"{self.label}: stopped by an error that the server's log shows"
        else:
            self.said = f"{count:,} {'run was' if count == 1 else 'runs were'} {self._done}"
        self.ended = asyncio.get_running_loop().time()


class Batches:
    """Those of this process."""

    def __init__(self) -> None:
        self._batches: list[Batch] = []

    def begin(self, label: str, work: Callable[[], Awaitable[int]], done: str) -> Batch:
        """Begin one; `work` says how many runs it has changed, which were `done`."""
        batch = Batch(label, work, done)
        self._batches.append(batch)
        return batch

    def told(self, batch: Batch) -> None:
        """Whoever has begun it knows how it stands: if it is over, it is not shown."""
        if batch.is_over:
            self._batches.remove(batch)

    def shown(self) -> list[Batch]:
        """Those under way, and those that have ended just now: nobody has seen yet how."""
        now = asyncio.get_running_loop().time()
        self._batches = [batch for batch in self._batches if batch.ended is None or now - batch.ended < TOLD]
        return self._batches
