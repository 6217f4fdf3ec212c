"""Lays out an input as the fields of a form, by its JSON schema: which controls there are, and what stands in them at first. Pure.

What a control cannot show without changing it (a newline in a line, a time zone in a date) is shown by another that can. Numbers are typed
as text: a browser's own field for them forgets those that it cannot count to.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from itertools import count
from typing import Any, Final, TypeAlias

from stepwell.web.masking import Hides, mark_of, masked
from stepwell.web.schemas import Schema
from stepwell.web.shapes import shape_of

DEPTH: Final = 2
"""Levels of objects within the input that have fields of their own. What lies deeper is written as JSON."""

_LONG: Final = 80
"""Characters of a text that get more than a line."""

_ROOMY: Final = 200
"""The same, where a schema allows so many."""

_EXAMPLES: Final = 3


class Missing(Enum):
    """The one thing that is no JSON: nothing at all."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING

Path: TypeAlias = tuple[str, ...]


class Kind(StrEnum):
    """What a field holds, and so how its text is read."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    CHOICE = "choice"
    JSON = "json"
    GROUP = "group"
    OTHERS = "others"
    """Fields of a group that its schema does not name, as JSON."""
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of a form, or a group of them."""

    path: Path
    """Where its value is in the input."""
    name: str
    """Of its control."""
    id: str
    label: str
    kind: Kind
    control: str
    """`text`, `password`, `date`, `email`, `textarea`, `select`, `checkbox`. A group has none of its own."""
    required: bool
    nullable: bool
    hidden: bool
    """Its value is not shown."""
    schema: Schema
    """Of a value that is not null."""
    initial: Any
    """The value at first, which it keeps unless its text is changed; not for eyes. MISSING: none."""
    default: Any
    """What is taken where it is left out; not for eyes. MISSING: nothing."""
    shown: str
    """The text at first; of a checkbox `true` or `false`; of an optional group, whether it is given."""
    hints: tuple[str, ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    """Of a select: texts that are sent, and what they are called."""
    fields: tuple[Field, ...] = ()

    @property
    def given_name(self) -> str:
        """Of the checkbox that says whether an optional group is given."""
        return f"{self.name}/~given"

    @property
    def place(self) -> Path:
        """Where in the input that lies which its names are of."""
        return self.path[:-1] if self.kind is Kind.OTHERS else self.path

    @property
    def may_be_empty(self) -> bool:
        """Whether it may be left out, or be null."""
        return self.nullable or not self.required

    @property
    def has_box(self) -> bool:
        """Of a group: whether it is said with a checkbox whether it is given. One with a default is there in any case."""
        return self.nullable or (not self.required and self.default is MISSING)

    @property
    def basis(self) -> Any:
        """What is behind the text at first."""
        return self.default if self.initial is MISSING else self.initial


def fields_of(schema: Schema, initial: Any, hides: Hides, *, as_json: bool) -> Field:
    """The form of an input: a group of fields, or a single one.

    Args:
        schema: of the input.
        initial: the value to begin with; MISSING: none.
        hides: says which names have values that are not shown.
        as_json: the input is written as one JSON text.
    """
    if as_json:
        return _Layout(hides).json(schema, skeleton(schema) if initial is MISSING else initial)
    return _Layout(hides).field(schema, (), "Input", required=True, initial=initial)


def all_fields(field: Field) -> Iterator[Field]:
    """The field itself, and those in it."""
    yield field
    for part in field.fields:
        yield from all_fields(part)


def skeleton(schema: Schema, depth: int = 0) -> Any:
    """Something to begin with, where an input is written as JSON: its fields, with their defaults."""
    if "default" in schema.node:
        return schema.node["default"]
    inner, _ = schema.without_null()
    if not inner.properties or depth > DEPTH:
        return MISSING
    parts = {name: skeleton(part, depth + 1) for name, part in inner.properties.items()}
    return {name: None if value is MISSING else value for name, value in parts.items()}


class _Layout:
    def __init__(self, hides: Hides) -> None:
        self._hides = hides
        self._numbers = count(1)

    def field(
        self, schema: Schema, path: Path, label: str, *, required: bool, initial: Any, depth: int = 0, within_hidden: bool = False
    ) -> Field:
        inner, nullable = schema.without_null()
        default = schema.node.get("default", MISSING)
        basis = default if initial is MISSING else initial
        hidden = within_hidden or (bool(path) and self._hides(path[-1]))
        kind = _kind(inner, basis, depth, nullable=nullable, hidden=hidden)
        identity = f"field-{next(self._numbers)}"
        shown = self._shown(kind, basis, path, hidden=hidden)
        control = _control(kind, inner, shown, hidden=hidden, certain=not nullable and (required or default is not MISSING))
        if control == "checkbox" and not shown:
            shown = "false"
        return Field(
            path=path,
            name=_name(path),
            id=identity,
            label=label,
            kind=kind,
            control=control,
            required=required,
            nullable=nullable,
            hidden=hidden,
            schema=inner,
            initial=initial,
            default=default,
            shown=shown,
            hints=tuple(_hints(schema, inner, kind, label, hidden=hidden, masked=hidden and bool(shown), at_top=not path)),
            options=tuple(_options(kind, inner, shown)) if control == "select" else (),
            fields=tuple(self._parts(inner, path, basis, depth, within_hidden=hidden)) if kind is Kind.GROUP else (),
        )

    def json(self, schema: Schema, initial: Any) -> Field:
        """A field for the whole input."""
        return Field(
            path=(),
            name=_name(()),
            id="field-1",
            label="Input",
            kind=Kind.JSON,
            control="textarea",
            required=False,
            nullable=False,
            hidden=False,
            schema=schema,
            initial=initial,
            default=MISSING,
            shown=self._shown(Kind.JSON, initial, (), hidden=False),
            hints=("JSON", "empty is null"),
        )

    def _parts(self, schema: Schema, path: Path, basis: Any, depth: int, *, within_hidden: bool) -> Iterator[Field]:
        value = basis if isinstance(basis, Mapping) else {}
        for name, part in schema.properties.items():
            yield self.field(
                part,
                (*path, name),
                name,
                required=name in schema.required,
                initial=value.get(name, MISSING),
                depth=depth + 1,
                within_hidden=within_hidden,
            )
        others = {name: item for name, item in value.items() if name not in schema.properties}
        if others or schema.node.get("additionalProperties", False) is not False:
            yield self._others(schema, path, others or MISSING)

    def _others(self, schema: Schema, path: Path, others: Any) -> Field:
        return Field(
            path=(*path, "~others"),
            name=f"{_name(path)}/~others",
            id=f"field-{next(self._numbers)}",
            label="Other fields",
            kind=Kind.OTHERS,
            control="textarea",
            required=False,
            nullable=False,
            hidden=False,
            schema=schema,
            initial=others,
            default=MISSING,
            shown=self._shown(Kind.JSON, others, path, hidden=False),
            hints=("fields that the schema does not name, as a JSON object",),
        )

    def _shown(self, kind: Kind, basis: Any, path: Path, *, hidden: bool) -> str:
        if basis is MISSING or kind is Kind.NOTHING or (basis is None and kind is not Kind.JSON):
            return ""
        if hidden and basis is not None:
            return mark_of(path)
        match kind:
            case Kind.GROUP:
                return "true"
            case Kind.JSON:
                return json.dumps(masked(basis, self._hides, path), indent=2, ensure_ascii=False)
            case _:
                return basis if kind is Kind.TEXT and isinstance(basis, str) else text_of_choice(basis)


def _name(path: Path) -> str:
    return "/".join(("input", *(part.replace("~", "~0").replace("/", "~1") for part in path)))


# -- what a field holds


def _kind(schema: Schema, basis: Any, depth: int, *, nullable: bool, hidden: bool) -> Kind:
    kind = _declared(schema)
    if kind is Kind.GROUP and (
        depth > DEPTH or (hidden and basis is not MISSING and basis is not None) or (basis is None and not nullable)
    ):
        return Kind.JSON
    return kind if basis is MISSING or basis is None or _holds(kind, basis) else Kind.JSON


def _declared(schema: Schema) -> Kind:
    if schema.choices is not None:
        return Kind.CHOICE
    # A Decimal: as text it stays exact.
    if {option.types for option in schema.options} == {("number",), ("string",)}:
        return Kind.TEXT
    if schema.types == ("object",):
        return Kind.GROUP if schema.properties else Kind.JSON
    return _KINDS.get(schema.types, Kind.JSON)


_KINDS: Final[Mapping[tuple[str, ...], Kind]] = {
    ("string",): Kind.TEXT,
    ("integer",): Kind.INTEGER,
    ("number",): Kind.NUMBER,
    ("boolean",): Kind.BOOLEAN,
    ("null",): Kind.NOTHING,
}


def _holds(kind: Kind, value: Any) -> bool:
    """Whether a field of this kind can show a value."""
    shown: Any = _SHOWN.get(kind, object)
    return isinstance(value, shown) and (kind is Kind.BOOLEAN or kind not in _SHOWN or not isinstance(value, bool))


_SHOWN: Final = {
    Kind.TEXT: str | int | float,
    Kind.INTEGER: int,
    Kind.NUMBER: int | float,
    Kind.BOOLEAN: bool,
    Kind.GROUP: Mapping,
    Kind.NOTHING: type(None),
}


# -- how it is shown

_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")
_ADDRESS: Final = re.compile(r"[!-~]+@[!-~]+")


def _control(kind: Kind, schema: Schema, shown: str, *, hidden: bool, certain: bool) -> str:
    match kind:
        case Kind.BOOLEAN:
            return "checkbox" if certain and not hidden else "select"
        case Kind.CHOICE:
            return "select"
        case _ if hidden and (shown or kind is not Kind.JSON):
            return "password"
        case Kind.JSON:
            return "textarea"
        case Kind.TEXT:
            return _control_of_text(schema, shown)
        case _:
            return "text"


def _control_of_text(schema: Schema, shown: str) -> str:
    if len(shown) > _LONG or "\n" in shown or "\r" in shown or (schema.number("maxLength") or 0) > _ROOMY:
        return "textarea"
    match schema.text("format"):
        case "date" if not shown or _DATE.fullmatch(shown):
            return "date"
        case "email" if not shown or _ADDRESS.fullmatch(shown):
            return "email"
        case _:
            return "text"


def choices_of(field: Field) -> list[Any]:
    """All values that can be chosen."""
    return _choices(field.kind, field.schema)


def text_of_choice(choice: Any) -> str:
    """As it is sent: JSON, so that 1 is not "1"."""
    return json.dumps(choice, ensure_ascii=False, sort_keys=True)


def _choices(kind: Kind, schema: Schema) -> list[Any]:
    return [True, False] if kind is Kind.BOOLEAN else schema.choices or []


def _options(kind: Kind, schema: Schema, shown: str) -> Iterator[tuple[str, str]]:
    known = _choices(kind, schema)
    texts = [text_of_choice(choice) for choice in known]
    if shown and shown not in texts:
        yield shown, shown
    for choice, text in zip(known, texts, strict=True):
        yield text, {"true": "yes", "false": "no"}.get(text, text) if kind is Kind.BOOLEAN else choice if isinstance(choice, str) else text


_WORDS: Final = {Kind.INTEGER: "whole number", Kind.NUMBER: "number", Kind.JSON: "JSON"}

_FORMATS: Final = {
    "date": "date, such as 2026-01-31",
    "date-time": "time, such as 2026-01-31T12:00:00Z",
    "time": "time of day, such as 12:30:00",
    "duration": "duration, such as PT1H30M",
    "uuid": "UUID",
    "email": "e-mail address",
    "uri": "URL",
}


def _hints(schema: Schema, inner: Schema, kind: Kind, label: str, *, hidden: bool, masked: bool, at_top: bool) -> Iterator[str]:
    title = schema.text("title")
    # pydantic makes a title of each name.
    if title and kind is not Kind.GROUP and title.casefold() != label.replace("_", " ").casefold():
        yield title
    if schema.text("description"):
        yield schema.text("description")
    words = _WORDS.get(kind) or _FORMATS.get(inner.text("format"), "")
    if kind is Kind.JSON and not hidden and (shape := shape_of(inner)):
        words += f", such as {shape}"
    limits = ", ".join(_limits(inner))
    if words or limits:
        yield " ".join(part for part in (words, limits) if part)
    examples = schema.node.get("examples")
    if isinstance(examples, list) and examples and not hidden:
        yield "for example " + ", ".join(each if isinstance(each, str) else json.dumps(each) for each in examples[:_EXAMPLES])
    if kind is Kind.JSON and at_top:
        yield "empty is null"
    if masked:
        yield "hidden; as long as this is not changed, the value is kept"


def _limits(schema: Schema) -> Iterator[str]:
    least, most = schema.number("minimum"), schema.number("maximum")
    if least is not None or most is not None:
        yield _range(least, most)
    for name, words in (("exclusiveMinimum", "more than"), ("exclusiveMaximum", "less than")):
        if schema.number(name) is not None:
            yield f"{words} {schema.number(name)}"
    if schema.text("pattern"):
        yield f"matching {schema.text('pattern')}"
    least, most = schema.number("minLength"), schema.number("maxLength")
    if least is not None or most is not None:
        yield f"{_range(least, most)} characters"


def _range(least: float | None, most: float | None) -> str:
    if least is None:
        return f"at most {most}"
    return f"at least {least}" if most is None else f"from {least} to {most}"
