"""An open transaction of SQLite, as the verbs see it. Its statements block, so a verb comes to its end without ever waiting."""

from __future__ import annotations

import re
import sqlite3
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pydantic_core import from_json

from stepwell.store.statements import read_statements

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from stepwell.store.port import Hint

PACKAGE: Final = "stepwell.store.sqlite"

_PACKED: Final = re.compile(r"(--.*\n)*SELECT json_group_array\(")


class Statements(NamedTuple):
    """The named statements of a namespace."""

    texts: Mapping[str, str]
    packed: frozenset[str]
    """Those that answer with all their rows in one JSON text."""


def statements_of(namespace: str) -> Statements:
    """The statements, with the namespace's tables."""
    texts = read_statements(PACKAGE, namespace)
    return Statements(texts, frozenset(name for name, text in texts.items() if _PACKED.match(text)))


class Transaction:
    """See `store.sql.transaction`.

    Args:
        source: a connection, or a cursor with plain rows. The transaction is begun, and ended, by whoever made this.
        statements: those of the namespace.
    """

    def __init__(self, source: sqlite3.Connection | sqlite3.Cursor, statements: Statements) -> None:
        self.source = source
        self._execute = source.execute
        self._texts, self._packed = statements
        self.hints: set[Hint] = set()
        self.committed: list[Callable[[], None]] = []

    async def execute(self, name: str, /, **parameters: Any) -> int:
        """See `Transaction.execute`."""
        return self._execute(self._texts[name], parameters).rowcount

    async def together(self, name: str, other: str, /, **parameters: Any) -> None:
        """See `Transaction.together`."""
        self._execute(self._texts[name], parameters)
        self._execute(self._texts[other], parameters)

    async def one(self, name: str, /, **parameters: Any) -> Sequence[Any] | None:
        """See `Transaction.one`."""
        row: tuple[Any, ...] | None = self._execute(self._texts[name], parameters).fetchone()
        return row

    async def many(self, name: str, /, **parameters: Any) -> Sequence[Sequence[Any]]:
        """See `Transaction.many`."""
        cursor = self._execute(self._texts[name], parameters)
        rows: list[Sequence[Any]] = from_json(cursor.fetchone()[0]) if name in self._packed else cursor.fetchall()
        return rows

    async def records(self, name: str, /, **parameters: Any) -> list[dict[str, Any]]:
        """See `Transaction.records`."""
        cursor = self._execute(self._texts[name], parameters)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    async def query(self, statement: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """See `Transaction.query`."""
        return self._execute(statement, parameters).fetchall()

    def part(self, name: str) -> str:
        """See `Transaction.part`."""
        return self._texts[name]

    def finish(self) -> None:
        """Commit."""
        self._execute("COMMIT")
        for remember in self.committed:
            remember()
