"""Values as people read JSON, and no more of them than a page can hold. Pure."""

from __future__ import annotations

from json import JSONEncoder
from typing import Any, Final, NamedTuple

MOST: Final = 50_000
"""Characters of a value on a page; the whole is in a file."""

_ENCODER: Final = JSONEncoder(indent=2, ensure_ascii=False)


class Value(NamedTuple):
    """A value, or its beginning."""

    text: str
    is_cut: bool


def shown(value: Any, most: int = MOST) -> Value:
    """The value as a page shows it. What comes after the cut is not even made."""
    parts: list[str] = []
    room = most
    for part in _ENCODER.iterencode(value):
        if len(part) > room:
            parts.append(part[:room])
            return Value("".join(parts), is_cut=True)
        parts.append(part)
        room -= len(part)
    return Value("".join(parts), is_cut=False)
