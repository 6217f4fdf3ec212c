"""Tells where a JSON value does not fit a JSON schema, as far as that can be told without the code that the schema was made of.

For a start by name, where nobody here has the workflow: the worker validates again, and its word counts. So whatever is not
understood fits. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple
from uuid import UUID

from stepwell.web.schemas import Schema

_DEEPEST: Final = 50
"""Levels of a schema that are gone into."""

_MOST: Final = 50_000
"""Parts of a value that are looked at."""

_MATCHED: Final = 200
"""Characters of a text that is held against a pattern."""

_EXACT: Final = 10**15
"""Beyond it, floats are no more exact than whole numbers."""

_RISKY: Final = re.compile(r"\)[*+{]|\\[1-9]|(?:[*+{].*){4}", re.DOTALL)
"""Patterns that may take very long: those who publish them have other engines in mind."""


class Misfit(NamedTuple):
    """What does not fit, and where."""

    path: tuple[str | int, ...]
    message: str


def misfits(schema: Schema, value: Any) -> list[Misfit]:
    """All that does not fit. Of a very large value, what lies at its beginning."""
    return _Check().found(schema, value, ())


class _Check:
    """Of one value. A schema may name itself in whatever way, so what is looked at is counted."""

    def __init__(self) -> None:
        self._left = _MOST
        self._depth = 0

    def found(self, schema: Schema, value: Any, path: tuple[str | int, ...]) -> list[Misfit]:
        self._left -= 1
        if self._left < 0 or self._depth >= _DEEPEST:
            return []
        self._depth += 1
        try:
            return list(self._found(schema, value, path))
        finally:
            self._depth -= 1

    def _found(self, schema: Schema, value: Any, path: tuple[str | int, ...]) -> Iterator[Misfit]:
        options = schema.options
        if options:
            yield from self._found_in_options(options, value, path)
            return
        if schema.types and not any(_is(value, kind) for kind in schema.types):
            yield Misfit(path, f"this is {_words(value)}, and should be {' or '.join(_NAMES.get(kind, kind) for kind in schema.types)}")
            return
        choices = schema.choices
        if choices is not None and not any(_same(value, choice) for choice in choices):
            yield Misfit(path, "this is none of those that can be chosen")
            return
        match value:
            case str():
                yield from (Misfit(path, message) for message in _of_text(schema, value))
            case bool() | None:
                pass
            case int() | float():
                yield from (Misfit(path, message) for message in _of_number(schema, value))
            case list():
                yield from self._of_list(schema, value, path)
            case dict():
                yield from self._of_object(schema, value, path)

    def _found_in_options(self, options: list[Schema], value: Any, path: tuple[str | int, ...]) -> Iterator[Misfit]:
        found = [self.found(option, value, path) for option in options]
        if all(found):
            # Those that go deepest are of the option that was meant.
            yield from max(found, key=lambda each: max(len(misfit.path) for misfit in each))

    def _of_list(self, schema: Schema, value: list[Any], path: tuple[str | int, ...]) -> Iterator[Misfit]:
        yield from (Misfit(path, message) for message in _length(schema, len(value), "Items", "items"))
        first = schema.node.get("prefixItems")
        places = first if isinstance(first, list) else []
        rest = schema.node.get("items")
        for place, item in enumerate(value):
            node = places[place] if place < len(places) else rest
            if isinstance(node, Mapping):
                yield from self.found(schema.part(node), item, (*path, place))

    def _of_object(self, schema: Schema, value: dict[str, Any], path: tuple[str | int, ...]) -> Iterator[Misfit]:
        properties, rest = schema.properties, schema.node.get("additionalProperties")
        for name in sorted(schema.required - value.keys()):
            yield Misfit((*path, name), "this is missing")
        for name, item in value.items():
            if name in properties:
                yield from self.found(properties[name], item, (*path, name))
            elif rest is False:
                yield Misfit((*path, name), "there is no such field")
            elif isinstance(rest, Mapping):
                yield from self.found(schema.part(rest), item, (*path, name))
        yield from (Misfit(path, message) for message in _length(schema, len(value), "Properties", "fields"))


def _of_text(schema: Schema, value: str) -> Iterator[str]:
    yield from _length(schema, len(value), "Length", "characters")
    pattern = schema.text("pattern")
    if pattern and len(value) <= _MATCHED and not _matches(pattern, value):
        yield f"this does not match {pattern}"
    reader = _FORMATS.get(schema.text("format"))
    if reader is not None:
        try:
            reader[0](value)
        except ValueError:
            yield f"this is {reader[1]}"


def _matches(pattern: str, value: str) -> bool:
    if _RISKY.search(pattern):
        return True
    try:
        return re.search(pattern, value) is not None
    except re.error:
        return True


def _of_number(schema: Schema, value: float) -> Iterator[str]:
    for name, fits, words in _LIMITS:
        limit = schema.number(name)
        if limit is not None and not fits(value, limit):
            yield f"this should be {words} {limit}"
    factor = schema.number("multipleOf")
    if factor and not _is_multiple(value, factor):
        yield f"this should be a multiple of {factor}"


def _is_multiple(value: float, factor: float) -> bool:
    if isinstance(value, int) and isinstance(factor, int):
        return value % factor == 0
    quotient = Decimal(str(value)) / Decimal(str(factor))
    return abs(quotient) > _EXACT or quotient == quotient.to_integral_value()


def _length(schema: Schema, length: int, what: str, words: str) -> Iterator[str]:
    least, most = schema.number(f"min{what}"), schema.number(f"max{what}")
    if least is not None and length < least:
        yield f"this has {length} {words}, and should have {least} at least"
    if most is not None and length > most:
        yield f"this has {length} {words}, and may have {most}"


def _is(value: Any, kind: str) -> bool:
    return kind not in _KINDS or _KINDS[kind](value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _same(value: Any, choice: Any) -> bool:
    """As JSON has it: true is not 1."""
    return value == choice and isinstance(value, bool) == isinstance(choice, bool)


def _words(value: Any) -> str:
    return next(_NAMES[kind] for kind, test in _KINDS.items() if test(value))


_KINDS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: _is_number(value) and value == value // 1,
    "number": _is_number,
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}


_NAMES: Final = {
    "null": "null", "boolean": "true or false", "integer": "a whole number", "number": "a number", "string": "a text",
    "array": "a list", "object": "an object",
}  # fmt: skip

_LIMITS: Final[tuple[tuple[str, Callable[[float, float], bool], str], ...]] = (
    ("minimum", lambda value, limit: value >= limit, "at least"),
    ("maximum", lambda value, limit: value <= limit, "at most"),
    ("exclusiveMinimum", lambda value, limit: value > limit, "more than"),
    ("exclusiveMaximum", lambda value, limit: value < limit, "less than"),
)

_FORMATS: Final[Mapping[str, tuple[Callable[[str], object], str]]] = {
    "date": (date.fromisoformat, "no date; write 2026-01-31"),
    "date-time": (datetime.fromisoformat, "no time; write 2026-01-31T12:00:00Z"),
    "uuid": (UUID, "no UUID"),
}
