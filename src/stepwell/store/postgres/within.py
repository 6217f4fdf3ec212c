"""Runs that are written in a transaction of the caller's: by a connection of psycopg, or a connection or session of SQLAlchemy.

SQLAlchemy is not imported here: whoever gives one of its connections has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol
from weakref import WeakSet

import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from stepwell.errors import DatabaseUnavailable, DefinitionError
from stepwell.store.port import Hint
from stepwell.store.postgres.connection import both, compiled, meaning, with_parentheses

_KINDS: Final = "connection= takes a connection of psycopg, or a connection or session of SQLAlchemy on PostgreSQL, to {where}; not {given}"
_NO_TRANSACTION: Final = "connection= has no transaction open: begin one, so that the run is committed with your writes"
_ELSEWHERE: Final = "connection= leads to another database than {where}, this app's: one transaction cannot cover both"
_NOT_ALLOWED: Final = (
    "the user of connection= may not read the tables of {where}; grant it USAGE on schema {namespace}, and SELECT, INSERT and UPDATE "
    "on all tables in it"
)
_FAILED: Final = "connection= is in a transaction that has failed: roll it back, and begin another"
_CLOSED: Final = "connection= is closed"
_ASYNC: Final = "connection= is one for async code, which a SyncStepwell cannot use; give one that blocks, or start the run with Stepwell"

_LOOK: Final = """
SELECT current_database()::text, has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = :namespace AND c.relname = 'identity'
"""
"""Anybody may ask this, and it fails nowhere: an error would end the caller's transaction."""


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

    async def together(self, name: str, other: str, /, **parameters: Any) -> None:
        """See `Transaction.together`."""
        await self._driver.execute(both(self._statements[name], self._statements[other]), parameters)

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
        """Raises DefinitionError: it has no transaction open, and would begin none, or cannot be used any more."""

    async def execute(self, statement: str, parameters: Mapping[str, Any]) -> Result:
        """Execute a statement with `:name` parameters."""

    async def rows(self, statement: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """The rows that it answers."""


async def driver_of(connection: Any, where: str, *, may_wait: bool) -> Driver:
    """How a caller's connection is used.

    Args:
        connection: the caller's.
        where: this app's database, for people.
        may_wait: whether there is an event loop to wait on, as connections for async code do.

    Raises:
        DefinitionError: it is of no kind that is known here, or waits where it may not.
        DatabaseUnavailable: it is a session that has no connection yet, and gets none.
    """
    libraries = {each.__module__.partition(".")[0] for each in type(connection).__mro__}
    driver: Psycopg | SqlAlchemy
    if isinstance(connection, psycopg.AsyncConnection | psycopg.Connection):
        driver = Psycopg(connection, where)
    elif "sqlalchemy" in libraries:
        driver = SqlAlchemy(connection, where)
    else:
        raise DefinitionError(_KINDS.format(where=where, given=_kind(connection)))
    if driver.waits and not may_wait:
        raise DefinitionError(_ASYNC)
    await driver.begin()
    return driver


def _kind(given: Any) -> str:
    """What it is, with the library's name: many have a `Connection`."""
    return f"{type(given).__module__.partition('.')[0]}.{type(given).__qualname__}"


class Psycopg:
    """A connection of psycopg. One that blocks does so in the calling thread, to which it belongs."""

    def __init__(self, connection: psycopg.AsyncConnection[Any] | psycopg.Connection[Any], where: str) -> None:
        self.identity = connection
        self.waits = isinstance(connection, psycopg.AsyncConnection)
        self._connection = connection
        self._where = where

    async def begin(self) -> None:
        """The first statement begins a transaction."""

    async def check(self) -> None:
        """See `Driver.check`."""
        if self._connection.closed:
            raise DefinitionError(_CLOSED)
        status = self._connection.info.transaction_status
        if status is TransactionStatus.INERROR:
            raise DefinitionError(_FAILED)
        if self._connection.autocommit and status is TransactionStatus.IDLE:
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

    def __init__(self, given: Any, where: str) -> None:
        """Raises DefinitionError: it is another object of SQLAlchemy, or no connection to PostgreSQL."""
        from sqlalchemy import Connection  # noqa: PLC0415  # installed, since it was given
        from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session  # noqa: PLC0415
        from sqlalchemy.orm import Session, scoped_session  # noqa: PLC0415

        sessions = (AsyncSession, async_scoped_session, Session, scoped_session)
        if not isinstance(given, (AsyncConnection, Connection, *sessions)):
            raise DefinitionError(_KINDS.format(where=where, given=_kind(given)))
        self.identity: Any = None
        self.waits = isinstance(given, AsyncConnection | AsyncSession | async_scoped_session)
        self._is_session = isinstance(given, sessions)
        self._connection: Any = given
        self._where = where

    async def begin(self) -> None:
        """A session takes its connection, which begins its transaction."""
        given = self._connection
        with _explained(self._where):
            if self._is_session:
                self._connection = await given.connection() if self.waits else given.connection()
            if self._connection.dialect.name != "postgresql":
                raise DefinitionError(_KINDS.format(where=self._where, given=_kind(given)))
            # What SQLAlchemy keeps with the driver's connection, for as long as that lives.
            self.identity = self._connection_info().setdefault("stepwell", _Mark())

    def _connection_info(self) -> dict[str, Any]:
        plain = self._connection.sync_connection if self.waits else self._connection
        info: dict[str, Any] = plain.info
        return info

    async def check(self) -> None:
        """See `Driver.check`."""
        plain = self._connection.sync_connection if self.waits else self._connection
        with _explained(self._where):
            commits_itself = getattr(plain.connection.dbapi_connection, "autocommit", False)
            if commits_itself or plain.get_execution_options().get("isolation_level") == "AUTOCOMMIT":
                raise DefinitionError(_NO_TRANSACTION)

    async def execute(self, statement: str, parameters: Mapping[str, Any]) -> Any:
        """See `Driver.execute`."""
        from sqlalchemy import text  # noqa: PLC0415

        _, names = compiled(statement)
        values = {name: parameters[name] for name in names}
        with _explained(self._where):
            result = self._connection.execute(text(with_parentheses(statement)), values)
            return await result if self.waits else result

    async def rows(self, statement: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """See `Driver.rows`."""
        rows: Sequence[Sequence[Any]] = (await self.execute(statement, parameters)).fetchall()
        return rows


class _Mark:
    """Left on a connection, to know it again."""


@contextmanager
def _explained(where: str) -> Iterator[None]:
    """Errors of SQLAlchemy, and of whatever driver it uses, are those of this package."""
    from sqlalchemy import exc  # noqa: PLC0415

    try:
        yield
    except exc.DBAPIError as error:
        raise _meaning(error.orig or error, where) from error
    except exc.SQLAlchemyError as error:  # a session without a database, or whose transaction has failed
        raise DefinitionError(f"connection= cannot be used: {error}") from error
    except OSError as error:  # of a driver that has not connected yet
        raise DatabaseUnavailable(f"{where}: {error}") from error


def _meaning(error: BaseException, where: str) -> Exception:
    """By the code that the server gave, which every driver keeps somewhere."""
    code = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    if code == errors.InFailedSqlTransaction.sqlstate:
        return DefinitionError(_FAILED)
    if isinstance(error, psycopg.Error):
        return meaning(error, where)
    try:
        kind: type[psycopg.Error] = errors.lookup(code or "")
    except KeyError:
        kind = psycopg.OperationalError
    return meaning(kind(str(error)), where)


class Checked:
    """The connections that are known to lead to this app's database. Others are asked, once each.

    Args:
        identity: what the database calls itself, and the name by which it was reached.
        where: for people.
        namespace: the schema, in which it calls itself so.
    """

    def __init__(self, identity: tuple[str, str], where: str, namespace: str) -> None:
        self._identity = identity
        self._where = where
        self._namespace = namespace
        self._known: WeakSet[Any] = WeakSet()

    async def check(self, driver: Driver) -> None:
        """Raises DefinitionError: it leads elsewhere, or has no transaction open."""
        await driver.check()
        if driver.identity in self._known:
            return
        for name, may_read in await driver.rows(_LOOK, {"namespace": self._namespace}):
            if name != self._identity[1]:
                break
            if not may_read:
                raise DefinitionError(_NOT_ALLOWED.format(where=self._where, namespace=self._namespace))
            ((found,),) = await driver.rows(f'SELECT id::text FROM "{self._namespace}".identity', {})  # noqa: S608  # a checked name
            if found == self._identity[0]:
                self._known.add(driver.identity)
                return
        raise DefinitionError(_ELSEWHERE.format(where=self._where))
