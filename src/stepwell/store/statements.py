"""Reads named statements from a `.sql` file, so that SQL lives where it can be read, pasted into a shell and explained."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_NAMESPACE: Final = "stepwell"

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_PREFIX = re.compile(rf"\b{DEFAULT_NAMESPACE}_(?=[a-z])")
_SCHEMA = re.compile(rf"\b{DEFAULT_NAMESPACE}(?=\.[a-z]|;)")

Form = Literal["prefix", "schema"]
"""What a namespace is in a database: the prefix of its tables' names, or the schema that they are in."""


def read_statements(package: str, namespace: str, form: Form = "prefix", file: str = "queries.sql") -> Mapping[str, str]:
    """The statements of a file of the package by name, with the namespace in the place of the default one."""
    text = in_namespace(files(package).joinpath(file).read_text(encoding="utf-8"), namespace, form)
    _, *parts = _NAME.split(text)
    names, bodies = parts[::2], parts[1::2]
    statements = {name: body.strip().rstrip(";") for name, body in zip(names, bodies, strict=True)}
    if len(statements) != len(names):
        raise ValueError(f"{package}: two statements have one name")
    return statements


def in_namespace(sql: str, namespace: str, form: Form = "prefix") -> str:
    """The SQL with its tables and indexes in another namespace."""
    if namespace == DEFAULT_NAMESPACE:
        return sql
    return _PREFIX.sub(f"{namespace}_", sql) if form == "prefix" else _SCHEMA.sub(f'"{namespace}"', sql)
