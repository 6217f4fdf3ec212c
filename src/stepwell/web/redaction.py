"""Hides what pages and the API do not show: values under names such as `password`, and in texts what looks like them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, Final, TypeVar

from stepwell.web.prose import HIDDEN, Prose

T = TypeVar("T")

_PAIR: Final = r"""("(?:[^"\\]|\\.)*?(?:{part})(?:[^"\\]|\\.)*"\s*:\s*)("(?:[^"\\]|\\.)*"?|[\[{{].*|[^,}}\]\s]+)"""
"""A name in JSON and what follows, also where the text is cut off."""

_VALUES: Final = frozenset({"default", "examples", "const", "enum"})
"""Words of a JSON schema before values."""


_SAID: Final = frozenset({"error", "fields", "items", "message", "progress", "reason", "traceback"})
"""Fields of records with texts of users in them, or with records that have some."""


class Redactor:
    """Hides values by the names of their fields.

    Args:
        names: parts of names, great and small letters alike.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = tuple(name.lower() for name in names if name)
        part = "|".join(re.escape(name) for name in self._names)
        self._pair = re.compile(_PAIR.format(part=part), re.IGNORECASE) if part else None
        self._prose = Prose(self._names)

    def __call__(self, value: Any) -> Any:
        """The value, as JSON has it, without what is hidden."""
        if isinstance(value, Mapping):
            return {key: HIDDEN if self.hides(key) and item is not None else self(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self(item) for item in value]
        return value

    def text(self, json: str) -> str:
        """The beginning of a JSON text, without what is hidden."""
        return json if self._pair is None else self._pair.sub(rf"\1{HIDDEN}", json)

    def said(self, value: T) -> T:
        """The records, or the values, without what can be recognised as secret in their errors, lines of log and other texts.

        Of a record only these are looked at: its input and output go by the names in them.
        """
        return self._said(value)  # type: ignore[no-any-return]  # each is made anew as what it was

    def _said(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._prose(value)
        if is_dataclass(value) and not isinstance(value, type):
            found = {field.name: getattr(value, field.name) for field in fields(value) if field.name in _SAID}
            return replace(value, **{name: self._said(part) for name, part in found.items()})
        if isinstance(value, Mapping):
            return {name: self._said(item) for name, item in value.items()}
        if isinstance(value, list):
            return [self._said(item) for item in value]
        return tuple(self._said(item) for item in value) if isinstance(value, tuple) else value

    def schema(self, node: Any, *, hidden: bool = False) -> Any:
        """A JSON schema, without the values in it of fields that are hidden: their defaults, examples and choices.

        Args:
            node: the schema, or a part of one.
            hidden: whether it is of a value that is hidden.
        """
        if isinstance(node, list):
            return [self.schema(each, hidden=hidden) for each in node]
        if not isinstance(node, Mapping):
            return node
        found: dict[str, Any] = {}
        for word, part in node.items():
            if word == "properties" and isinstance(part, Mapping):
                found[word] = {name: self.schema(each, hidden=hidden or self.hides(name)) for name, each in part.items()}
            elif word in _VALUES:
                found[word] = HIDDEN if hidden and part is not None else self(part)
            else:
                found[word] = self.schema(part, hidden=hidden)
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """Parts of the names of fields that are hidden."""
        return self._names

    def hides(self, name: object) -> bool:
        """Whether what has this name is hidden."""
        text = str(name).lower()
        return any(part in text for part in self._names)
