"""Connections to one PostgreSQL database: how they are made, lent and given up, and what of the server's errors means what.

A connection is in one of two moods. Straight to the server it has our settings from its start, and prepares its statements. Behind a
pooler that lends a server's connection for each transaction (pgbouncer and its like) nothing outlives a transaction: then each begins with
our settings, and nothing is prepared. Which of the two it is, a new connection finds out by itself.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeVar

import psycopg
from psycopg import errors, waiting
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.types.numeric import Int8Dumper

from stepwell.errors import DatabaseUnavailable
from stepwell.store.port import Hint, WriteRefused
from stepwell.store.postgres.target import Target
from stepwell.store.sql.transaction import Verb
from stepwell.store.sql.verbs import SOON

T = TypeVar("T")

Connection = psycopg.AsyncConnection[tuple[Any, ...]]

TO_CONNECT: Final = 5
"""Seconds in which one server answers to a new connection."""

STATEMENT: Final = 30
"""Seconds that the server gives a statement."""

LOCK: Final = 10
"""Seconds that a statement waits for a lock."""

IDLE: Final = 15
"""Seconds after which the server ends a transaction whose client has fallen silent: what it has locked is in the way of others."""

ALTOGETHER: Final = 45.0
"""Seconds for all of a transaction, as seen from here; then the connection is given up."""

TRIES: Final = 6
"""Of a transaction that others got in the way of."""

_SILENCE: Final = {"keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10_000}
"""How soon a server that the network has swallowed is given up, unless the URL says otherwise: seconds, and milliseconds."""

PLANS: Final = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
"""Statements of workers name the rows that they want, so every plan is one of indexes, whatever the tables held when it was made."""

LIMITS: Final = {
    "statement_timeout": f"{STATEMENT}s",
    "lock_timeout": f"{LOCK}s",
    "idle_in_transaction_session_timeout": f"{IDLE}s",
}

_READ: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_READ_SOON: Final = f"{_READ}; SET LOCAL statement_timeout = '{SOON:g}s'"

_NEVER: Final = 1 << 62

_PARAMETER: Final = re.compile(r"(?<![:\w]):([a-z_]+)")


# -- statements


@lru_cache(maxsize=1024)
def compiled(statement: str) -> tuple[str, tuple[str, ...]]:
    """A statement with `:name` as PostgreSQL wants it, with `$1`; and the names in that order."""
    names = tuple(dict.fromkeys(_PARAMETER.findall(statement)))
    places = {name: f"${place}" for place, name in enumerate(names, 1)}
    return _PARAMETER.sub(lambda match: places[match[1]], statement), names


def with_parentheses(statement: str) -> str:
    """The statement as SQLAlchemy can read it, to which `:name::jsonb` is no parameter."""
    return _PARAMETER.sub(r"(:\1)", statement)


class Session:
    """A connection in an open transaction, and what to tell others when it is committed. See `sql.transaction.Transaction`."""

    def __init__(self, connection: Connection, statements: Mapping[str, str], *, prepare: bool | None) -> None:
        self.connection = connection
        self.hints: set[Hint] = set()
        self.committed: list[Callable[[], None]] = []
        self._statements = statements
        self._prepare = prepare

    async def execute(self, name: str, /, **parameters: Any) -> int:
        """See `Transaction.execute`."""
        cursor = await self._run(self._statements[name], parameters, self._prepare)
        return cursor.rowcount

    async def together(self, name: str, other: str, /, **parameters: Any) -> None:
        """See `Transaction.together`."""
        await self._run(both(self._statements[name], self._statements[other]), parameters, self._prepare)

    async def one(self, name: str, /, **parameters: Any) -> tuple[Any, ...] | None:
        """See `Transaction.one`."""
        return await (await self._run(self._statements[name], parameters, self._prepare)).fetchone()

    async def many(self, name: str, /, **parameters: Any) -> Sequence[Sequence[Any]]:
        """See `Transaction.many`."""
        return await (await self._run(self._statements[name], parameters, self._prepare)).fetchall()

    async def records(self, name: str, /, **parameters: Any) -> list[dict[str, Any]]:
        """See `Transaction.records`."""
        cursor = await self._run(self._statements[name], parameters, self._prepare)
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in await cursor.fetchall()]

    async def query(self, statement: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """See `Transaction.query`. Planned for these parameters: which index is the best depends on them."""
        return await (await self._run(statement, parameters, prepare=False)).fetchall()

    def part(self, name: str) -> str:
        """See `Transaction.part`."""
        return self._statements[name]

    async def _run(self, statement: str, parameters: Mapping[str, Any], prepare: bool | None) -> psycopg.AsyncCursor[tuple[Any, ...]]:
        text, names = compiled(statement)
        cursor = psycopg.AsyncRawCursor(self.connection)
        values = [_findable(parameters[name]) if name in _IDS else parameters[name] for name in names]
        return await cursor.execute(text, values, prepare=prepare, binary=True)


_IDS: Final = frozenset({"run", "source", "worker"})
"""Parameters by which something is looked for, and which users may give."""


def _findable(text: str | None) -> str | None:
    """The text, or one that nothing has either, if no text in the database can be this one."""
    return "\ufffd" if text is not None and "\0" in text else text


def both(statement: str, other: str) -> str:
    """One statement that does what these two do, which insert."""
    return f"WITH other AS (\n{other}\n)\n{statement}"


# -- making connections


class Opened(NamedTuple):
    """A new connection."""

    connection: Connection
    pooled: bool
    """There is a pooler between us and the server."""


async def connect(target: Target, settings: Mapping[str, str]) -> Opened:
    """A connection with these settings.

    Raises:
        DatabaseUnavailable: no server could be reached that lets us in, and can be written to.
    """
    try:
        try:
            connection = await _connect(target, settings)
        except psycopg.OperationalError as error:
            if "unsupported startup parameter" not in str(error):
                raise
            return Opened(await _connect(target, {}), pooled=True)
        pooled = await _has_lost(connection, settings)
        # Nothing is prepared by itself, after so many times; what we ask to be prepared is.
        connection.prepare_threshold = None if pooled or not target.prepare else _NEVER
        return Opened(connection, pooled)
    except psycopg.Error as error:
        raise unavailable(error, target.label) from error


async def _connect(target: Target, settings: Mapping[str, str]) -> Connection:
    parameters = connection_parameters(target.url, settings)
    connection = await _Connection.connect(**parameters, autocommit=True, prepare_threshold=None)
    connection.prepared_max = 500
    connection.adapters.register_dumper(int, Int8Dumper)  # one type for small and great numbers, so one plan
    return connection


class _Connection(psycopg.AsyncConnection[tuple[Any, ...]]):
    """Whoever stops waiting for an answer gives the connection up: psycopg would first ask the server, which may be frozen."""

    async def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:  # noqa: ASYNC109  # psycopg's
        """See `psycopg.AsyncConnection.wait`."""
        options = {} if timeout is None else {"timeout": timeout}  # which the first of psycopg 3.3 do not know
        try:
            return await waiting.wait_async(gen, self.pgconn.socket, interval=interval, **options)
        except asyncio.CancelledError:
            give_up(self)
            raise


def connection_parameters(url: str, settings: Mapping[str, str]) -> dict[str, Any]:
    """What libpq is to be told: what the URL says, and where it is silent, what we prefer."""
    given: dict[str, Any] = {**_SILENCE, "connect_timeout": TO_CONNECT, "application_name": "stepwell", **conninfo_to_dict(url)}
    if "," in str(given.get("host", "")):
        given.setdefault("target_session_attrs", "read-write")  # after a failover, the one that was promoted
    if settings:
        ours = " ".join(f"-c {name}={value}" for name, value in settings.items())
        given["options"] = f"{ours} {given['options']}" if given.get("options") else ours
    return given


async def _has_lost(connection: Connection, settings: Mapping[str, str]) -> bool:
    """Whether what we have asked for did not arrive: poolers can be told to drop it in silence."""
    for name in list(settings)[:1]:
        row = await (await connection.execute("SELECT current_setting(%s)", (name,), prepare=False)).fetchone()
        return row is None or row[0] != settings[name]
    return False


# -- lending connections


class Lent(NamedTuple):
    """A connection of a pool."""

    connection: Connection
    pooled: bool
    is_new: bool


Way = Callable[[str, Verb[T], tuple[Any, ...]], Coroutine[Any, Any, tuple[T, Session]]]
"""How work is done: in a transaction that is begun so, or as one statement."""


class Pool:
    """A few connections, made when they are needed. What went wrong with the last one is said to whoever asks next.

    The one that was used last is lent first: its statements are prepared, and the others can be closed.

    Args:
        target: the database.
        statements: by their names.
        settings: of each connection.
        size: connections at the same time.
    """

    def __init__(self, target: Target, statements: Mapping[str, str], settings: Mapping[str, str], size: int) -> None:
        self._target = target
        self._statements = statements
        self._settings = settings
        self._free = asyncio.Semaphore(size)
        self._idle: deque[Lent] = deque()
        self._lent: set[Connection] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._process = os.getpid()
        self._is_closed = False

    async def write(self, work: Verb[T], /, *args: Any) -> tuple[T, Session]:
        """Call it in a transaction that is durable when this returns. Tried again when others got in its way."""
        return await self.own(self._again(self._transact, "BEGIN", work, args))

    async def read(self, work: Verb[T], /, *args: Any, soon: bool = False) -> T:
        """Call it in a transaction that only reads, and sees one moment; `soon`: each statement is given `SOON` only."""
        result, _ = await self.own(self._again(self._transact, _READ_SOON if soon else _READ, work, args))
        return result

    async def single(self, work: Verb[T], /, *args: Any) -> T:
        """Call what executes no more than one statement, which is then a transaction by itself."""
        result, _ = await self.own(self._again(self._execute, "BEGIN", work, args))
        return result

    async def own(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """In a task of its own: whoever gives up waiting for a server need not wait for the connection to be given up."""
        if os.getpid() != self._process:
            coroutine.close()
            raise RuntimeError("this process was forked from one that had the database open; open the app after the fork, in each process")
        if self._is_closed:
            coroutine.close()
            raise DatabaseUnavailable(f"{self._target.label} is closed; open the app first", permanent=True)
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            waiter = asyncio.current_task()
            if not task.cancelled() or waiter is None or waiter.cancelling():
                raise
            raise DatabaseUnavailable(f"{self._target.label} was closed meanwhile", permanent=True) from None

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # nobody may be waiting for it any more

    async def _again(
        self,
        way: Callable[[str, Verb[T], tuple[Any, ...]], Coroutine[Any, Any, tuple[T, Session]]],
        begin: str,
        work: Verb[T],
        args: tuple[Any, ...],
    ) -> tuple[T, Session]:
        tries = 0
        while True:
            tries += 1
            try:
                async with asyncio.timeout(ALTOGETHER):
                    return await way(begin, work, args)
            except (errors.DeadlockDetected, errors.SerializationFailure, errors.FeatureNotSupported) as error:
                if tries == TRIES:
                    raise meaning(error, self._target.label) from error
                await asyncio.sleep(0.002 * 2**tries)  # different for each, by what each has waited for
            except psycopg.Error as error:
                raise meaning(error, self._target.label) from error
            except TimeoutError as error:
                raise DatabaseUnavailable(f"{self._target.label} has not answered for {ALTOGETHER:g} s") from error

    async def _transact(self, begin: str, work: Verb[T], args: tuple[Any, ...]) -> tuple[T, Session]:
        async with self.begun(begin) as lent:
            session = Session(lent.connection, self._statements, prepare=self._prepares(lent))
            try:
                result = await work(session, *args)
            except Exception:
                if not lent.connection.closed:
                    await lent.connection.execute("ROLLBACK")
                raise
            await lent.connection.execute("COMMIT")
        for remember in session.committed:
            remember()
        return result, session

    async def _execute(self, begin: str, work: Verb[T], args: tuple[Any, ...]) -> tuple[T, Session]:
        while True:
            async with self._borrowed() as lent:
                if lent.pooled:
                    break
                session = Session(lent.connection, self._statements, prepare=self._prepares(lent))
                try:
                    return await work(session, *args), session
                except psycopg.OperationalError:
                    # It had died in the meantime. Each verb can be called again with the same arguments.
                    if lent.is_new or not lent.connection.closed:
                        raise
        return await self._transact(begin, work, args)

    def _prepares(self, lent: Lent) -> bool | None:
        return self._target.prepare and not lent.pooled

    @asynccontextmanager
    async def begun(self, begin: str) -> AsyncIterator[Lent]:
        """A connection in a transaction. One that had died in the meantime is replaced: nothing has been asked of it yet."""
        while True:
            async with self._borrowed() as lent:
                try:
                    await self._begin(lent, begin)
                except psycopg.OperationalError:
                    if lent.is_new:
                        raise
                    await lent.connection.close()
                    continue
                yield lent
                return

    async def _begin(self, lent: Lent, begin: str) -> None:
        if not lent.pooled:
            await lent.connection.execute(begin)
            return
        settings = "".join(f"; SET LOCAL {name} = '{value}'" for name, value in self._settings.items())
        begin, separator, own = begin.partition(";")
        await lent.connection.execute(begin + settings + separator + own)

    @asynccontextmanager
    async def _borrowed(self) -> AsyncIterator[Lent]:
        async with self._free:
            lent = await self._take()
            self._lent.add(lent.connection)
            try:
                yield lent
            finally:
                self._lent.discard(lent.connection)
                await self._take_back(lent)

    async def _take(self) -> Lent:
        while self._idle:
            lent = self._idle.pop()
            if not lent.connection.closed:
                return lent
        opened = await connect(self._target, self._settings)
        return Lent(opened.connection, opened.pooled, is_new=True)

    async def _take_back(self, lent: Lent) -> None:
        connection = lent.connection
        if connection.closed or self._is_closed or connection.info.transaction_status is not TransactionStatus.IDLE:
            give_up(connection)
        else:
            self._idle.append(lent._replace(is_new=False))

    async def close(self, patience: float) -> None:
        """Let go of all connections: those in use after so many seconds, in the middle of what they do."""
        self._is_closed = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=patience)
        for connection in self._lent:
            connection.pgconn.finish()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while self._idle:
            give_up(self._idle.pop().connection)


def give_up(connection: Connection) -> None:
    """Close it at once, whatever it is doing: the server rolls back."""
    with suppress(psycopg.Error):
        connection.pgconn.finish()


# -- errors


def meaning(error: psycopg.Error, label: str) -> Exception:
    """Errors of the data are refusals; all others say that the server could not do it now."""
    if isinstance(error, psycopg.DataError | psycopg.IntegrityError):
        return WriteRefused(str(error).splitlines()[0])
    return unavailable(error, label)


def unavailable(error: psycopg.Error, label: str) -> DatabaseUnavailable:
    """What a user is told of an error of the server, or on the way to it."""
    said = _said(error)
    kind = _kind(error, said)
    for known, explained in _EXPLAINED.items():
        if issubclass(kind, known):
            return DatabaseUnavailable(f"{label}: {explained} ({said})", permanent=issubclass(kind, _PERMANENT))
    return DatabaseUnavailable(f"{label}: {said}", permanent=issubclass(kind, _PERMANENT))


def _said(error: psycopg.Error) -> str:
    """The server's words without the statement, or all that was said on the way to it."""
    return error.diag.message_primary or " ".join(str(error).split()) or type(error).__name__


def _kind(error: psycopg.Error, said: str) -> type[psycopg.Error]:
    """While a connection is made there is no code, only words."""
    if error.sqlstate is None:
        for words, kind in _WORDS.items():
            if re.search(words, said):
                return kind
    return type(error)


_EXPLAINED: Final[dict[type[psycopg.Error], str]] = {
    errors.TooManyConnections: "the server has no connection left; raise max_connections, or put a pooler in front of it",
    errors.ReadOnlySqlTransaction: "the server takes no writes now: a standby, or one that was made read-only",
    errors.QueryCanceled: "a statement took too long",
    errors.LockNotAvailable: "a statement waited too long for a lock; is a transaction left open somewhere?",
    errors.InsufficientPrivilege: "the user may not do this",
    errors.DiskFull: "the server's disk is full; nothing of this transaction was written",
    errors.UndefinedTable: "the tables are missing or old; bring them up with `stepwell migrate`",
    errors.UndefinedColumn: "the tables are old, or somebody else's; bring them up with `stepwell migrate`, or choose another namespace",
    errors.DuplicateTable: "the schema has tables of somebody else's; choose another namespace",
    errors.InvalidSchemaName: "the tables are missing; make them with `stepwell migrate`",
}

_PERMANENT: Final = (
    errors.InvalidPassword, errors.InvalidAuthorizationSpecification, errors.InvalidCatalogName, errors.InsufficientPrivilege,
    errors.UndefinedTable, errors.UndefinedColumn, errors.DuplicateTable, errors.InvalidSchemaName, errors.InvalidParameterValue,
)  # fmt: skip

_WORDS: Final[dict[str, type[psycopg.Error]]] = {
    "too many connections|too many clients|remaining connection slots|no more connections allowed": errors.TooManyConnections,
    'role "[^"]*" (does not exist|is not permitted)': errors.InvalidAuthorizationSpecification,
    "password authentication failed|no password supplied": errors.InvalidPassword,
    "pg_hba.conf": errors.InvalidAuthorizationSpecification,
    'database "[^"]*" does not exist|no such database': errors.InvalidCatalogName,
    "invalid (integer value|port number|[a-z_]+ value|URI|connection option)": errors.InvalidParameterValue,
    "unrecognized configuration parameter": errors.InvalidParameterValue,
}
