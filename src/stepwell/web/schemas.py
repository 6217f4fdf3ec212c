"""Reads JSON schemas as workers publish them. They come from elsewhere: whatever is no schema is one that allows anything. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from stepwell.core.codec import codec_of

_HOPS: Final = 20
"""References that are followed, one after the other."""

_SAID: Final = ("title", "description", "default", "examples")
"""What a schema says of a value without restricting it."""


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema, or a part of one. References are followed, and what stands beside one holds, too."""

    node: Mapping[str, Any]
    defs: Mapping[str, Any]

    @classmethod
    def of(cls, text: str) -> Schema:
        """The schema that a text is."""
        try:
            root = _mapping(codec_of(Any).read(text, "a schema"))
        except ValueError:
            root = {}
        return cls(root, _mapping(root.get("$defs"))).part(root)

    def part(self, node: object) -> Schema:
        """A schema within this one."""
        found = _mapping(node)
        for _ in range(_HOPS):
            target = self._target(found)
            if target is None:
                break
            found = {**target, **{key: value for key, value in found.items() if key not in ("$ref", "allOf")}}
        return Schema(found, self.defs)

    def _target(self, node: Mapping[str, Any]) -> Mapping[str, Any] | None:
        if "$ref" in node:
            return _mapping(self.defs.get(str(node["$ref"]).removeprefix("#/$defs/")))
        several = node.get("allOf")
        return _mapping(several[0]) if isinstance(several, list) and len(several) == 1 else None

    @property
    def options(self) -> list[Schema]:
        """Of which a value fits at least one; empty where it has no choice."""
        found = self.node.get("anyOf", self.node.get("oneOf"))
        return [self.part(option) for option in found] if isinstance(found, list) else []

    @property
    def types(self) -> tuple[str, ...]:
        """`integer`, say; empty: any."""
        said = self.node.get("type")
        return tuple(str(each) for each in said) if isinstance(said, list) else () if said is None else (str(said),)

    @property
    def properties(self) -> dict[str, Schema]:
        """By name, in order."""
        return {str(name): self.part(node) for name, node in _mapping(self.node.get("properties")).items()}

    @property
    def required(self) -> frozenset[str]:
        """The names of properties that have to be there."""
        said = self.node.get("required")
        return frozenset(str(name) for name in said) if isinstance(said, list) else frozenset()

    @property
    def choices(self) -> list[Any] | None:
        """All that a value may be; None: they are not named."""
        if "const" in self.node:
            return [self.node["const"]]
        said = self.node.get("enum")
        return list(said) if isinstance(said, list) else None

    def text(self, name: str) -> str:
        """What it says under a name, such as `description`; empty: nothing."""
        said = self.node.get(name)
        return said if isinstance(said, str) else ""

    def number(self, name: str) -> float | int | None:
        """A limit, such as `maximum`."""
        said = self.node.get(name)
        return said if isinstance(said, int | float) and not isinstance(said, bool) else None

    def without_null(self) -> tuple[Schema, bool]:
        """The schema of a value that is not null, and whether it may be null."""
        if "null" in self.types and len(self.types) > 1:
            rest = [each for each in self.types if each != "null"]
            return Schema({**self.node, "type": rest[0] if len(rest) == 1 else rest}, self.defs), True
        options = self.options
        others = [option for option in options if option.types != ("null",)]
        if len(others) == len(options):
            return self, False
        said = {key: self.node[key] for key in _SAID if key in self.node}
        if len(others) == 1:
            return Schema({**others[0].node, **said}, self.defs), True
        return Schema({**said, "anyOf": [option.node for option in others]}, self.defs), True


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
