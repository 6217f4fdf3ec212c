"""The connections that are lent to functions of steps: how a transaction on one begins and ends, and what its function may not do to it.

Connections are pooled by what the server knows as one; what Python knows of it is made anew for each function, so that none sees what
another has set.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol, TypeVar

import psycopg
from psycopg.pq import TransactionStatus

from stepwell.errors import DatabaseUnavailable
from stepwell.store.port import EffectFailed
from stepwell.store.postgres.connection import LIMITS, PLANS, Connection, Lent, Pool, Session, give_up
from stepwell.store.sql.transaction import Verb

if TYPE_CHECKING:
    from stepwell.store.port import Effect
    from stepwell.store.postgres.target import Target

T = TypeVar("T")
F = TypeVar("F", "Face", "AsyncFace")

CALLS: Final = {
    "statement_timeout": "1h",
    "idle_in_transaction_session_timeout": "5min",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}
"""Settings while a function has the connection: it may take long, but what it has locked is let go soon after its process is cut off."""

TO_CANCEL: Final = 5.0
"""Seconds for a statement that is not wanted any more to be canceled."""

BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED"
MARKED: Final = ("SET LOCAL stepwell.step = 'begun'", "SHOW transaction_read_only")
"""A setting that ends with the transaction in which it was made: where it is gone, this is another one. Neither of them takes a snapshot,
so the function may still say which isolation it wants."""

MARK: Final = "SELECT coalesce(current_setting('stepwell.step', true), '')"
OURS: Final = ("RESET ROLE", *(f"SET LOCAL {name} = '{value}'" for name, value in (PLANS | LIMITS).items()))
"""What our own statements need after those of the function."""

_REFUSED: Final = "a step's connection takes no {}: the step commits what is written together with its own record, or rolls back both"


class Standing(Enum):
    """Of a transaction, after its function."""

    OPEN = auto()
    ABORTED = auto()
    """A statement has failed, and the server takes no more."""
    ENDED = auto()
    """The function has committed it, or rolled it back."""
    BUSY = auto()
    """A statement goes on, or its rows have not been read."""
    GONE = auto()
    """The connection is lost."""


class Line(Protocol):
    """A connection in an open transaction that is lent to one function."""

    refused: list[str]
    """What the function has tried and must not do."""

    async def call(self, effect: Effect) -> Any:
        """What its function returns. Raises EffectFailed."""

    @property
    def standing(self) -> Standing:
        """Of the transaction."""

    async def take_over(self) -> bool:
        """Make ready for our own statements; False: it is not the transaction any more that was lent."""

    async def run(self, verb: Verb[T], /, *args: Any) -> T:
        """Call it with the transaction."""

    async def commit(self) -> None:
        """Make it durable."""


class Lines(Protocol):
    """Where they come from."""

    def lend(self, effect: Effect) -> AbstractAsyncContextManager[Line]:
        """A connection in a transaction, which is rolled back in the end unless it was committed."""

    async def close(self, patience: float) -> None:
        """Let go of all connections."""


# -- of psycopg


class PsycopgLines:
    """Of psycopg: blocking ones for a `def`, others for an `async def`. At most as many as workers have."""

    def __init__(self, target: Target, statements: Mapping[str, str]) -> None:
        self._target = target
        self._statements = statements
        self._pool = Pool(target, statements, CALLS, target.size)

    @asynccontextmanager
    async def lend(self, effect: Effect) -> AsyncIterator[Line]:
        """See `Lines.lend`."""
        async with self._pool.begun(BEGIN) as lent:
            await self._mark(lent)
            line = PsycopgLine(lent, self._statements, is_async=effect.is_async, prepares=self._target.prepare and not lent.pooled)
            try:
                yield line
            except asyncio.CancelledError:
                line.interrupted = True
                raise
            finally:
                await line.end()

    async def _mark(self, lent: Lent) -> None:
        cursor = await lent.connection.execute("; ".join(MARKED))
        cursor.nextset()
        if await cursor.fetchone() == ("on",):
            raise DatabaseUnavailable(f"{self._target.label}: the server takes no writes now: a standby, or one that was made read-only")

    async def close(self, patience: float) -> None:
        """See `Lines.close`."""
        await self._pool.close(patience)


class PsycopgLine:
    """See `Line`. The pool's own connection and that of the function are two faces of one."""

    def __init__(self, lent: Lent, statements: Mapping[str, str], *, is_async: bool, prepares: bool) -> None:
        self.refused: list[str] = []
        self._own = lent.connection
        self._pooled = lent.pooled
        self._session = Session(lent.connection, statements, prepare=False)
        self._is_async = is_async
        self._prepares = prepares
        self._canceling: asyncio.Task[None] | None = None
        self._lock = threading.Lock()
        self._in_thread = False
        self._is_left = False
        self.interrupted = False
        """The server may have been asked to cancel what it does."""

    async def call(self, effect: Effect) -> Any:
        """See `Line.call`."""
        try:
            if self._is_async:
                return await effect.awaited(self._prepared(AsyncFace(self._own.pgconn)))
            self._in_thread = True
            return await effect.in_thread(lambda: self._call(effect, self._prepared(Face(self._own.pgconn))), self._stop)
        except EffectFailed as failed:
            self.interrupted = self.interrupted or isinstance(failed.__cause__, asyncio.CancelledError)
            raise
        finally:
            if self._canceling is not None:
                await self._canceling

    def _prepared(self, face: F) -> F:
        face.refused = self.refused
        if not self._prepares:
            face.prepare_threshold = None
        return face

    def _call(self, effect: Effect, face: Face) -> Any:
        try:
            return effect.call(face)
        finally:
            with self._lock:
                self._in_thread = False
                if self._is_left:
                    give_up(self._own)

    def _stop(self) -> None:
        self.interrupted = True
        self._canceling = asyncio.get_running_loop().create_task(self._cancel())

    async def _cancel(self) -> None:
        with suppress(psycopg.Error):  # the function then runs out
            await self._own.cancel_safe(timeout=TO_CANCEL)

    @property
    def standing(self) -> Standing:
        """See `Line.standing`."""
        return _STANDINGS[TransactionStatus(self._own.pgconn.transaction_status)]

    async def take_over(self) -> bool:
        """See `Line.take_over`."""
        cursor = await self._own.execute("; ".join((MARK, *OURS)))
        return await cursor.fetchone() == ("begun",)

    async def run(self, verb: Verb[T], /, *args: Any) -> T:
        """See `Line.run`."""
        return await verb(self._session, *args)

    async def commit(self) -> None:
        """See `Line.commit`."""
        await self._own.execute("COMMIT")
        for remember in self._session.committed:
            remember()

    async def end(self) -> None:
        """Roll back what is not committed, and leave nothing of the function on the connection."""
        with self._lock:
            self._is_left = self._in_thread
        if self._is_left:
            _hang_up(self._own)
            return
        if self.interrupted or self.standing in (Standing.BUSY, Standing.GONE):
            give_up(self._own)  # the server may still be about to cancel whatever comes next on it
            return
        try:
            if self.standing is not Standing.ENDED:
                await self._own.execute("ROLLBACK")
            if not self._pooled:
                await self._own.execute("DISCARD ALL")
        except psycopg.Error:
            give_up(self._own)  # whatever became of the transaction is known by now


def _hang_up(connection: Connection) -> None:
    """Cut it off. A thread is using it, which must not find it freed, but lost; it frees it in the end."""
    with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)


_STANDINGS: Final = {
    TransactionStatus.IDLE: Standing.ENDED,
    TransactionStatus.INTRANS: Standing.OPEN,
    TransactionStatus.INERROR: Standing.ABORTED,
    TransactionStatus.ACTIVE: Standing.BUSY,
    TransactionStatus.UNKNOWN: Standing.GONE,
}


class Face(psycopg.Connection[Any]):
    """What a `def` is given: a connection that neither commits, rolls back nor closes."""

    refused: list[str]

    def __del__(self, *_: Any) -> None:
        """The connection is the pool's; there is nothing to close."""

    def commit(self) -> NoReturn:
        """Refused: the step does it. Raises ProgrammingError."""
        _refuse(self.refused, "commit()")

    def rollback(self) -> NoReturn:
        """Refused: raise, and the step does it. Raises ProgrammingError."""
        _refuse(self.refused, "rollback()")

    def close(self) -> NoReturn:
        """Refused. Raises ProgrammingError."""
        _refuse(self.refused, "close()")

    def __exit__(self, *_: object) -> NoReturn:
        """Refused, for it would end the transaction. Raises ProgrammingError."""
        _refuse(self.refused, "`with connection:`")


class AsyncFace(psycopg.AsyncConnection[Any]):
    """What an `async def` is given, likewise."""

    refused: list[str]

    def __del__(self, *_: Any) -> None:
        """The connection is the pool's; there is nothing to close."""

    async def commit(self) -> NoReturn:
        """Refused: the step does it. Raises ProgrammingError."""
        _refuse(self.refused, "commit()")

    async def rollback(self) -> NoReturn:
        """Refused: raise, and the step does it. Raises ProgrammingError."""
        _refuse(self.refused, "rollback()")

    async def close(self) -> NoReturn:
        """Refused. Raises ProgrammingError."""
        _refuse(self.refused, "close()")

    async def __aexit__(self, *_: object) -> NoReturn:
        """Refused, for it would end the transaction. Raises ProgrammingError."""
        _refuse(self.refused, "`async with connection:`")


def _refuse(refused: list[str], what: str) -> NoReturn:
    refused.append(what)
    raise psycopg.ProgrammingError(_REFUSED.format(what))
