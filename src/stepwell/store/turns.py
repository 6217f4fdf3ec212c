"""Whose turn it is among lanes. Each has one run a round; work that comes to an idle one need not wait for the whole of it."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

L = TypeVar("L", bound=Any)

_PART: Final = 4
"""Of a claim, one part in so many is for lanes that go ahead."""


class Turns(Generic[L]):
    """The turns of lanes, which can be compared, for each of their heads.

    Where more lanes wait than a claim has room for, one to which something has come since it was last seen empty goes ahead, once. So
    the little work of one lane does not wait until thousands of others have had their turn. The newest go first, since it is they whom
    a long round would keep longest. All together have no more than a quarter of the claims: whatever comes, the round goes on.
    """

    def __init__(self) -> None:
        self._last: L | None = None
        self._waiting: dict[int, set[L]] = {}
        self._came: dict[int, dict[L, None]] = {}  # the newest last
        self._ahead: dict[int, set[L]] = {}
        self._credit: dict[int, int] = {}

    def look(self, head: int, asked: Mapping[L, object], waiting: Collection[L]) -> None:
        """Of the lanes that were asked for, in these something waits."""
        before = self._waiting.get(head, set())
        came = self._came.setdefault(head, {})
        for lane in [lane for lane in came if lane in asked and lane not in waiting]:
            del came[lane]
        if before:  # else all have come at once, and none has a round to wait for
            came.update(dict.fromkeys(reversed(self._in_turn(lane for lane in waiting if lane not in before))))
        self._waiting[head] = before.difference(asked).union(waiting)

    def order(self, head: int, lanes: Collection[L], limit: int) -> list[L]:
        """These lanes as they are to be served by a claim of so many runs."""
        in_turn = self._in_turn(lanes)
        ahead = self._ahead[head] = set()
        if len(in_turn) <= limit:
            return in_turn  # each has a part anyway
        next_ones = set(in_turn[:limit])
        credit = min(self._credit.get(head, 0), _PART) + limit
        newest = (lane for lane in reversed(self._came.get(head, {})) if lane in lanes and lane not in next_ones)
        first = list(islice(newest, credit // _PART))
        ahead.update(first)
        self._credit[head] = credit - _PART * len(first)
        return [*first, *(lane for lane in in_turn if lane not in ahead)]

    def served(self, head: int, lanes: Iterable[L]) -> None:
        """Runs of these were chosen, in this order. Those that went ahead are no part of the round: it goes on behind the others."""
        came, ahead = self._came.get(head, {}), self._ahead.get(head, set())
        for lane in lanes:
            came.pop(lane, None)
            if lane not in ahead:
                self._last = lane

    def _in_turn(self, lanes: Iterable[L]) -> list[L]:
        """The lane after the one served last begins."""
        last = self._last
        return sorted(lanes, key=lambda lane: (last is not None and lane <= last, lane))
