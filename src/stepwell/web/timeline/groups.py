"""Puts steps together whose names begin alike, where there are too many to look at one by one; and cuts what is left into pages."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from stepwell.web.timeline.tracks import Track

MANY: Final = 200
"""More steps than this are grouped."""
PAGE: Final = 500
"""Rows of a page."""

_LEAST: Final = 10
"""Fewer steps than this make no group."""
_DIGITS: Final = "0123456789"
_SHORTER: Final = re.compile(r"(.*[_\-.:/ #@+,;|=])[^_\-.:/ #@+,;|=]", re.DOTALL)
"""What is left when the last part is cut off: `send_email_` of `send_email_ada`."""
_CUTS: Final = 6
"""How often a part is cut off names, until they are alike: a UUID has five."""


class Group(NamedTuple):
    """Steps whose names begin alike."""

    pattern: str
    """`send_email_*`, or `send_email` if they all have this name. By it the group is opened."""
    tracks: Sequence[Track]

    @property
    def prefix(self) -> str:
        """With which the names begin."""
        return self.pattern.removesuffix("*")


class Inner(NamedTuple):
    """A step that is shown as one of a group."""

    track: Track


Item: TypeAlias = "Group | Inner | Track"


def items_of(tracks: Sequence[Track], opened: Collection[str]) -> list[Item]:
    """The rows: steps, and groups at the place of their first one; those that are open with their steps behind them."""
    patterns = _patterns(tracks) if len(tracks) > MANY else {}
    if not patterns:
        return list(tracks)
    members: dict[str, list[Track]] = {}
    order: list[str | Track] = []
    for track in tracks:
        pattern = patterns.get(track.name)
        if pattern is None:
            order.append(track)
        elif pattern in members:
            members[pattern].append(track)
        else:
            members[pattern] = [track]
            order.append(pattern)
    items: list[Item] = []
    for each in order:
        if isinstance(each, str):
            items.append(Group(each, members[each]))
            if each in opened:
                items += map(Inner, members[each])
        else:
            items.append(each)
    return items


def locate(track: Track, items: Sequence[Item]) -> tuple[str | None, int]:
    """The group that a step is in, if it is in one, and the page on which its own row is when that is open."""
    for place, item in enumerate(items):
        if item is track:
            return None, place // PAGE + 1
        if isinstance(item, Group) and track in item.tracks:
            return item.pattern, (place + 1 + item.tracks.index(track)) // PAGE + 1
    return None, 1


def _patterns(tracks: Sequence[Track]) -> dict[str, str]:
    """For each name that is in a group, the pattern of the group."""
    left = Counter(track.name for track in tracks)
    patterns = {name: name for name, count in left.items() if count >= _LEAST}
    stems = {name: _without_number(name) for name in left if name not in patterns}
    for _ in range(_CUTS):
        if not stems:
            break
        counts: Counter[str] = Counter()
        for name, stem in stems.items():
            counts[stem] += left[name]
        found = {name: f"{stem}*" for name, stem in stems.items() if stem and counts[stem] >= _LEAST}
        patterns |= found
        stems = {name: _shorter(stem) for name, stem in stems.items() if stem and name not in found}
    return patterns


def _without_number(name: str) -> str:
    """`send_email_17` → `send_email_`. A name that is nothing but a number begins like no other."""
    return name.rstrip(_DIGITS)


def _shorter(stem: str) -> str:
    """`send_email_ada` → `send_email_` → `send_`; nothing where there is nothing to cut."""
    found = _SHORTER.match(stem)
    return found[1] if found else ""
