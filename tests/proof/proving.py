"""Tries programs, and makes the first that goes wrong smaller."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.proof.lives import Case, Universe, Wrong, cases
from tests.proof.programs import Program, generate, shrunk


@dataclass
class Report:
    """What came of some seeds."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, Case, str]] = field(default_factory=list)

    def add(self, other: Report) -> None:
        self.counts += other.counts
        self.failures += other.failures


def prove(seeds: Iterable[int], most: int | None = None, mail: bool = False, books: bool = False) -> Report:
    """Each program of these seeds: undisturbed, and crashed at every commit."""
    report = Report()
    universe = Universe()
    for seed in seeds:
        program = generate(seed, mail=mail, books=books)
        report.counts["programs"] += 1
        case = Case(seed, mail=mail)
        try:
            undisturbed = universe.run(program, case)
            report.counts["undisturbed " + undisturbed.status] += 1
            for case in cases(seed, undisturbed.commits, most, mail=mail):
                done = universe.run(program, case)
                report.counts["crashed runs"] += 1
                report.counts["lives"] += done.lives
                report.counts["outcomes"] += len(done.outcomes)
        except Wrong as wrong:
            report.failures.append((seed, case, str(wrong)))
            universe.close()
            universe = Universe()
    universe.close()
    return report


def minimal(program: Program, case: Case) -> tuple[Program, Case, str]:
    """The smallest program found that goes wrong under some crash."""
    found: list[tuple[Case, str]] = []

    def goes_wrong(candidate: Program) -> bool:
        tried = Case(case.seed, mail=case.mail)
        with Universe() as universe:
            try:
                undisturbed = universe.run(candidate, tried)
                for tried in (case, *cases(case.seed, undisturbed.commits, 60, mail=case.mail)):
                    universe.run(candidate, tried)
            except Wrong as wrong:
                found.append((tried, str(wrong)))
                return True
        return False

    small = shrunk(program, goes_wrong) if goes_wrong(program) else program
    return small, *(found[-1] if found else (case, "only with the case above"))
