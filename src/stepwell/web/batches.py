"""What was asked for many runs at once and takes a while: done in the background, and shown as long as it is under way.

Nothing of it outlives the process: what a batch has not come to when it ends was not done, and nobody says that it was.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Final, TypeAlias

from stepwell.errors import DatabaseTooNew, DatabaseUnavailable, StepwellError

log = logging.getLogger(__name__)

TOLD: Final = 60.0
"""Seconds for which it is shown how one has ended."""

_TO_END: Final = 2.0
"""Seconds that a portion has to end when the application does."""

Work: TypeAlias = Callable[[Callable[[int], None]], Awaitable[int]]
"""Is told whom to tell after each portion, and how many runs it has changed is its result. What that raises must end it."""


class _Stopped(Exception):
    """It is to do nothing more."""


class Batch:
    """One of them."""

    def __init__(self, number: int, label: str, work: Work, done: str) -> None:
        self.number = number
        self.label = label
        self.count = 0
        """How many runs it has changed so far."""
        self.ended: float | None = None
        """By the clock of the loop."""
        self._done = done
        self._end = ""
        self._stopped_by: str | None = None
        self._task = asyncio.get_running_loop().create_task(self._run(work), name="stepwell-batch")

    @property
    def said(self) -> str:
        """How it stands, for people to read."""
        return self._end or f"{self.label}: under way, {self._so_far}"

    @property
    def is_over(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.ended is not None

    def stop(self, by: str) -> None:
        """Let it end after the portion that is under way. One that is over stays as it is."""
        self._stopped_by = self._stopped_by or by

    async def settled(self, limit: float) -> None:
        """Wait until it is over, for so many seconds at most."""
        await asyncio.wait([self._task], timeout=limit)

    async def abandoned(self) -> None:
        """End it now, whatever it is at."""
        self._task.cancel()
        await asyncio.wait([self._task])

    @property
    def _so_far(self) -> str:
        return f"{self.count:,} {'run was' if self.count == 1 else 'runs were'} {self._done}"

    def _tell(self, count: int) -> None:
        self.count = count
        if self._stopped_by is not None:
            raise _Stopped

    async def _run(self, work: Work) -> None:
        try:
            self.count = await work(self._tell)
            self._end = self._so_far
        except _Stopped:
            self._end = f"{self.label}: stopped by {self._stopped_by}; {self._so_far}, the others are as they were"
        except (DatabaseUnavailable, DatabaseTooNew) as error:
            log.warning("%s: %s", self.label, error)  # where it is, not all are to know who look at the page
            self._end = f"{self.label}: stopped, as the database does not answer; {self._so_far}"
        except StepwellError as error:
            self._end = f"{self.label}: stopped, {error}; {self._so_far}"
        except Exception:
            log.exception("%s failed", self.label)
            self._end = f"{self.label}: stopped by an error that the server's log shows; {self._so_far}"
        except asyncio.CancelledError:
            self._end = f"{self.label}: broken off; at least {self._so_far}"
            raise
        finally:
            self.ended = asyncio.get_running_loop().time()


class Batches:
    """Those of this process."""

    def __init__(self) -> None:
        self._batches: list[Batch] = []
        self._numbers = count(1)

    def begin(self, label: str, work: Work, done: str) -> Batch:
        """Begin one; what `work` changes was `done`."""
        batch = Batch(next(self._numbers), label, work, done)
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

    def numbered(self, number: str) -> Batch | None:
        """The one that is shown under this number."""
        return next((batch for batch in self.shown() if str(batch.number) == number), None)

    async def close(self) -> None:
        """End those that are under way, each after its portion, and log how far they have come: no page will say it."""
        batches = [batch for batch in self._batches if not batch.is_over]
        for batch in batches:
            batch.stop("the end of the server")
        async with asyncio.TaskGroup() as tasks:
            for batch in batches:
                tasks.create_task(_end(batch))
        for batch in batches:
            log.warning("%s", batch.said)


async def _end(batch: Batch) -> None:
    await batch.settled(_TO_END)
    if not batch.is_over:
        await batch.abandoned()
