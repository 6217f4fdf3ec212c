"""What was asked for many runs at once and takes a while: done in the background, and shown as long as it is under way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from stepwell.errors import StepwellError

log = logging.getLogger(__name__)


class Batch:
    """One of them."""

    def __init__(self, label: str, work: Callable[[], Awaitable[int]], done: str) -> None:
        self.label = label
        self.said = f"{label}: under way"
        self.is_over = False
        self._done = done
        self._task = asyncio.get_running_loop().create_task(self._run(work), name="stepwell-batch")

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
        self.is_over = True


class Batches:
    """Those of this process."""

    def __init__(self) -> None:
        self._batches: list[Batch] = []

    def begin(self, label: str, work: Callable[[], Awaitable[int]], done: str) -> Batch:
        """Begin one; `work` says how many runs it has changed, which were `done`."""
        batch = Batch(label, work, done)
        self._batches.append(batch)
        return batch

    def shown(self) -> list[Batch]:
        """Those under way."""
        self._batches = [batch for batch in self._batches if not batch.is_over]
        return self._batches
