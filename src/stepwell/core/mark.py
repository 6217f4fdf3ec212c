"""A mark of what a step is called with: on replay it shows that steps of one name have changed places.

Equal plain data give equal marks, in every process and on every supported Python. What has no dependable form (a connection, a
lambda, an iterator) gives no mark, which only means that a change is not noticed. Nothing is called that could have an effect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from marshal import dumps
from types import MemberDescriptorType
from typing import Any, Final
from uuid import UUID
from zlib import crc32

from pydantic import BaseModel

UNKNOWN: Final = 0
"""The mark of what cannot be told apart, and of no arguments."""

MAX_OBJECTS: Final = 2_000
"""Objects looked at where not all are plain: marking more would cost more than most steps do. Also, classes kept in mind."""

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
    except Exception:  # noqa: BLE001  # besides what has no mark: a tzinfo's own code may fail, and that is for the step to meet
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
        self._left -= 1
        if self._left < 0:
            raise _Unmarked
        kind = type(value)
        if kind in _ATOMS:
            return value
        read = _known.get(kind)
        if read is None:
            if len(_known) >= MAX_OBJECTS:
                _known.clear()
            read = _known[kind] = _reader(kind)
        return read(self, value)


_Reader = Callable[[_Plain, Any], Any]

# Exact types only: what a subclass of str stands for, its class says.
_ATOMS: Final = frozenset({str, int, float, bool, type(None), bytes, complex})

_known: dict[type, _Reader] = {}


def _reader(kind: type) -> _Reader:
    """How the content of a class's objects is read. What a subclass adds or overrides is not called, but its name tells it apart."""
    if issubclass(kind, BaseModel):
        return _reader_of_fields(kind, tuple(kind.__pydantic_fields__), has_extra=True)
    for base, form in _FORMS.items():
        if issubclass(kind, base):
            return form if kind is base else _named(kind, form)
    for base in kind.__mro__:
        if base.__name__ == "PurePath" and base.__module__.startswith("pathlib"):  # by name: core does not import what does I/O
            return _named(kind, lambda _, value: str(value))
    if is_dataclass(kind):
        return _reader_of_fields(kind, tuple(field.name for field in fields(kind)))
    return _refuse


def _refuse(_plain: _Plain, _value: Any) -> Any:
    raise _Unmarked


def _named(kind: type, form: _Reader) -> _Reader:
    return lambda plain, value: (kind.__qualname__, form(plain, value))


def _reader_of_fields(kind: type, names: tuple[str, ...], *, has_extra: bool = False) -> _Reader:
    def read(plain: _Plain, value: Any) -> Any:
        content = [(name, plain.of(_held(value, name))) for name in names]
        extra = _held(value, "__pydantic_extra__") if has_extra else None
        return kind.__qualname__, content, plain.of(extra)

    return read


def _held(value: Any, name: str) -> Any:
    """A field as the object holds it, not as an attribute, which might load what is missing."""
    try:
        return object.__getattribute__(value, "__dict__")[name]
    except (AttributeError, KeyError):
        slot = type.__getattribute__(type(value), name)
    if not isinstance(slot, MemberDescriptorType):
        raise _Unmarked
    return slot.__get__(value)


def _items(plain: _Plain, items: Iterable[Any]) -> list[Any]:
    return [plain.of(item) for item in items]


def _sorted_items(plain: _Plain, items: Iterable[Any]) -> tuple[str, list[bytes]]:
    return "set", sorted(dumps(plain.of(item), _FORMAT) for item in items)


# Each reads by the method of the class named here: one of a subclass might do anything. A class comes before those it is derived
# from, and Enum before all: a member of a StrEnum is a str.
_FORMS: Final[dict[type, _Reader]] = {
    Enum: lambda plain, value: ("enum", plain.of(value._name_)),
    list: lambda plain, value: _items(plain, list.__iter__(value)),
    tuple: lambda plain, value: tuple(_items(plain, tuple.__iter__(value))),
    dict: lambda plain, value: ("dict", _items(plain, [part for item in dict.items(value) for part in item])),
    set: lambda plain, value: _sorted_items(plain, set.__iter__(value)),
    frozenset: lambda plain, value: _sorted_items(plain, frozenset.__iter__(value)),
    datetime: lambda _, value: ("datetime", datetime.isoformat(value)),
    date: lambda _, value: ("date", date.isoformat(value)),
    time: lambda _, value: ("time", time.isoformat(value)),
    timedelta: lambda _, value: ("timedelta", value.days, value.seconds, value.microseconds),
    UUID: lambda _, value: ("uuid", value.int),
    Decimal: lambda _, value: ("decimal", Decimal.__str__(value)),
    bytearray: lambda _, value: ("bytearray", bytearray.hex(value)),
    str: lambda _, value: str.__str__(value),
    int: lambda _, value: int.__int__(value),
    float: lambda _, value: float.__float__(value),
    bytes: lambda _, value: bytes.hex(value),
}
