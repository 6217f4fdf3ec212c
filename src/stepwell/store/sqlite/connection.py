"""The connections to one SQLite file: a thread that writes, two that read, and what of SQLite's errors means what.

SQLite has one writer at a time, so all writes of a process go through one thread, and whatever waits for it shares one transaction: one
flush to the disk for the starts, commits and actions of the moment. Several processes take turns by short, random retries: SQLite's own
busy handler waits longer and longer, and starves whoever has waited longest.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from stepwell.errors import DatabaseUnavailable, TooSlow
from stepwell.store.port import Hint, WriteRefused
from stepwell.store.shown import too_slow
from stepwell.store.sql import verbs
from stepwell.store.sql.transaction import Verb, at_once
from stepwell.store.sqlite.transaction import Statements, Transaction

T = TypeVar("T")


Job = tuple["asyncio.Future[Any]", Verb[Any], tuple[Any, ...]]

PATIENCE: Final = 10.0
"""Seconds to wait for other programs to let go of the file."""

TO_CLOSE: Final = 0.5
"""Seconds of that once the store is to be closed: a worker that leaves has not got more."""

MAX_SHARED: Final = 1_000
"""Jobs in one transaction."""

_INSTRUCTIONS: Final = 50_000
"""Of SQLite's machine, between two looks whether a limit is over. Each look waits for the interpreter; what is not in memory takes long."""

_BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
_PERMANENT: Final = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM)


OUR_SAVEPOINTS: Final = "stepwell_"
"""How their names begin."""


class WriteConnection(sqlite3.Connection):
    """A connection that the function of a step may be lent, which is not to close it."""

    refused: list[str] | None = None
    """While it is lent: what was asked of it that its owner alone may do."""

    def close(self) -> None:
        """Close it; its owner does."""
        self._refuse_if_lent("close()")
        super().close()

    def set_authorizer(self, allows: Callable[..., int] | None) -> None:
        """Have statements allowed by somebody; its owner does."""
        self._refuse_if_lent("set_authorizer()")
        super().set_authorizer(allows)

    def _refuse_if_lent(self, what: str) -> None:
        if self.refused is not None:
            self.refused.append(what)
            raise sqlite3.ProgrammingError(f"{what} is for the owner of the connection")


class Connections(verbs.Connections, Protocol):
    """How the verbs of the store reach the file."""

    def close(self) -> None:
        """Let go of the file."""


def connect(path: str, *, create: bool = False) -> WriteConnection:
    """A connection with our settings.

    Raises:
        DatabaseUnavailable: it is no database that can be used.
    """
    mode = "rwc" if create else "rw"
    try:
        connection = sqlite3.connect(
            _uri(path, mode),
            uri=True,
            timeout=0,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
            factory=WriteConnection,
        )
        with _closed_on_error(connection):
            for setting in _SETTINGS:
                patiently(partial(connection.execute, f"PRAGMA {setting}"), path).close()
    except sqlite3.Error as error:
        raise unavailable(error, path) from error
    return connection


_SETTINGS: Final = (
    "journal_mode = WAL",
    "synchronous = FULL",  # what was confirmed survives a power cut; with group commit that costs little
    "cache_size = -65536",
    "wal_autocheckpoint = 4000",
    "mmap_size = 0",  # a file that is cut off while it is mapped ends the process, with no error that one could catch
    "temp_store = MEMORY",
)


def memory() -> WriteConnection:
    """A database in memory, which lives as long as its connection."""
    return sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False, cached_statements=256, factory=WriteConnection)


@contextmanager
def _closed_on_error(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.close()
        raise


def _uri(path: str, mode: str) -> str:
    escaped = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    return f"file:{escaped}?mode={mode}"


_turn = threading.Event()  # never set: to wait for is to sleep without holding the interpreter


def patiently(function: Callable[[], T], path: str, closing: Callable[[], bool] = lambda: False) -> T:
    """Call it until no other program holds the file. Raises DatabaseUnavailable when it is held for too long."""
    waited, pause = 0.0, 0.000_5
    while True:
        try:
            return function()
        except sqlite3.OperationalError as error:
            if code_of(error) not in _BUSY:
                raise
            if waited >= (TO_CLOSE if closing() else PATIENCE):
                raise DatabaseUnavailable(
                    f"{path} has been locked by another program for {waited:.3g} s; is a transaction left open there?"
                ) from error
        _turn.wait(pause)
        waited += pause
        # Short at first, since a commit takes a millisecond; and never long, or others would always be faster.
        pause = min(pause * 1.1, 0.005)


def code_of(error: sqlite3.Error) -> int:
    """The primary result code, without what SQLite adds in higher bits."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def unavailable(error: sqlite3.Error, path: str) -> DatabaseUnavailable:
    """What a user is told of an error of the file."""
    code = code_of(error)
    return DatabaseUnavailable(f"{path}: {_EXPLAINED.get(code, error)}", permanent=code in _PERMANENT)


def refuse_read_only(path: str) -> None:
    """SQLite opens a file that it must not write to without a word, and may make others beside it. Raises DatabaseUnavailable."""
    if Path(path).exists() and not os.access(path, os.W_OK):
        raise DatabaseUnavailable(f"{path}: {_EXPLAINED[sqlite3.SQLITE_READONLY]}", permanent=True)


_EXPLAINED: Final = {
    sqlite3.SQLITE_NOTADB: "this file is not a SQLite database; nothing was changed in it",
    sqlite3.SQLITE_CORRUPT: "the database is damaged (SQLite: database disk image is malformed); restore it from a backup",
    sqlite3.SQLITE_READONLY: "the database is read-only; Stepwell must be able to write to the file and to its directory",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened; do its directory and the right to write there exist?",
    sqlite3.SQLITE_PERM: "the file may not be opened by this user",
    sqlite3.SQLITE_BUSY: "the database is locked by another program",
    sqlite3.SQLITE_FULL: "the disk is full; nothing of this transaction was written",
}


def in_transaction(connection: sqlite3.Connection, path: str, closing: Callable[[], bool] = lambda: False) -> None:
    """Begin to write, when it is our turn."""
    patiently(partial(connection.execute, "BEGIN IMMEDIATE"), path, closing)


def rolled_back(connection: sqlite3.Connection) -> None:
    """Undo what the transaction has done, if SQLite has not done so by itself."""
    with suppress(sqlite3.Error):
        if connection.in_transaction:
            connection.execute("ROLLBACK")


class Identity:
    """Which file was opened. SQLite would go on writing to one that has been deleted, where nobody finds it."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._file = self._now()

    def _now(self) -> tuple[int, int] | None:
        try:
            there = self._path.stat()
        except OSError:
            return None
        return there.st_dev, there.st_ino

    def check(self) -> None:
        """Raises DatabaseUnavailable when it is not at its path any more."""
        now = self._now()
        if now is None or now != self._file:
            become = "is gone" if now is None else "was replaced by another file"
            raise DatabaseUnavailable(
                f"{self._path} {become} while it was open; nothing is read from it or written until it is back. Restart to use another",
                permanent=True,
            )


class Direct:
    """Everything on one connection, in the calling thread: for memory, and for simulations, which must not have threads."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: str,
        statements: Statements,
        committed: Callable[[set[Hint]], None],
        lock: threading.Lock,
    ) -> None:
        self._connection = connection
        self._statements = statements
        self._path = path
        self._committed = committed
        self._lock = lock  # the heartbeat may have a thread

    async def write(self, function: Verb[T], /, *args: Any) -> T:
        """See `Connections.write`."""
        transaction = Transaction(self._connection, self._statements)
        with self._lock:
            try:
                in_transaction(self._connection, self._path)
                result = at_once(function(transaction, *args))
                transaction.finish()
            except sqlite3.Error as error:
                rolled_back(self._connection)
                raise _meaning(error, self._path) from error
            except BaseException:
                rolled_back(self._connection)
                raise
        self._committed(transaction.hints)
        return result

    async def read(self, function: Verb[T], /, *args: Any) -> T:
        """See `Connections.read`."""
        try:
            with self._lock:
                return at_once(function(Transaction(self._connection, self._statements), *args))
        except sqlite3.Error as error:
            raise _meaning(error, self._path) from error

    async def glance(self, function: Verb[T], /, *args: Any) -> T:
        """See `Connections.glance`."""
        return await self.read(function, *args)

    async def search(self, function: Verb[T], /, *args: Any) -> T:
        """See `Connections.search`."""
        return await self.read(function, *args)

    async def show(self, function: Verb[T], /, *args: Any) -> T:
        """See `Connections.show`. Nobody in this thread can say that it takes too long."""
        return await self.read(function, *args)

    def close(self) -> None:
        """See `Connections.close`."""
        self._connection.close()


def _meaning(error: sqlite3.Error, path: str) -> Exception:
    """Errors of the data are refusals; all others say that the file could not do it now."""
    if isinstance(error, sqlite3.IntegrityError | sqlite3.DataError | sqlite3.InterfaceError):
        return WriteRefused(str(error))
    if isinstance(error, sqlite3.ProgrammingError):
        return DatabaseUnavailable(f"{path}: the store is closed ({error})")
    if code_of(error) == sqlite3.SQLITE_INTERRUPT:
        return TooSlow(too_slow(path))
    return unavailable(error, path)


class Threads:
    """A connection that writes and two that read, each in a thread of its own."""

    def __init__(self, path: str, statements: Statements, committed: Callable[[set[Hint]], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._process = os.getpid()
        with ExitStack() as opened:
            self._writer = _Writer(self._loop, path, statements, committed)
            opened.callback(self._writer.close)
            self._reader = _Reader(self._loop, path, statements)
            opened.callback(self._reader.close)
            self._searcher = _Searcher(self._loop, path, statements)
            self._end = opened.pop_all()

    async def write(self, function: Verb[T], /, *args: Any) -> T:
        """See `Connections.write`."""
        return await self._given(self._writer, function, args)

    async def read(self, function: Verb[T], /, *args: Any) -> T:
        """See `Connections.read`."""
        return await self._given(self._reader, function, args)

    async def glance(self, function: Verb[T], /, *args: Any) -> T:
        """See `Connections.glance`."""
        return await self.read(function, *args)

    async def search(self, function: Verb[T], /, *args: Any) -> T:
        """See `Connections.search`."""
        return await self._given(self._searcher, function, args)

    async def show(self, function: Verb[T], /, *args: Any) -> T:
        """See `Connections.show`. Once nobody waits any more, it is stopped at once."""
        limit = _Limit(self._loop)
        try:
            return await self._given(self._searcher, limit.hold, (function, *args))
        finally:
            limit.end()

    def _given(self, thread: _Thread, function: Verb[T], args: tuple[Any, ...]) -> asyncio.Future[T]:
        if os.getpid() != self._process:
            raise RuntimeError("this process was forked from one that had the database open; open the app after the fork, in each process")
        future: asyncio.Future[T] = self._loop.create_future()
        thread.give((future, function, args))
        return future

    def close(self) -> None:
        """See `Connections.close`. What was given before is done first."""
        if os.getpid() == self._process:
            self._searcher.close()
            self._end.close()


class _Limit:
    """Stops a verb that takes longer than `SOON`, from when its thread begins with it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._is_over = threading.Event()
        self._timer: asyncio.TimerHandle | None = None

    async def hold(self, transaction: Transaction, function: Verb[T], *args: Any) -> T:
        """The verb, in the thread."""
        with suppress(RuntimeError):  # the loop has been closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._begin)
        source = transaction.source
        connection = source.connection if isinstance(source, sqlite3.Cursor) else source
        connection.set_progress_handler(self._is_over.is_set, _INSTRUCTIONS)
        try:
            return await function(transaction, *args)
        finally:
            connection.set_progress_handler(None, 0)

    def _begin(self) -> None:
        self._timer = self._loop.call_later(verbs.SOON, self._is_over.set)

    def end(self) -> None:
        """Nobody waits for it any more."""
        self._is_over.set()
        if self._timer is not None:
            self._timer.cancel()


class _Thread:
    """A daemon thread with a connection, which does what it is given in order."""

    name: str

    def __init__(self, loop: asyncio.AbstractEventLoop, path: str, statements: Statements) -> None:
        self._loop = loop
        self._path = path
        self._statements = statements
        self._connection = connect(path)
        self._identity = Identity(path)
        self._jobs: deque[Job] = deque()
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name=self.name, daemon=True)
        self._thread.start()

    def give(self, job: Job) -> None:
        """Do this next."""
        if self._closing:
            raise DatabaseUnavailable(f"{self._path} is closed; open the app first")
        self._jobs.append(job)
        self._wake.set()

    def _is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """End when everything given is done, or cannot be. Waits for it: what is left in the file must be whole."""
        self._closing = True
        self._wake.set()
        self._thread.join(PATIENCE + 1.0)

    def _work(self) -> None:
        try:
            while True:
                self._wake.wait()
                self._wake.clear()
                while self._jobs:
                    self._do()
                if self._closing:
                    return
        finally:
            self._connection.close()

    def _do(self) -> None:
        raise NotImplementedError

    def _answer(self, answers: list[tuple[asyncio.Future[Any], Any, Exception | None]], hints: set[Hint]) -> None:
        with suppress(RuntimeError):  # the loop has been closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._settle, answers, hints)

    def _settle(self, answers: list[tuple[asyncio.Future[Any], Any, Exception | None]], hints: set[Hint]) -> None:
        for future, result, error in answers:
            if future.cancelled():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
        if hints:
            self._tell(hints)

    def _tell(self, hints: set[Hint]) -> None:
        """Others may want to know."""


class _Reader(_Thread):
    name = "stepwell-sqlite-reader"

    def _do(self) -> None:
        future, function, args = self._jobs.popleft()
        if future.cancelled():
            return
        result, failure = None, None
        try:
            # Others hold readers up, too: one that mends what a killed process left, or has the file for itself.
            result = patiently(partial(self._read, function, args), self._path, self._is_closing)
        except sqlite3.Error as error:
            failure = _meaning(error, self._path)
        except Exception as error:  # noqa: BLE001  # it belongs to whoever has asked
            failure = error
        self._answer([(future, result, failure)], set())

    def _read(self, function: Verb[T], args: tuple[Any, ...]) -> T:
        connection = self._connection
        self._identity.check()
        connection.execute("BEGIN")
        try:
            return at_once(function(Transaction(connection, self._statements), *args))
        finally:
            rolled_back(connection)  # it has read only


class _Searcher(_Reader):
    name = "stepwell-sqlite-searcher"


class _Writer(_Thread):
    name = "stepwell-sqlite-writer"

    def __init__(self, loop: asyncio.AbstractEventLoop, path: str, statements: Statements, committed: Callable[[set[Hint]], None]) -> None:
        self._committed = committed
        super().__init__(loop, path, statements)

    def _do(self) -> None:
        connection = self._connection
        jobs: list[Job] = []
        try:
            in_transaction(connection, self._path, self._is_closing)
            self._identity.check()
            transaction = Transaction(connection, self._statements)
            jobs = self._waiting()  # those, too, that came while others had the file
            answers = self._done_together(transaction, jobs) if len(jobs) > 1 else self._done_alone(transaction, jobs)
            transaction.finish()
        except Exception as error:  # noqa: BLE001  # also MemoryError: without this thread, all who wait would wait for ever
            rolled_back(connection)
            failure = _meaning(error, self._path) if isinstance(error, sqlite3.Error) else error
            self._answer([(future, None, failure) for future, _, _ in jobs or self._waiting()], set())
            return
        self._answer(answers, transaction.hints)

    def _waiting(self) -> list[Job]:
        return [self._jobs.popleft() for _ in range(min(len(self._jobs), MAX_SHARED))]

    def _done_alone(self, transaction: Transaction, jobs: list[Job]) -> list[tuple[asyncio.Future[Any], Any, Exception | None]]:
        """The usual case, without a savepoint: when it fails, so does the transaction."""
        ((future, function, args),) = jobs
        try:
            return [(future, at_once(function(transaction, *args)), None)]
        except sqlite3.Error as error:
            if not _is_refusal(error):
                raise
            self._connection.execute("ROLLBACK")
            failure: Exception = WriteRefused(str(error))
        except Exception as error:  # noqa: BLE001  # it belongs to whoever has asked
            self._connection.execute("ROLLBACK")
            failure = error
        self._connection.execute("BEGIN")  # for the COMMIT that follows
        transaction.hints.clear()
        transaction.committed.clear()
        return [(future, None, failure)]

    def _done_together(self, transaction: Transaction, jobs: list[Job]) -> list[tuple[asyncio.Future[Any], Any, Exception | None]]:
        answers: list[tuple[asyncio.Future[Any], Any, Exception | None]] = []
        for future, function, args in jobs:
            self._connection.execute("SAVEPOINT stepwell_job")
            remembered = len(transaction.committed)
            try:
                answers.append((future, at_once(function(transaction, *args)), None))
            except sqlite3.Error as error:
                if not _is_refusal(error):
                    raise
                failure: Exception | None = WriteRefused(str(error))
            except Exception as error:  # noqa: BLE001  # it belongs to whoever has asked
                failure = error
            else:
                failure = None
            if failure is not None:
                self._connection.execute("ROLLBACK TO stepwell_job")
                del transaction.committed[remembered:]
                answers.append((future, None, failure))
            self._connection.execute("RELEASE stepwell_job")
        return answers

    def _tell(self, hints: set[Hint]) -> None:
        self._committed(hints)


def _is_refusal(error: sqlite3.Error) -> bool:
    """Whether the fault lies with the data."""
    return isinstance(error, sqlite3.IntegrityError | sqlite3.DataError | sqlite3.InterfaceError)
