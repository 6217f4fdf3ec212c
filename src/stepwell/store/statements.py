"""Reads named statements from a `.sql` file, so that SQL lives where it can be read, pasted into a shell and explained."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_NAMESPACE: Final = "stepwell"

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_TABLE = re.compile(rf"\b{DEFAULT_NAMESPACE}_(?=[a-z])")


def read_statements(package: str, namespace: str) -> Mapping[str, str]:
    """The statements of the package's `queries.sql` by name, with the namespace in the place of the default one."""
    text = in_namespace(files(package).joinpath("queries.sql").read_text(encoding="utf-8"), namespace)
    _, *parts = _NAME.split(text)
    names, bodies = parts[::2], parts[1::2]
    statements = {name: body.strip().rstrip(";") for name, body in zip(names, bodies, strict=True)}
    if len(statements) != len(names):
        raise ValueError(f"{package}: two statements have one name")
    return statements


def in_namespace(sql: str, namespace: str) -> str:
    """The SQL with its tables and indexes under another prefix."""
    return sql if namespace == DEFAULT_NAMESPACE else _TABLE.sub(f"{namespace}_", sql)
