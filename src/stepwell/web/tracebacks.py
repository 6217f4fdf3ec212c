"""Reads a traceback as it is stored: which frames are the user's, which a library's, and where it happened. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stepwell.errors import ErrorInfo

_FRAME: Final = re.compile(r'(?P<margin>[ |]*)File "(?P<file>.*)", line (?P<line>\d+)(?:, in (?P<function>.*))?$')
_BEGINS: Final = "Traceback (most recent call last):"
_LIBRARY: Final = re.compile(
    r"[/\\](?:site|dist)-packages[/\\]|[/\\]lib(?:64)?[/\\]python3[^/\\]*[/\\]|[/\\]Lib[/\\]|[/\\]stepwell[/\\](?:engine|core|store)[/\\]|^<"
)
"""Files that nobody has written for this run: installed ones, Python's own, the engine's, and those that are no files."""

_SEPARATOR: Final = re.compile(r"[/\\]")
_SHOWN_PARTS: Final = 2
"""Of a path, so that it can be read at a glance."""


class Part(NamedTuple):
    """Lines that follow each other."""

    text: str
    folded: int
    """How many frames of libraries it is; 0: it is the user's, or what is said around frames."""


class Place(NamedTuple):
    """Where something was raised."""

    file: str
    line: int
    function: str

    @property
    def short(self) -> str:
        """Where it was, for a glance: `app/pay.py:41`."""
        parts = _SEPARATOR.split(self.file)
        return f"{'/'.join(parts[-_SHOWN_PARTS:])}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A traceback, as pages show it."""

    parts: tuple[Part, ...]
    place: Place | None
    """Where the user's code was that raised it, or led to it; None: no code of the user's is in it."""

    @property
    def folded(self) -> int:
        """How many frames of libraries are in it."""
        return sum(part.folded for part in self.parts)


def trace_of(error: ErrorInfo) -> Trace:
    """What is in the traceback of an error. Of the failure of a step it is the place in the step that counts, which comes first."""
    blocks: list[Place | None] = []
    parts: list[Part] = []
    for text, place, is_library in _pieces(error.traceback):
        if place is None and _BEGINS in text:
            blocks.append(None)
        if place is not None and not is_library:
            blocks[-1:] = [place]
        _add(parts, text, folded=place is not None and is_library)
    found = [place for place in blocks if place is not None]
    inner_first = error.type in {"StepFailed", "ChildFailed"}
    return Trace(parts=tuple(parts), place=(found[0] if inner_first else found[-1]) if found else None)


def _pieces(traceback: str) -> Iterator[tuple[str, Place | None, bool]]:
    """Frames, each with the lines of code below it, and the lines around them."""
    lines = traceback.splitlines()
    at = 0
    while at < len(lines):
        frame = _FRAME.match(lines[at])
        if frame is None:
            yield lines[at], None, False
            at += 1
            continue
        begin, within = at, f"{frame['margin']}  "
        at += 1
        while at < len(lines) and lines[at].startswith(within) and _FRAME.match(lines[at]) is None:
            at += 1
        file = frame["file"]
        place = Place(file, int(frame["line"]), frame["function"] or "")
        yield "\n".join(lines[begin:at]), place, _LIBRARY.search(file) is not None


def _add(parts: list[Part], text: str, *, folded: bool) -> None:
    if parts and (parts[-1].folded > 0) is folded:
        parts[-1] = Part(f"{parts[-1].text}\n{text}", parts[-1].folded + folded)
    else:
        parts.append(Part(text, int(folded)))
