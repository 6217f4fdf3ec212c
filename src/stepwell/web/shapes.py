"""Shows what a JSON value of a schema looks like, in one short line. No value that the schema names is in it: it may be a secret. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from stepwell.web.schemas import Schema

_LONGEST: Final = 120
"""Characters; what is longer teaches nothing."""

_DEEPEST: Final = 4
"""Levels, of a schema that may name itself."""

_MOST: Final = 50
"""Parts that are looked at: a schema may name itself many times on each level."""

_TEXT: Final = "…"
_VALUES: Final = {"string": _TEXT, "integer": 0, "number": 0.0, "boolean": False, "null": None}


def shape_of(schema: Schema) -> str:
    """`[{"sku": "…", "count": 0}]`; empty: there is nothing to show, or too much."""
    shown = _shape(schema, 0, iter(range(_MOST)))
    text = json.dumps(shown, ensure_ascii=False)
    return text if isinstance(shown, list | dict) and shown and len(text) <= _LONGEST else ""


def _shape(schema: Schema, depth: int, parts: Iterator[int]) -> Any:
    inner, _ = schema.without_null()
    if depth > _DEEPEST or next(parts, None) is None or inner.choices is not None:
        return _TEXT

    def below(part: Schema) -> Any:
        return _shape(part, depth + 1, parts)

    if inner.options:
        return below(inner.options[0])
    if inner.types == ("object",):
        return _object(inner, below)
    if inner.types == ("array",):
        items = inner.node.get("items")
        return [below(inner.part(items))] if isinstance(items, Mapping) else []
    return _VALUES.get(inner.types[0], _TEXT) if len(inner.types) == 1 else _TEXT


def _object(schema: Schema, below: Callable[[Schema], Any]) -> dict[str, Any]:
    if schema.properties:
        return {name: below(part) for name, part in schema.properties.items()}
    others = schema.node.get("additionalProperties")
    return {_TEXT: below(schema.part(others))} if isinstance(others, Mapping) else {}
