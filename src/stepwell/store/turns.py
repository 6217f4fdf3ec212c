"""Whose turn it is among lanes. Each has one run a round; where the round is long, what has just come may go ahead of it."""

from __future__ import annotations

from heapq import nlargest
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

L = TypeVar("L", bound=Any)

_PART: Final = 4
"""Of a claim, one part in so many is for lanes that go ahead."""

_FEW: Final = 4
"""Claims within which each lane has its turn, if there are no more: nobody needs to go ahead."""


class Turns(Generic[L]):
    """The turns of lanes, which can be compared, for each of their heads.

    Where a round takes more than a few claims, those to which something has come last go ahead, each with the oldest of its runs.
    So while thousands of runs that came all at once are worked off, a lane with little new work now and then need not wait for a turn
    among them. All that go ahead have no more than a quarter of the claims together: whatever comes, the round goes on.
    """

    def __init__(self) -> None:
        self._last: L | None = None
        self._ahead: dict[int, set[L]] = {}
        self._credit: dict[int, int] = {}

    def order(self, head: int, lanes: Mapping[L, str], limit: int) -> list[L]:
        """These lanes, each with the id of its newest run, as they are to be served by a claim of so many. Ids grow with time."""
        last = self._last
        in_turn = sorted(lanes, key=lambda lane: (last is not None and lane <= last, lane))
        self._ahead[head] = set()
        if len(in_turn) <= _FEW * limit:
            return in_turn
        credit = min(self._credit.get(head, 0), _PART) + limit
        ahead = nlargest(credit // _PART, in_turn[limit:], key=lanes.__getitem__)
        self._credit[head] = credit - _PART * len(ahead)
        self._ahead[head].update(ahead)
        return [*ahead, *(lane for lane in in_turn if lane not in self._ahead[head])]

    def served(self, head: int, lanes: Iterable[L]) -> None:
        """Runs of these were chosen, in this order. Those that went ahead are no part of the round: it goes on behind the others."""
        ahead = self._ahead.get(head, set())
        for lane in lanes:
            if lane not in ahead:
                self._last = lane
