"""Tries seeds, one after the other, and gathers what came of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.simulation.weather import MISHAPS
from tests.simulation.world import Universe, Wrong


@dataclass
class Report:
    """What came of some seeds."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def add(self, other: Report) -> None:
        """Take in another report."""
        self.counts += other.counts
        self.failures += other.failures


def simulate(seeds: Iterable[int], store: str, mishaps: tuple[str, ...] = MISHAPS) -> Report:
    """Each of these seeds, on a loop of its own."""
    report = Report()
    for seed in seeds:
        with Universe() as universe:
            try:
                report.counts += universe.run(seed, store, mishaps=mishaps).counts
            except Wrong as wrong:
                report.failures.append(str(wrong))
    return report


def first_failure(seeds: Iterable[int], store: str, mishaps: tuple[str, ...] = MISHAPS) -> str | None:
    """What goes wrong first with these seeds; None: nothing."""
    for seed in seeds:
        if failures := simulate([seed], store, mishaps).failures:
            return failures[0]
    return None
