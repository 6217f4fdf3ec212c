"""What commands print: one JSON document, or a table for people. Nothing here asks a database for anything.

Rich is imported where something is drawn with it, so that commands that draw nothing are quick.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from stepwell.core.plain import plain
from stepwell.core.status import RunStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import Console, RenderableType

_STYLES: Final[Mapping[str, str]] = {
    RunStatus.PENDING: "default",
    RunStatus.RUNNING: "cyan",
    RunStatus.SLEEPING: "blue",
    RunStatus.PAUSED: "yellow",
    RunStatus.COMPLETED: "green",
    RunStatus.FAILED: "bold red",
    RunStatus.CANCELED: "dim",
}

_GAP: Final = 2
_WIDE: Final = 100_000
"""Columns of what is not a terminal: nothing is cut off there, since programs and files read it."""


# -- for programs


def print_json(value: Any) -> None:
    """Print one JSON document: see `core.plain`."""
    # Signs that the output's encoding cannot write are escaped in JSON's own way.
    is_unicode = (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")
    sys.stdout.write(json.dumps(plain(value), indent=2, ensure_ascii=not is_unicode) + "\n")


# -- for people


def console(*, stderr: bool = False) -> Console:
    """Where to draw: in colours on a terminal, and as plain text that is not wrapped elsewhere. `NO_COLOR` is heeded."""
    from rich.console import Console  # noqa: PLC0415  # only what draws needs it

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _WIDE
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False, soft_wrap=not stream.isatty())


def draw(what: RenderableType) -> None:
    """Print what Rich draws. Where it is not a terminal, no line is filled up with blanks."""
    target = console()
    if target.is_terminal:
        target.print(what)
        return
    with target.capture() as captured:
        target.print(what)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def say(text: str) -> None:
    """Print a line for people."""
    sys.stdout.write(printable(text) + "\n")


def note(text: str) -> None:
    """Print a line beside the result, for people."""
    sys.stderr.write(printable(text) + "\n")


def complain(text: str) -> None:
    """Print what went wrong, as one line."""
    sys.stderr.write("error: " + printable(" ".join(text.split())) + "\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table.

    Attributes:
        title: what stands above it.
        rank: which columns a narrow terminal does without: those of the highest rank first. 0: none.
        short: characters that are enough of it, where room is short.
        elastic: whether it then gets the room that is left beyond that, and shows where it was cut.
    """

    title: str
    rank: int = 0
    short: int | None = None
    elastic: bool = False


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Print rows under their titles; `empty` where there are none."""
    cells = [[cell_text(cell) for cell in row] for row in rows]
    if not cells:
        note(empty)
        return
    draw(table(columns, cells, console().width))


def table(columns: Sequence[Column], cells: Sequence[Sequence[str]], width: int) -> RenderableType:
    """The table as it fits into so many characters: first columns are left out, then what may be short is cut."""
    from rich.table import Table  # noqa: PLC0415  # only what draws needs it
    from rich.text import Text  # noqa: PLC0415

    shown = fitting(columns, cells, width)
    is_tight = _natural_width(columns, cells, shown) > width
    left = max(0, width - _natural_width(columns, cells, shown, shortened=True)) if is_tight else None
    drawn = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold")
    for place in shown:
        drawn.add_column(columns[place].title, overflow="fold")
    for row in cells:
        drawn.add_row(*(Text(_cut(row[place], columns[place], left), style=_STYLES.get(row[place], "")) for place in shown))
    return drawn


def fitting(columns: Sequence[Column], cells: Sequence[Sequence[str]], width: int) -> list[int]:
    """Which columns to show in so many characters."""
    shown = list(range(len(columns)))
    while _natural_width(columns, cells, shown, shortened=True) > width:
        place = max(shown, key=lambda place: columns[place].rank)
        if columns[place].rank == 0:
            break
        shown.remove(place)
    return shown


def _natural_width(columns: Sequence[Column], cells: Sequence[Sequence[str]], shown: list[int], *, shortened: bool = False) -> int:
    total = -_GAP
    for place in shown:
        column = columns[place]
        widest = max((len(_cut(row[place], column, 0 if shortened else None)) for row in cells), default=0)
        total += max(widest, len(column.title)) + _GAP
    return total


def _cut(text: str, column: Column, left: int | None) -> str:
    """The text as it stands in the column, where so many characters are left for the elastic one. None: there is room for all."""
    if left is None or column.short is None:
        return text
    if not column.elastic:
        return text[: column.short]
    room = column.short + left
    return text if len(text) <= room else f"{text[: room - 1]}…"


def cell_text(value: object) -> str:
    """A value as it stands in a table, on one line."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return local_time(value)
    if isinstance(value, list | tuple):
        return ", ".join(map(cell_text, value)) or "-"
    return printable(str(value)).replace("\n", " ")


def local_time(at: datetime) -> str:
    """To the second, in the zone of this machine: people compare it with their own clocks."""
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def status_style(status: str) -> str:
    """The style in which Rich draws a status."""
    return _STYLES.get(status, "")


def compact_json(value: Any) -> str:
    """A value of a run on one line, for people."""
    return printable(json.dumps(plain(value), ensure_ascii=False))


def printable(text: str) -> str:
    """The text without signs that would command the terminal: what a run says may come from anywhere."""
    return "".join(sign if sign.isprintable() or sign in "\n\t" else sign.encode("unicode_escape").decode() for sign in text)
