"""Inputs of runs in a body of JSON, as starts take them: the typed object where the code is here.

They are read from the text that was sent, and not from what a parser has made of it: bytes are base64 there,
dates and Decimals are texts, and sets are lists, which a strict model takes from JSON and not from Python.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias, TypeVar

from stepwell.app import Stepwell
from stepwell.errors import InvalidInput
from stepwell.web.masking import Hides
from stepwell.web.prose import HIDDEN

T = TypeVar("T")
Path: TypeAlias = tuple[str | int, ...]

_DECODER: Final = json.JSONDecoder(parse_int=str, parse_float=str)  # of values only the ends are of interest
_SPACE: Final = re.compile(r"[ \t\n\r]*")


class Inputs:
    """Reads inputs for a workflow.

    Args:
        app: who starts it.
        workflow: its name.
        version: of it.
        hides: which names have values that are not shown.
    """

    def __init__(self, app: Stepwell, workflow: str, version: str | None, hides: Hides) -> None:
        self._app = app
        self._target = workflow, version
        self._hides = hides

    def read(self, text: str) -> Any:
        """The input that a JSON text stands for.

        Raises:
            InvalidInput: it does not fit, or has a mark in it in the place of what is hidden. Its errors say where in the text, and not
                which choices of a union were tried.
        """
        given = _DECODER.decode(text)
        if marks := list(_marks(given, self._hides, ())):
            raise _with_marks(self._target[0], marks)
        try:
            return self._app.workflows.read_input(*self._target, text)
        except InvalidInput as error:
            error.errors = [{**each, "loc": _place(given, each["loc"], missing=each["type"] == "missing")} for each in error.errors]
            raise

    def read_all(self, text: str) -> list[Any]:
        """The inputs that a JSON list stands for. Raises InvalidInput: one does not fit, which it names."""
        inputs = []
        for place, each in enumerate(items(text)):
            try:
                inputs.append(self.read(each))
            except InvalidInput as error:
                error.place = place
                error.add_note(f"It is input number {place} of start_many; nothing was started.")
                raise
        return inputs


def _marks(given: Any, hides: Hides, path: Path) -> Iterator[Path]:
    """Where what was shown in the place of a hidden value was sent back."""
    match given:
        case dict():
            for name, item in given.items():
                if hides(name) and isinstance(item, str) and item.startswith(HIDDEN):
                    yield (*path, name)
                else:
                    yield from _marks(item, hides, (*path, name))
        case list():
            for place, item in enumerate(given):
                yield from _marks(item, hides, (*path, place))


def _with_marks(workflow: str, marks: list[Path]) -> InvalidInput:
    told = f"{HIDDEN} stands for a value that is not shown; write the value itself"
    errors = [{"type": "hidden", "loc": path, "msg": told} for path in marks]
    return InvalidInput(f"the input does not fit workflow {workflow!r}: {told}.", workflow=workflow, errors=errors)


def _place(given: Any, path: Path, *, missing: bool) -> Path:
    found: list[str | int] = []
    for part in path:
        is_there = (isinstance(given, dict) and part in given) or (isinstance(given, list) and isinstance(part, int) and part < len(given))
        if is_there:
            given = given[part]
            found.append(part)
    return (*found, *path[-1:]) if missing else tuple(found)


# -- texts


def member(text: str, name: str) -> str | None:
    """The text of the last member of that name of a JSON object; None: there is none."""
    return dict(_parts(text, _named)).get(name)


def items(text: str) -> list[str]:
    """The texts of the items of a JSON list."""
    return [part for _, part in _parts(text, _unnamed)]


def _parts(text: str, before: Callable[[str, int], tuple[T, int]]) -> Iterator[tuple[T, str]]:
    """What is between the brackets of a text that is known to be right."""
    at = _after_space(text, 0) + 1
    while text[_after_space(text, at)] not in "]}":
        name, begin = before(text, _after_space(text, at))
        _, end = _DECODER.raw_decode(text, begin)
        yield name, text[begin:end]
        at = _after_space(text, end)
        at += text[at] == ","


def _named(text: str, at: int) -> tuple[str, int]:
    name, end = _DECODER.raw_decode(text, at)
    return name, _after_space(text, _after_space(text, end) + 1)


def _unnamed(_: str, at: int) -> tuple[None, int]:
    return None, at


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return at if found is None else found.end()
