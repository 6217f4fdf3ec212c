"""What the workers of an app in this process have done so far, as plain numbers, for those who watch it. Nothing waits for them.

Owned by the loop of the app: they are changed and read there only.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

SECONDS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 300.0, 3600.0)
"""Upper bounds of durations of steps."""

SIZES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000)
"""Upper bounds of how many writes share a transaction."""


class Histogram:
    """How many values lay below which bound."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Of those up to each bound and beyond the one before it; the last are beyond all bounds."""
        self.total = 0.0
        """Of all values."""

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Counters:
    """All that is counted. They only grow."""

    __slots__ = ("attempts_failed", "batches", "claimed", "claims", "leases_lapsed", "leases_lost", "steps", "workers")

    def __init__(self) -> None:
        self.workers = 0
        """That have begun."""
        self.claims = 0
        """How often runs were asked for, and the store answered."""
        self.claimed = 0
        """Runs that were given."""
        self.batches = Histogram(SIZES)
        """Writes of each transaction of a committer."""
        self.steps = Histogram(SECONDS)
        """How long attempts took that have ended, in seconds."""
        self.attempts_failed = 0
        """How many of them have failed."""
        self.leases_lapsed = 0
        """How often a worker has not reached the database for its whole lease."""
        self.leases_lost = 0
        """How often a worker was taken for dead."""
