"""The connections of an SQLAlchemy engine, lent to functions of steps as those of psycopg are: by any driver for PostgreSQL.

The engine's pool is the user's, and so is what it does to connections that come back. SQLAlchemy is imported only when there is one.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus

from stepwell.errors import DatabaseUnavailable, DefinitionError
from stepwell.store.port import EffectFailed
from stepwell.store.postgres.lines import MARK, MARKED, OURS, READ_ONLY, STANDINGS, TO_CANCEL, Standing
from stepwell.store.postgres.within import SqlAlchemy, Within
from stepwell.store.sql.transaction import at_once

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

    from stepwell.store.port import Effect
    from stepwell.store.postgres.lines import Line
    from stepwell.store.sql.transaction import Verb

T = TypeVar("T")

_ISOLATION: Final = "READ COMMITTED"
"""Also where the engine commits each statement by itself."""

_OTHER_KIND: Final = (
    "the function of transaction {key!r} is {kind}, and the app was given {engine}, whose connections are not for such. Make it the other "
    "kind of function, or give the app the other kind of engine"
)


class EngineLines:
    """Of an engine of SQLAlchemy: blocking ones for a `def`, or those of an async engine for an `async def`."""

    def __init__(self, engine: Engine | AsyncEngine, statements: Mapping[str, str], label: str) -> None:
        self._engine: Any = engine
        self._waits = hasattr(engine, "sync_engine")
        self._statements = statements
        self._label = label

    @asynccontextmanager
    async def lend(self, effect: Effect) -> AsyncIterator[Line]:
        """See `Lines.lend`. Raises DefinitionError: the engine's connections are not for such a function."""
        if effect.is_async is not self._waits:
            kind, engine = ("an `async def`", "an Engine") if effect.is_async else ("a `def`", "an AsyncEngine")
            raise DefinitionError(_OTHER_KIND.format(key=effect.key, kind=kind, engine=engine))
        line = EngineLine(self._engine, self._statements, self._label, waits=self._waits)
        try:
            await line.begin()
            yield line
        except asyncio.CancelledError:
            line.interrupted = True
            raise
        finally:
            await line.end()

    async def close(self, patience: float) -> None:
        """See `Lines.close`. The engine is its owner's to dispose of."""


class EngineLine:
    """See `Line`. What blocks is done in threads."""

    def __init__(self, engine: Any, statements: Mapping[str, str], label: str, *, waits: bool) -> None:
        self.refused: list[str] = []
        self.interrupted = False
        self._engine = engine
        self._statements = statements
        self._label = label
        self._waits = waits
        self._connection: Any = None
        self._transaction: Any = None
        self._lock = threading.Lock()
        self._in_thread = False
        self._is_left = False
        self._canceling: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Open the transaction."""
        self._connection = await self._do(self._engine.connect)
        await self._do(self._connection.execution_options, isolation_level=_ISOLATION)
        self._transaction = await self._do(self._connection.begin)
        for statement in MARKED[:-1]:
            await self._execute(statement)
        if (await self._execute(MARKED[-1])).scalar() == "on":
            raise DatabaseUnavailable(READ_ONLY.format(self._label))

    async def _execute(self, statement: str) -> Any:
        from sqlalchemy import text  # noqa: PLC0415  # installed, since there is an engine

        return await self._do(self._connection.execute, text(statement))

    async def _do(self, method: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Call it where it belongs. Errors are those that psycopg has for them."""
        from sqlalchemy import exc  # noqa: PLC0415

        try:
            return await (method(*args, **options) if self._waits else asyncio.to_thread(method, *args, **options))
        except exc.DBAPIError as error:
            raise _as_psycopg(error) from error

    async def call(self, effect: Effect) -> Any:
        """See `Line.call`."""
        try:
            if self._waits:
                return await effect.awaited(self._connection)
            self._in_thread = True
            return await effect.in_thread(lambda: self._call(effect), self._stop)
        except EffectFailed as failed:
            self.interrupted = self.interrupted or isinstance(failed.__cause__, asyncio.CancelledError)
            raise
        finally:
            if self._canceling is not None:
                await self._canceling

    def _call(self, effect: Effect) -> Any:
        try:
            return effect.call(self._connection)
        finally:
            with self._lock:
                self._in_thread = False
                if self._is_left:
                    self._connection.invalidate()
                    self._connection.close()

    def _stop(self) -> None:
        self.interrupted = True
        driver = self._driver()
        if isinstance(driver, psycopg.Connection):
            self._canceling = asyncio.get_running_loop().create_task(self._cancel(driver))

    async def _cancel(self, driver: psycopg.Connection[Any]) -> None:
        with suppress(psycopg.Error):  # the function then runs out
            await asyncio.to_thread(driver.cancel_safe, timeout=TO_CANCEL)

    def _driver(self) -> Any:
        """The connection of the driver beneath; None: it has been lost, or closed."""
        plain = self._connection.sync_connection if self._waits else self._connection
        return None if plain is None or plain.closed or plain.invalidated else plain.connection.driver_connection

    @property
    def standing(self) -> Standing:
        """See `Line.standing`."""
        if self._connection.closed:
            return Standing.ENDED  # by the function, with what it had written
        driver = self._driver()
        if driver is None:
            return Standing.GONE
        status = getattr(getattr(driver, "info", None), "transaction_status", None)  # of psycopg, old and new
        if status is not None and status != TransactionStatus.INTRANS:
            return STANDINGS[TransactionStatus(status)]
        return Standing.OPEN if self._transaction.is_active else Standing.ENDED

    async def take_over(self) -> bool:
        """See `Line.take_over`."""
        mark = (await self._execute(MARK)).scalar()
        for statement in OURS:
            await self._execute(statement)
        return bool(mark == "begun")

    async def run(self, verb: Verb[T], /, *args: Any) -> T:
        """See `Line.run`."""
        within = Within(SqlAlchemy(self._connection, self._label), self._statements)
        if self._waits:
            return await verb(within, *args)
        return await asyncio.to_thread(lambda: at_once(verb(within, *args)))

    async def commit(self) -> None:
        """See `Line.commit`."""
        await self._do(self._transaction.commit)

    async def end(self) -> None:
        """Roll back what is not committed, and give the connection back to its pool."""
        with self._lock:
            self._is_left = self._in_thread
        if self._is_left or self._connection is None or self._connection.closed:
            return
        try:
            if self.interrupted or self.standing in (Standing.BUSY, Standing.GONE):
                await self._do(self._connection.invalidate)
            elif self._transaction is not None and self._transaction.is_active:
                await self._do(self._transaction.rollback)
        except psycopg.Error:
            await self._do(self._connection.invalidate)  # whatever became of the transaction is known by now
        finally:
            await self._do(self._connection.close)


def _as_psycopg(error: Any) -> psycopg.Error:
    original = error.orig
    if isinstance(original, psycopg.Error):
        return original
    code = getattr(original, "sqlstate", None) or getattr(original, "pgcode", None)
    try:
        kind: type[psycopg.Error] = errors.lookup(code) if code else psycopg.OperationalError
    except KeyError:
        kind = psycopg.DatabaseError
    return kind(str(original))
