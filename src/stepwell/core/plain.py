"""Records as JSON, for the command line and the HTTP API alike: what each becomes, and the JSON schema of that. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Final, TypeAlias, Union, get_args, get_origin, get_type_hints

from stepwell.core.records import Run, StepRecord, WorkerState
from stepwell.errors import ErrorInfo

Hide: TypeAlias = Callable[[str, Any], Any]
"""Given the name of a field with data of users, and its value: what is shown of it."""

Schema: TypeAlias = dict[str, Any]

_INTERNAL: Final[Mapping[type, Collection[str]]] = {
    ErrorInfo: {"kinds", "steps"},
    Run: {"claimed_at", "claimed_by"},
    StepRecord: {"retry_at"},
    WorkerState: {"serves"},
}
"""Fields of records that are no part of what users are promised."""

_DATA: Final = frozenset({"input", "output", "fields", "preview", "error", "message", "traceback", "reason"})
"""Fields of records that hold data of users, or texts with some in them."""


def plain(value: Any, hide: Hide | None = None) -> Any:
    """The value as what JSON knows: dicts, lists, texts, numbers.

    Records go by the names of their fields, datetimes as ISO 8601 in UTC, durations as seconds.
    """
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return value.total_seconds()
    if is_dataclass(value) and not isinstance(value, type):
        return {name: _field(name, getattr(value, name), hide) for name in _names(type(value))}
    if isinstance(value, dict):
        return {str(key): plain(item, hide) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, hide) for item in value]
    return value


def _field(name: str, value: Any, hide: Hide | None) -> Any:
    return plain(value if hide is None or name not in _DATA else hide(name, value), hide)


def _names(record: Any) -> list[str]:
    internal = _INTERNAL.get(record, ())
    return [field.name for field in fields(record) if field.name not in internal]


# -- schemas

_SIMPLE: Final[Mapping[Any, Schema]] = {
    Any: {},
    object: {},
    NoneType: {"type": "null"},
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    datetime: {"type": "string", "format": "date-time"},
    timedelta: {"type": "number", "description": "Seconds."},
}


def schema_of(annotation: Any, known: dict[str, Schema]) -> Schema:
    """The JSON schema of what `plain` makes of a value with this annotation.

    Those of records and enums go into `known`, by their names, and are referred to as components of an OpenAPI document.

    Raises:
        TypeError: there is none.
    """
    if annotation in _SIMPLE:
        return dict(_SIMPLE[annotation])
    kind, parts = get_origin(annotation), get_args(annotation)
    if kind in (Union, UnionType):
        return _any_of([schema_of(part, known) for part in parts])
    if kind in (list, tuple) and parts and (kind is list or parts[1:] == (...,)):
        return {"type": "array", "items": schema_of(parts[0], known)}
    if kind is dict and issubclass(parts[0], str):
        return {"type": "object", "additionalProperties": schema_of(parts[1], known)}
    if isinstance(annotation, type) and (is_dataclass(annotation) or issubclass(annotation, Enum)):
        return _component(annotation, known)
    raise TypeError(f"{annotation!r} has no JSON schema")


def _any_of(schemas: list[Schema]) -> Schema:
    """`{"type": ["string", "null"]}`, where that is all there is to say."""
    if {} in schemas:
        return {}
    if len(schemas) == 2 and schemas[1] == {"type": "null"} and isinstance(schemas[0].get("type"), str):  # noqa: PLR2004
        return {**schemas[0], "type": [schemas[0]["type"], "null"]}
    return {"anyOf": schemas}


def _component(kind: type, known: dict[str, Schema]) -> Schema:
    name = kind.__name__
    if name not in known:
        known[name] = {}  # there while it is made: a record may hold its own kind
        known[name] = _enum(kind) if issubclass(kind, Enum) else _object(kind, known)
    return {"$ref": f"#/components/schemas/{name}"}


def _enum(kind: type[Enum]) -> Schema:
    return {"type": "string", "enum": [each.value for each in kind]}


def _object(kind: type, known: dict[str, Schema]) -> Schema:
    hints, names = get_type_hints(kind), _names(kind)
    return {
        "type": "object",
        "description": (kind.__doc__ or "").partition("\n\n")[0],
        "properties": {name: schema_of(hints[name], known) for name in names},
        "required": names,
    }
