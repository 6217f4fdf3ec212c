"""A form for an input: shows it, and reads what was sent back into a value. Pure.

A field whose text was not changed keeps its value, whatever the browser made of the text: what is hidden, null, or not there at all
stays so. An emptied one is null where that is allowed, and an empty text where it had one; any other is left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from stepwell.core.codec import codec_of
from stepwell.web.checking import Misfit, misfits
from stepwell.web.fields import MISSING, Field, Kind, all_fields, choices_of, fields_of, text_of_choice
from stepwell.web.masking import Hides, mark_of, masked, restored
from stepwell.web.schemas import Schema

_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The fields of an input, with what was typed and what is wrong with it."""

    root: Field
    schema: Schema
    hides: Hides
    sent: Mapping[str, str] | None = None
    """What was typed, by the names of controls; None: nothing yet."""
    errors: Mapping[str, str] = field(default_factory=dict)
    """By the names of controls."""
    general: tuple[str, ...] = ()
    """What is wrong, and with no field of its own."""

    def text(self, one: Field) -> str:
        """What stands in a control."""
        if self.sent is None:
            return one.shown
        if one.control == "checkbox":
            return "true" if one.name in self.sent else "false"
        return self.sent.get(one.name, one.shown)

    def is_given(self, group: Field) -> bool:
        """Whether the box of an optional group is ticked."""
        return bool(group.shown) if self.sent is None else group.given_name in self.sent

    def error(self, one: Field) -> str:
        """What is wrong with a field; empty: nothing."""
        return self.errors.get(one.name, "")

    @property
    def wrong(self) -> list[Field]:
        """The fields of which something is said, in order."""
        return [one for one in all_fields(self.root) if one.name in self.errors]

    def read(self, sent: Mapping[str, str]) -> tuple[Any, list[Misfit]]:
        """The value that was sent, and what of it could not be read. MISSING: none was given."""
        reading = _Reading(sent, self.hides)
        return reading.value(self.root), reading.problems

    def read_for_eyes(self, sent: Mapping[str, str]) -> tuple[Any, list[Misfit]]:
        """As `read`, but with marks for what is hidden, and with what could not be read as it was typed."""
        reading = _Reading(sent, self.hides, for_eyes=True)
        return reading.value(self.root), reading.problems

    @property
    def is_json(self) -> bool:
        """Whether the input is written as one JSON text."""
        return self.root.kind is Kind.JSON

    def misfits(self, value: Any) -> list[Misfit]:
        """Where a value does not fit the schema: for those who have not the code."""
        return misfits(self.schema, value)

    def answered(self, sent: Mapping[str, str], problems: Iterable[Misfit]) -> Form:
        """The form with what was typed, and each problem beside the field that it is about."""
        errors: dict[str, str] = {}
        general: list[str] = []
        for problem in problems:
            one, rest = _place(self.root, problem.path)
            message = f"{_words(rest)}: {problem.message}" if rest else problem.message
            if one.kind in (Kind.GROUP, Kind.NOTHING):
                general.append(message if not one.path else f"{_words(one.path)}: {message}")
            else:
                errors[one.name] = f"{errors[one.name]}; {message}" if one.name in errors else message
        return replace(self, sent=sent, errors=errors, general=tuple(general))


def form_of(schema: str, hides: Hides, *, initial: Any = MISSING, as_json: bool = False) -> Form:
    """A form for an input.

    Args:
        schema: the JSON schema, as text.
        hides: says which names have values that are not shown.
        initial: the value to begin with.
        as_json: it is written as one JSON text.
    """
    read = Schema.of(schema)
    return Form(root=fields_of(read, initial, hides, as_json=as_json), schema=read, hides=hides)


def _place(one: Field, path: Sequence[str | int]) -> tuple[Field, Sequence[str | int]]:
    """The innermost field on a path, and the rest of that."""
    if path:
        for part in one.fields:
            if part.path[-1] == path[0]:
                return _place(part, path[1:])
    return one, path


def _words(path: Sequence[str | int]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


class _Reading:
    """Of one form that was sent."""

    def __init__(self, sent: Mapping[str, str], hides: Hides, *, for_eyes: bool = False) -> None:
        self._sent = sent
        self._hides = hides
        self._for_eyes = for_eyes
        self.problems: list[Misfit] = []

    def value(self, one: Field) -> Any:
        if one.kind is Kind.GROUP:
            return self._group(one)
        if not self._is_changed(one):
            return self._kept(one)
        text = self._sent.get(one.name, "false" if one.control == "checkbox" else "")
        if not text.strip():
            return self._emptied(one, text)
        try:
            return self._read(one, text)
        except ValueError as error:
            return self._problem(one, str(error))

    def _group(self, group: Field) -> Any:
        was_given, is_changed = bool(group.shown), any(self._is_changed(part) for part in group.fields)
        is_given = not group.has_box or group.given_name in self._sent or (is_changed and not was_given)
        if is_given == was_given and not is_changed:
            return self._initial(group)
        if not is_given:
            return None if group.nullable else MISSING
        found: dict[str, Any] = {}
        for part in group.fields:
            value = self.value(part)
            if value is MISSING:
                continue
            if part.kind is Kind.OTHERS:
                found |= value
            else:
                found[part.path[-1]] = value
        return found

    def _is_changed(self, one: Field) -> bool:
        if one.kind is Kind.GROUP:
            box = one.has_box and (one.given_name in self._sent) != bool(one.shown)
            return box or any(self._is_changed(part) for part in one.fields)
        if one.control == "checkbox":
            return (one.name in self._sent) != (one.shown == "true")
        return one.name in self._sent and _as_sent(self._sent[one.name]) != _as_sent(one.shown)

    def _kept(self, one: Field) -> Any:
        if one.initial is not MISSING or one.default is not MISSING:
            return self._initial(one)
        if one.kind is Kind.NOTHING:
            return None if one.required else MISSING
        if one.control == "checkbox":
            return False
        return self._emptied(one, "")

    def _initial(self, one: Field) -> Any:
        if not self._for_eyes or one.basis is MISSING:
            return one.initial
        shown = mark_of(one.path) if one.hidden and one.basis is not None else masked(one.basis, self._hides, one.place)
        # Marks stand for what was given. A hidden default is left to whoever takes the input.
        return MISSING if one.initial is MISSING and shown != one.basis else shown

    def _emptied(self, one: Field, text: str) -> Any:
        if one.kind is Kind.TEXT and text:
            return _text(text)
        if one.nullable:
            # What was never there is left out, where it can be.
            return MISSING if one.initial is MISSING and one.default is MISSING and not one.required else None
        if one.kind is Kind.TEXT and one.basis is not MISSING:
            return ""
        if one.required and one.path:
            return self._problem(one, "fill this in")
        return MISSING

    def _read(self, one: Field, text: str) -> Any:
        match one.kind:
            case Kind.TEXT:
                return _text(text)
            case Kind.INTEGER:
                return _integer(text)
            case Kind.NUMBER:
                return _number(text)
            case Kind.BOOLEAN | Kind.CHOICE:
                return _choice(one, text)
            case _:
                return self._json(one, text)

    def _json(self, one: Field, text: str) -> Any:
        try:
            value = codec_of(Any).read(text, "an input")
        except ValueError as error:
            raise ValueError(f"this is no JSON: {error}") from None
        if one.kind is Kind.OTHERS:
            taken = sorted(one.schema.properties.keys() & value.keys()) if isinstance(value, dict) else None
            if taken is None:
                raise ValueError("this should be a JSON object")
            if taken:
                raise ValueError(f"{', '.join(taken)}: there is a field for that")
        return value if self._for_eyes else restored(value, one.basis, self._hides, one.place)

    def _problem(self, one: Field, message: str) -> Any:
        self.problems.append(Misfit(one.path, message))
        return (self._sent.get(one.name) or None) if self._for_eyes and one.kind is not Kind.OTHERS else MISSING


def _as_sent(text: str) -> str:
    """A text as any browser may send it back: newlines are others, and a page cannot have a null character."""
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")


def _text(text: str) -> str:
    return text.replace("\r\n", "\n")


def _integer(text: str) -> int:
    if not _INTEGER.fullmatch(text.strip()):
        raise ValueError("this is no whole number")
    return int(text)


def _number(text: str) -> float | int:
    if not _NUMBER.fullmatch(text.strip()):
        raise ValueError("this is no number; write 1.5 or 2e3")
    if _INTEGER.fullmatch(text.strip()):
        return int(text)
    if not math.isfinite(number := float(text)):
        raise ValueError("this number is too large")
    return number


def _choice(one: Field, text: str) -> Any:
    for choice in choices_of(one):
        if text_of_choice(choice) == text:
            return choice
    raise ValueError("this is none of those that can be chosen")
