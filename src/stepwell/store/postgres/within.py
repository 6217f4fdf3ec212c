"""Runs that are written in a transaction of the caller's: by a connection of psycopg, or a connection or session of SQLAlchemy.

SQLAlchemy is not imported here: whoever gives one of its connections has it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol
from weakref import WeakSet

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from stepwell.errors import DatabaseUnavailable, DefinitionError
from stepwell.store.port import Hint
from stepwell.store.postgres.connection import compiled, meaning

_KINDS: Final = "connection= takes a connection of psycopg, or a connection or session of SQLAlchemy on PostgreSQL, to {where}; not {given}"
_NO_TRANSACTION: Final = "connection= has no transaction open: begin one, so that the run is committed with your writes"
_ELSEWHERE: Final = "connection= leads to another database than {where}, this app's: one transaction cannot cover both"
_CAST: Final = re.compile(r"(?<![:\w]):([a-z_]+)(?=::)")
"""A parameter before a cast, where SQLAlchemy does not see it."""


class Result(Protocol):
    """What a statement has answered."""

    @property
    def rowcount(self) -> int:
        """Rows that it touched."""

    def fetchall(self) -> Sequence[Sequence[Any]]:
        """Its rows."""


class Within:
    """The caller's transaction, as the verbs see it. It is neither begun nor ended here. See `store.sql.transaction`."""

    def __init__(self, driver: Driver, statements: Mapping[str, str]) -> None:
        self._driver = driver
        self._statements = statements
        self.hints: set[Hint] = set()
        self.committed: list[Callable[[], None]] = []

    async def execute(self, name: str, /, **parameters: Any) -> int:
        """See `Transaction.execute`."""
        return (await self._driver.execute(self._statements[name], parameters)).rowcount

    async def one(self, name: str, /, **parameters: Any) -> Sequence[Any] | None:
        """See `Transaction.one`."""
        rows = await self.many(name, **parameters)
        return rows[0] if rows else None

    async def many(self, name: str, /, **parameters: Any) -> Sequence[Sequence[Any]]:
        """See `Transaction.many`."""
        return await self._driver.rows(self._statements[name], parameters)

    async def records(self, name: str, /, **parameters: Any) -> list[dict[str, Any]]:
        """See `Transaction.records`. Nothing that is done in here asks for them."""
        raise NotImplementedError(name)

    async def query(self, statement: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """See `Transaction.query`."""
        return await self._driver.rows(statement, parameters)

    def part(self, name: str) -> str:
        """See `Transaction.part`."""
        return self._statements[name]


class Driver(Protocol):
    """A connection of some library, blocking or not."""

    identity: Any
    """By which it is known again."""

    async def check(self) -> None:
        """Raises DefinitionError: it has no transaction open, and would begin none."""

    async def execute(self, statement: str, parameters: Mapping[str, Any]) -> Result:
        """Execute a statement with `:name` parameters."""

    async def rows(self, statement: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """The rows that it answers."""


async def driver_of(connection: Any, where: str) -> Driver:
    """How a caller's connection is used.

    Raises:
        DefinitionError: it is of no kind that is known here.
    """
    if isinstance(connection, psycopg.AsyncConnection | psycopg.Connection):
        return Psycopg(connection, where)
    if type(connection).__module__.partition(".")[0] == "sqlalchemy" or hasattr(connection, "get_bind"):
        return await SqlAlchemy.of(connection, where)
    raise DefinitionError(_KINDS.format(where=where, given=type(connection).__qualname__))


class Psycopg:
    """A connection of psycopg. One that blocks does so in the calling thread, to which it belongs."""

    def __init__(self, connection: psycopg.AsyncConnection[Any] | psycopg.Connection[Any], where: str) -> None:
        self.identity = connection
        self._connection = connection
        self._where = where

    async def check(self) -> None:
        """See `Driver.check`."""
        if self._connection.autocommit and self._connection.info.transaction_status is TransactionStatus.IDLE:
            raise DefinitionError(_NO_TRANSACTION)

    async def execute(self, statement: str, parameters: Mapping[str, Any]) -> Any:
        """See `Driver.execute`."""
        text, names = compiled(statement)
        values = [parameters[name] for name in names]
        try:
            # Rows as tuples, whatever the caller makes of them elsewhere.
            if isinstance(self._connection, psycopg.AsyncConnection):
                return await psycopg.AsyncRawCursor(self._connection, row_factory=tuple_row).execute(text, values)
            return psycopg.RawCursor(self._connection, row_factory=tuple_row).execute(text, values)
        except psycopg.Error as error:
            raise meaning(error, self._where) from error

    async def rows(self, statement: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """See `Driver.rows`."""
        cursor = await self.execute(statement, parameters)
        rows: Sequence[Sequence[Any]]
        rows = await cursor.fetchall() if isinstance(cursor, psycopg.AsyncCursor) else cursor.fetchall()
        return rows


class SqlAlchemy:
    """A connection of SQLAlchemy, whatever driver it has; a session's is the one of its transaction."""

    def __init__(self, connection: Any, where: str, *, waits: bool) -> None:
        self.identity = connection
        self._connection = connection
        self._waits = waits
        self._where = where

    @classmethod
    async def of(cls, given: Any, where: str) -> SqlAlchemy:
        """Raises DefinitionError: it is another object of SQLAlchemy, or no connection to PostgreSQL."""
        from sqlalchemy import Connection  # noqa: PLC0415  # installed, since it was given
        from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session  # noqa: PLC0415
        from sqlalchemy.orm import Session, scoped_session  # noqa: PLC0415

        connection = given
        if isinstance(given, AsyncSession | async_scoped_session):
            connection = await given.connection()
        elif isinstance(given, Session | scoped_session):
            connection = given.connection()
        if not isinstance(connection, AsyncConnection | Connection) or connection.dialect.name != "postgresql":
            raise DefinitionError(_KINDS.format(where=where, given=type(given).__qualname__))
        return cls(connection, where, waits=isinstance(connection, AsyncConnection))

    async def check(self) -> None:
        """See `Driver.check`."""
        plain = self._connection.sync_connection if self._waits else self._connection
        if plain.get_execution_options().get("isolation_level", plain.default_isolation_level) == "AUTOCOMMIT":
            raise DefinitionError(_NO_TRANSACTION)

    async def execute(self, statement: str, parameters: Mapping[str, Any]) -> Any:
        """See `Driver.execute`."""
        from sqlalchemy import exc, text  # noqa: PLC0415

        _, names = compiled(statement)
        values = {name: parameters[name] for name in names}
        try:
            result = self._connection.execute(text(_CAST.sub(r"(:\1)", statement)), values)
            return await result if self._waits else result
        except exc.DBAPIError as error:
            original = error.orig
            if isinstance(original, psycopg.Error):
                raise meaning(original, self._where) from error
            raise DatabaseUnavailable(f"{self._where}: {original}") from error

    async def rows(self, statement: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """See `Driver.rows`."""
        rows: Sequence[Sequence[Any]] = (await self.execute(statement, parameters)).fetchall()
        return rows


class Checked:
    """The connections that are known to lead to this app's database. Others are asked, once each.

    Args:
        identity: what the database calls itself, and the name by which it was reached.
        where: for people.
        table: that holds the first.
    """

    def __init__(self, identity: tuple[str, str], where: str, table: str) -> None:
        self._identity = identity
        self._where = where
        self._table = table
        self._known: WeakSet[Any] = WeakSet()

    async def check(self, driver: Driver) -> None:
        """Raises DefinitionError: it leads elsewhere, or has no transaction open."""
        await driver.check()
        if driver.identity in self._known:
            return
        # First whether it is there: to ask a table that is not would end the caller's transaction.
        ((is_there, name),) = await driver.rows("SELECT to_regclass(:name) IS NOT NULL, current_database()::text", {"name": self._table})
        if is_there:
            statement = f"SELECT id::text FROM {self._table}"  # noqa: S608  # of a checked name
            ((found,),) = await driver.rows(statement, {})
            if (found, name) == self._identity:
                self._known.add(driver.identity)
                return
        raise DefinitionError(_ELSEWHERE.format(where=self._where))
