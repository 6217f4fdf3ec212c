"""The CSV file of the demo: the same two thousand people each time."""

from __future__ import annotations

import csv
from itertools import product
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_FIRST_NAMES: Final = (
    "Ada Alan Alonzo Barbara Claude Donald Edsger Emmy Frances Fred Grace Guido Hedy Henriette Ida Jean Joan Johannes John Karen "
    "Katherine Kurt Leslie Lise Margaret Maria Mary Niklaus Peter Radia Rosalind Ruth Shafi Sofia Sophie Stephen Susan Tim Tony Ursula"
)
_LAST_NAMES: Final = (
    "Adams Allen Backus Bartik Brooks Cerf Church Clarke Codd Curry Dijkstra Easley Floyd Goldberg Gray Hamilton Hoare Holberton Hopper "
    "Iverson Jackson Johnson Kay Keller Kleene Knuth Lamarr Lamport Liskov Lovelace McCarthy Meitner Milner Naur Noether Perlman Ritchie "
    "Rossum Scott Shannon Snyder Spärck Tardos Thompson Torvalds Turing Vaughan Wilkes Wing Zuse"
)

_NAMES: Final = [(first, last) for last, first in product(_LAST_NAMES.split(), _FIRST_NAMES.split())]

MOST: Final = len(_NAMES)


def write_recipients(file: Path, count: int) -> list[str]:
    """Write `name,email` of so many people, at most `MOST`, and return their addresses. All are different."""
    people = [(f"{first} {last}", f"{first}.{last}@example.org".lower().replace("ä", "ae")) for first, last in _NAMES[:count]]
    with file.open("w", newline="", encoding="utf-8") as lines:
        table = csv.writer(lines)
        table.writerow(("name", "email"))
        table.writerows(people)
    return [address for _, address in people]
