"""Hides what pages and the API do not show: values under names such as `password`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

HIDDEN: Final = "•••"

_PAIR: Final = r"""("(?:[^"\\]|\\.)*?(?:{part})(?:[^"\\]|\\.)*"\s*:\s*)("(?:[^"\\]|\\.)*"?|[\[{{].*|[^,}}\]\s]+)"""
"""A name in JSON and what follows, also where the text is cut off."""

_VALUES: Final = frozenset({"default", "examples", "const", "enum"})
"""Words of a JSON schema before values."""


class Redactor:
    """Hides values by the names of their fields.

    Args:
        names: parts of names, great and small letters alike.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = tuple(name.lower() for name in names if name)
        part = "|".join(re.escape(name) for name in self._names)
        self._pair = re.compile(_PAIR.format(part=part), re.IGNORECASE) if part else None

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
