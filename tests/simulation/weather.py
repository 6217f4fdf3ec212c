"""What goes wrong, how often, from one seed: latencies, refusals, lost answers, lost hints, and how long processes last."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import NamedTuple

SLOW = 0.2
"""Seconds of latency from which on a call counts as trouble."""

LONGEST = 6.0
"""Seconds that a call takes at most, each way."""

DELICATE = frozenset({"rescue", "hand_back", "register"})
"""Seldom called, and of much consequence: these hang more often."""


class Luck(NamedTuple):
    """What becomes of one call."""

    before: float
    """Seconds until it reaches the store."""
    after: float
    """Seconds until its answer is back."""
    refused: bool
    """It does not reach the store."""
    lost: bool
    """Its answer does not come back."""

    @property
    def is_trouble(self) -> bool:
        return self.refused or self.lost or self.before > SLOW or self.after > SLOW


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """How much goes wrong. Shares are of 1; times are seconds."""

    latency: float
    """Calls that take a while."""
    stalls: float
    """Calls that take very long."""
    refused: float
    lost: float
    hints_lost: float
    hints_late: float
    mishap_every: float
    """Between two mishaps of one process, on average."""
    mishaps: tuple[str, ...]

    def luck(self, verb: str, chance: random.Random) -> Luck | None:
        """What becomes of a call; None: nothing out of the ordinary."""
        stalls = self.stalls * (20 if verb in DELICATE else 1)
        draw = chance.random()
        refused = draw < self.refused
        lost = not refused and draw < self.refused + self.lost
        before, after = self._latency(stalls, chance), self._latency(stalls, chance)
        return Luck(before, after, refused, lost) if refused or lost or before or after else None

    def _latency(self, stalls: float, chance: random.Random) -> float:
        draw = chance.random()
        if draw < stalls:
            return chance.uniform(SLOW, LONGEST)
        return chance.choice((0.0005, 0.003, 0.02, 0.15)) * chance.random() if draw < self.latency else 0.0


MISHAPS: tuple[str, ...] = ("crash", "crash", "freeze", "freeze", "drain", "stop", "hurry", "deaf", "away", "stun")


def forecast(chance: random.Random, mishaps: tuple[str, ...]) -> Weather:
    """The weather of one simulation: sometimes one kind of trouble only, sometimes all of them."""
    several = sorted(set(mishaps))
    kinds = tuple(chance.sample(several, min(2, len(several)))) if chance.random() < 0.3 else mishaps
    return Weather(
        latency=chance.choice((0.0, 0.1, 0.4)),
        stalls=chance.choice((0.0, 0.0, 0.01, 0.03)),
        refused=chance.choice((0.0, 0.01, 0.05)),
        lost=chance.choice((0.0, 0.01, 0.05)),
        hints_lost=chance.choice((0.0, 0.2, 1.0)),
        hints_late=chance.choice((0.0, 0.2)),
        mishap_every=chance.choice((3.0, 6.0, 12.0)),
        mishaps=kinds,
    )
