"""Which steps are shown: all, those that failed, that were slow, or all but the quiet ones; and those whose name has a text in it."""

from __future__ import annotations

from statistics import median_low
from typing import TYPE_CHECKING, Final, NamedTuple

from stepwell.web.timeline.tracks import WAITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stepwell.web.timeline.tracks import Track
    from stepwell.web.timeline.view import View

SLOW_TIMES: Final = 3
"""A step is slow that took so many times as long as half of the run's steps, at least."""
_SLOW_LEAST: Final = 0.05
"""Seconds. What takes less is not slow, whatever it is compared with."""


class Picked(NamedTuple):
    """The steps by kind, each in order."""

    every: Sequence[Track]
    failed: list[Track]
    slow: list[Track]
    loud: list[Track]

    def shown(self, view: View) -> Sequence[Track]:
        """What the view asks for, whenever it was."""
        chosen: Sequence[Track] = {"all": self.every, "failed": self.failed, "slow": self.slow, "loud": self.loud}[view.only]
        if not view.find:
            return chosen
        text = view.find.casefold()
        return [track for track in chosen if text in track.label.casefold() or text in track.key.casefold()]


def picked(tracks: Sequence[Track]) -> Picked:
    """Sort the steps."""
    lengths = [0.0 if track.kind in WAITS else track.worked for track in tracks]
    bound = _slow_from([length for length, track in zip(lengths, tracks, strict=True) if track.kind not in WAITS])
    failed, slow, loud = [], [], []
    for track, length in zip(tracks, lengths, strict=True):
        is_slow = length >= bound
        if is_slow:
            slow.append(track)
        if track.state == "failed":
            failed.append(track)
        if is_slow or track.state != "completed" or len(track.attempts) > 1 or track.kind in WAITS:
            loud.append(track)
    return Picked(tracks, failed, slow, loud)


def _slow_from(worked: list[float]) -> float:
    """From how many seconds on a step is slow."""
    return max(_SLOW_LEAST, SLOW_TIMES * median_low(worked)) if len(worked) > 1 else float("inf")
