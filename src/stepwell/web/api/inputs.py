"""Inputs of runs in a body of JSON, as starts take them: the typed object where the code is here.

They are read from the text that was sent, and not from what a parser has made of it: bytes are base64 there,
dates and Decimals are texts, and sets are lists, which a strict model takes from JSON and not from Python.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

from stepwell.app import Stepwell
from stepwell.errors import InvalidInput

T = TypeVar("T")

_DECODER: Final = json.JSONDecoder(parse_int=str, parse_float=str)  # of values only the ends are of interest
_SPACE: Final = re.compile(r"[ \t\n\r]*")


def read_input(app: Stepwell, workflow: str, version: str | None, text: str) -> Any:
    """The input that a JSON text stands for, for this workflow.

    Raises:
        InvalidInput: it does not fit. Its errors say where in the text, and not which choices of a union were tried.
    """
    try:
        return app.workflows.read_input(workflow, version, text)
    except InvalidInput as error:
        given = _DECODER.decode(text)
        error.errors = [{**each, "loc": _place(given, each["loc"], missing=each["type"] == "missing")} for each in error.errors]
        raise


def read_inputs(app: Stepwell, workflow: str, version: str | None, text: str) -> list[Any]:
    """The inputs that a JSON list stands for. Raises InvalidInput: one does not fit, which it names."""
    inputs = []
    for place, each in enumerate(items(text)):
        try:
            inputs.append(read_input(app, workflow, version, each))
        except InvalidInput as error:
            error.place = place
            error.add_note(f"It is input number {place} of start_many; nothing was started.")
            raise
    return inputs


def _place(given: Any, path: tuple[str | int, ...], *, missing: bool) -> tuple[str | int, ...]:
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
