"""Sizes of data: `"4MiB"` to bytes. Refuses texts without a unit, as durations do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Final

_UNITS: Final[Mapping[str, int]] = MappingProxyType(
    {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
)
_SIZE = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*([A-Za-z]*)\s*")


def parse_size(value: object, what: str = "a size") -> int:
    """Bytes: a whole number of them, or a text such as `"4MiB"`, `"500 kB"`. `what` names it in messages: `max_payload`.

    Raises:
        TypeError: it is neither a whole number nor a text.
        ValueError: it has no unit or an unknown one, or is less than a byte.
    """
    if isinstance(value, str):
        size = _parsed(value, what)
    elif isinstance(value, int) and not isinstance(value, bool):
        size = value
    else:
        raise TypeError(f'{what} is a text such as "4MiB", or a whole number of bytes; not {type(value).__name__}: {value!r}')
    if size < 1:
        raise ValueError(f"{what} is at least one byte, not {value!r}")
    return size


def _parsed(text: str, what: str) -> int:
    size = _SIZE.fullmatch(text)
    if size is None:
        raise ValueError(f'{what} is no size: {text!r}; write a number and a unit, such as "4MiB" or "500kB"')
    number, unit = size.groups()
    if not unit:
        raise ValueError(f'{what} needs a unit: give "{number}MiB", "{number}kB" or "{number}B", not {text!r}')
    if unit.lower() not in _UNITS:
        raise ValueError(f"{what} has a unit that is not known, {unit!r} in {text!r}; the units are B, kB, MB, GB, KiB, MiB and GiB")
    return int(Fraction(number) * _UNITS[unit.lower()])
