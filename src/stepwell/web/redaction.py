"""Hides what pages and the API do not show: values under names such as `password`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

HIDDEN: Final = "•••"


class Redactor:
    """Hides values by the names of their fields.

    Args:
        names: parts of names, great and small letters alike.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = tuple(name.lower() for name in names if name)

    def __call__(self, value: Any) -> Any:
        """The value, as JSON has it, without what is hidden."""
        if isinstance(value, Mapping):
            return {key: HIDDEN if self.hides(key) and item is not None else self(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self(item) for item in value]
        return value

    def hides(self, name: object) -> bool:
        """Whether what has this name is hidden."""
        text = str(name).lower()
        return any(part in text for part in self._names)
