"""A mark of what a step is called with: on replay it shows that steps of one name have changed places.

Equal plain data give equal marks, in every process and on every supported Python. What has no dependable form (a connection, a
lambda, an iterator) gives no mark, which only means that a change is not noticed. Nothing is called that could have an effect.
"""

from __future__ import annotations

from dataclasses import fields
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from marshal import dumps
from pathlib import PurePath
from types import MemberDescriptorType
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Callable

UNKNOWN: Final = 0
"""The mark of what cannot be told apart, and of no arguments."""

MAX_OBJECTS: Final = 2_000
"""Objects looked at where not all are plain: marking more would cost more than most steps do."""

_FORMAT: Final = 2  # of marshal: the newest that writes equal values alike, whether strings are interned and objects shared or not


def mark_of(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """A hash of a step's name and arguments, from 1 to 2³²-1; `UNKNOWN` where there are none, or none that can be told apart."""
    if not args and not kwargs:
        return UNKNOWN
    try:
        # marshal knows the built-in types only, by exact type; it reads no iterator, and writes sets in an order of their content.
        return crc32(dumps((name, args, kwargs), _FORMAT)) or 1
    except ValueError:
        return _mark_of_objects(name, args, kwargs)


def _mark_of_objects(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    try:
        return crc32(dumps((name, _Plain().of((args, kwargs))), _FORMAT)) or 1
    except (_Unmarked, ValueError, RecursionError):
        return UNKNOWN


class _Unmarked(Exception):
    """Something has no form that a mark could be made of."""


class _Plain:
    """Makes plain data of objects whose content can be read without calling their code. For one use."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = MAX_OBJECTS

    def of(self, value: Any) -> Any:
        """Lists, tuples and atoms that equal objects have in common.

        Raises:
            _Unmarked: the value has no such form, or there is too much of it.
        """
        kind = type(value)
        self._left -= 1
        if self._left < 0:
            raise _Unmarked
        if kind in _ATOMS:
            return value
        form = _FORMS.get(kind)
        if form is not None:
            return form(self, value)
        content = _content(kind, value)
        if content is not None:
            return kind.__qualname__, [(name, self.of(item)) for name, item in content]
        for base, form in _FORMS.items():
            if isinstance(value, base):
                return kind.__qualname__, form(self, value)
        raise _Unmarked

    def _of_list(self, value: list[Any]) -> list[Any]:
        return [self.of(item) for item in list.__iter__(value)]

    def _of_tuple(self, value: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple([self.of(item) for item in tuple.__iter__(value)])

    def _of_dict(self, value: dict[Any, Any]) -> tuple[str, list[Any]]:
        return "dict", [(self.of(key), self.of(item)) for key, item in dict.items(value)]

    def _of_set(self, value: set[Any] | frozenset[Any]) -> tuple[str, list[bytes]]:
        items = set.__iter__(value) if isinstance(value, set) else frozenset.__iter__(value)
        return "set", sorted(dumps(self.of(item), _FORMAT) for item in items)

    def _of_enum(self, value: Enum) -> str:
        return str(value._name_)


# Exact types only: what a subclass of str stands for, its class says.
_ATOMS: Final = frozenset({str, int, float, bool, type(None), bytes, complex})

# Each reads its value by the method of the class named here: one of a subclass might do anything. A class comes before those it is
# derived from, and Enum before all: a member of a StrEnum is a str.
_FORMS: Final[dict[type, Callable[[_Plain, Any], Any]]] = {
    Enum: _Plain._of_enum,
    list: _Plain._of_list,
    tuple: _Plain._of_tuple,
    dict: _Plain._of_dict,
    set: _Plain._of_set,
    frozenset: _Plain._of_set,
    datetime: lambda _, value: ("datetime", datetime.isoformat(value)),
    date: lambda _, value: ("date", date.isoformat(value)),
    time: lambda _, value: ("time", time.isoformat(value)),
    timedelta: lambda _, value: ("timedelta", value.days, value.seconds, value.microseconds),
    UUID: lambda _, value: ("uuid", value.int),
    Decimal: lambda _, value: ("decimal", Decimal.__str__(value)),
    PurePath: lambda _, value: ("path", PurePath.as_posix(value)),
    bytearray: lambda _, value: ("bytearray", bytearray.hex(value)),
    str: lambda _, value: str.__str__(value),
    int: lambda _, value: int.__int__(value),
    float: lambda _, value: float.__float__(value),
    bytes: lambda _, value: bytes.hex(value),
}


def _content(kind: type, value: Any) -> list[tuple[str, Any]] | None:
    """The fields of a model or dataclass as they are held, not as attributes, which might load what is missing."""
    if issubclass(kind, Enum):
        return None
    if (declared := _declared(kind, "__pydantic_fields__")) is not None:
        extra = _held(kind, value, "__pydantic_extra__") if _declared(kind, "__pydantic_complete__") and hasattr(kind, "model_fields") else None
        return [(name, _held(kind, value, name)) for name in declared] + list((extra or {}).items())
    if _declared(kind, "__dataclass_fields__") is not None:
        return [(field.name, _held(kind, value, field.name)) for field in fields(kind)]
    return None


def _declared(kind: type, name: str) -> Any:
    try:
        return type.__getattribute__(kind, name)  # past a metaclass that would answer for what is not there
    except AttributeError:
        return None


def _held(kind: type, value: Any, name: str) -> Any:
    try:
        held = object.__getattribute__(value, "__dict__")
        if name in held:
            return held[name]
    except AttributeError:
        pass  # a class of slots
    slot = _declared(kind, name)
    if not isinstance(slot, MemberDescriptorType):
        raise _Unmarked
    return slot.__get__(value, kind)
