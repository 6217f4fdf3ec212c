"""What of a timeline is asked for: all of it is in the address, so that it can be linked to. Refuses nothing that somebody typed."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlencode

ONLY: Final = ("all", "failed", "slow", "loud")
"""Which steps are shown. `loud`: all but the quiet ones."""

_OURS: Final = frozenset({"only", "find", "page", "open", "from", "to", "step", "attempt"})
_DIGITS: Final = 9
"""Of a page or attempt: there are no more, and a number of a million digits takes long to read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What the address asks for. What it does not name, or names wrongly, is as if it were not there."""

    only: str = "all"
    find: str = ""
    """Part of a step's name or key; great and small letters alike."""
    page: int | None = None
    """From 1; None: the page that has the chosen step, else the first."""
    opened: tuple[str, ...] = ()
    """The groups whose steps are shown one by one."""
    begin: float | None = None
    """Seconds after the beginning of the axis; with `end`, the part of time that is shown."""
    end: float | None = None
    step: str | None = None
    """The key of the step that is chosen."""
    attempt: int | None = None
    others: tuple[tuple[str, str], ...] = ()
    """Parameters of the page around, which links keep."""

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]]) -> View:
        """What these parameters ask for: `only`, `find`, `page`, `open` (several times), `from` and `to`, `step` and `attempt`."""
        pairs = list(pairs)
        given = dict(pairs)
        begin, end = _window(given.get("from", ""), given.get("to", ""))
        only = given.get("only", "all")
        return cls(
            only=only if only in ONLY else "all",
            find=given.get("find", "").strip(),
            page=_number(given.get("page", "")),
            opened=tuple(dict.fromkeys(text for name, text in pairs if name == "open" and text)),
            begin=begin,
            end=end,
            step=given.get("step") or None,
            attempt=_number(given.get("attempt", "")),
            others=tuple(pair for pair in pairs if pair[0] not in _OURS),
        )

    def but(self, **changes: Any) -> str:
        """The address of the same timeline, but for these fields: `?only=failed&page=2`."""
        return f"?{urlencode(replace(self, **changes).pairs())}"

    def pairs(self, *without: str) -> list[tuple[str, str]]:
        """As parameters, without those of these names; for the hidden fields of a form, too."""
        named: list[tuple[str, object]] = [
            *self.others,
            ("only", None if self.only == "all" else self.only),
            ("find", self.find or None),
            ("page", self.page),
            *(("open", group) for group in self.opened),
            ("from", _seconds(self.begin)),
            ("to", _seconds(self.end)),
            ("step", self.step),
            ("attempt", self.attempt),
        ]
        return [(name, str(value)) for name, value in named if value is not None and name not in without]


def _window(begin: str, end: str) -> tuple[float, float] | tuple[None, None]:
    try:
        window = (float(begin), float(end))
    except ValueError:
        return None, None
    return window if all(map(math.isfinite, window)) and window[0] < window[1] else (None, None)


def _number(text: str) -> int | None:
    return (int(text) or None) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None


def _seconds(seconds: float | None) -> str | None:
    """To the microsecond, as steps are recorded."""
    return None if seconds is None else f"{seconds:.6f}".rstrip("0").rstrip(".")
