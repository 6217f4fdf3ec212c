"""The store on SQLite: the verbs of the port, each a function over an open transaction that is called in the right thread."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from stepwell.errors import DatabaseUnavailable, DefinitionError
from stepwell.store.migrate import migrations, missing
from stepwell.store.port import Beat, Hint, Peer
from stepwell.store.sql import claiming, starting
from stepwell.store.sql.transaction import at_once
from stepwell.store.sql.verbs import Verbs
from stepwell.store.sqlite import transacting
from stepwell.store.sqlite.connection import (
    Connections,
    Direct,
    Threads,
    WriteConnection,
    code_of,
    connect,
    in_transaction,
    memory,
    refuse_read_only,
    rolled_back,
    unavailable,
)
from stepwell.store.sqlite.hints import Datagrams
from stepwell.store.sqlite.transaction import PACKAGE, Transaction, statements_of
from stepwell.store.statements import DEFAULT_NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from stepwell.core.records import NewRun
    from stepwell.core.status import RunStatus
    from stepwell.store.port import Effect

_IN_MEMORY: Final = "the database in memory"
_MOUNT_ESCAPE: Final = re.compile(r"\\([0-7]{3})")
"""How the table of mounts writes blanks and backslashes."""

_NETWORKS: Final = frozenset({"9p", "afs", "ceph", "cifs", "fuse.sshfs", "lustre", "nfs", "nfs4", "smb3", "smbfs"})


class SqliteStore(Verbs):
    """A store in one file, or in memory.

    Args:
        path: the file; None: in memory, for this process only, as long as the store is open.
        namespace: the prefix of the tables.
        threads: whether reads and writes have threads of their own; else they are made in the thread that asks, which simulations want.
    """

    kind = "SQLite"

    def __init__(self, path: str | None, *, namespace: str = DEFAULT_NAMESPACE, threads: bool = True) -> None:
        self._path = path
        self._where = path or _IN_MEMORY
        self._namespace = namespace
        self._threads = threads and path is not None
        self._statements = statements_of(namespace)
        self._listeners: list[Callable[[Hint], None]] = []
        self._connections: Connections | None = None
        self._datagrams: Datagrams | None = None
        self._heart: WriteConnection | None = None
        self._shared: WriteConnection | None = None  # by all, where there are no threads
        self._lock = threading.Lock()
        self._new_caches()

    def _new_caches(self) -> None:
        self._lanes = starting.Lanes()
        self._claims = claiming.Claims(self._lanes)

    # -- the store itself

    async def open(self, *, migrate: bool = True) -> None:
        """See `Store.open`."""
        if self._connections is not None:
            return
        self._new_caches()
        if self._path is not None:
            _refuse_networks(self._path)
            await asyncio.to_thread(self._prepare, migrate) if self._threads else self._prepare(migrate)
        if self._threads:
            self._connections = Threads(self._path or "", self._statements, self._committed)
            self._datagrams = Datagrams(self._path or "", self._tell)
            self._socket = self._datagrams.name
            return
        self._shared = memory() if self._path is None else connect(self._path)
        if self._path is None:
            self._migrate(self._shared, migrate=True)
        self._connections = Direct(self._shared, self._where, self._statements, self._committed, self._lock)

    def _prepare(self, migrate: bool) -> None:
        path = self._path or ""
        if not migrate and not Path(path).exists():
            raise DatabaseUnavailable(
                f"there is no database {path}; make it with `stepwell migrate --database sqlite:///{path}`", permanent=True
            )
        refuse_read_only(path)
        connection = connect(path, create=migrate)
        try:
            self._migrate(connection, migrate=migrate)
        except sqlite3.Error as error:
            rolled_back(connection)
            raise unavailable(error, path) from error
        finally:
            connection.close()

    def _migrate(self, connection: sqlite3.Connection, *, migrate: bool) -> None:
        known = migrations(PACKAGE, self._namespace)
        if not missing(known, self._applied(connection), self._where):
            return
        if not migrate:
            raise DatabaseUnavailable(
                f"the tables of namespace {self._namespace!r} in {self._where} are missing or old; bring them up with `stepwell migrate`, "
                "and with the same --database and --namespace",
                permanent=True,
            )
        in_transaction(connection, self._where)  # others may be at it: whoever is second finds it done
        for migration in missing(known, self._applied(connection), self._where):
            for statement in _statements(migration.sql):
                connection.execute(statement)
        connection.execute("COMMIT")

    def _applied(self, connection: sqlite3.Connection) -> dict[int, str | None]:
        """By number, the digests of what was applied."""
        table = f"{self._namespace}_schema"
        if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (table,)).fetchone() is None:
            return {}
        # Tables from before the first release have no digests.
        has_digests = any(column == "digest" for _, column, *_ in connection.execute(f"PRAGMA table_info({table})"))
        digest = "digest" if has_digests else "NULL"
        return dict(connection.execute(f"SELECT number, {digest} FROM {table}"))  # noqa: S608  # a checked name

    def migration_sql(self) -> str:
        """See `Store.migration_sql`."""
        return "\n".join(migration.sql for migration in migrations(PACKAGE, self._namespace))

    async def close(self) -> None:
        """See `Store.close`."""
        connections, self._connections = self._connections, None
        if self._datagrams is not None:
            self._datagrams.close()
            self._datagrams = self._socket = None
        if connections is not None:
            await asyncio.to_thread(connections.close) if self._threads else connections.close()
        if self._heart is not None:
            self._heart.close()
        self._heart = self._shared = None

    @property
    def connection(self) -> sqlite3.Connection:
        """The one for everything, of an open store without threads: whoever uses it leaves no transaction open."""
        if self._shared is None:
            raise DatabaseUnavailable(f"{self._where} is not open, or has a connection for each of its threads", permanent=True)
        return self._shared

    def listen(self, told: Callable[[Hint], None]) -> Callable[[], None]:
        """See `Store.listen`."""
        self._listeners.append(told)

        def end() -> None:
            with suppress(ValueError):
                self._listeners.remove(told)

        return end

    def hint(self, hint: Hint) -> None:
        """See `Store.hint`."""
        self._committed({hint})

    def _committed(self, hints: set[Hint]) -> None:
        if self._datagrams is not None and hints:
            self._datagrams.send(hints)
        self._tell(hints)

    def _tell(self, hints: set[Hint]) -> None:
        loop = asyncio.get_running_loop()
        for hint in sorted(hints):  # in one order, whatever their hashes: simulations repeat
            for told in self._listeners:
                loop.call_soon(told, hint)

    @property
    def _opened(self) -> Connections:
        if self._connections is None:
            raise DatabaseUnavailable(f"{self._where} is not open", permanent=True)
        return self._connections

    # -- starts in a transaction of the caller's

    async def enqueue_within(self, connection: Any, runs: Sequence[NewRun]) -> list[str]:
        """See `Store.enqueue`, in the calling thread: a connection of sqlite3 belongs to one."""
        cursor = connection.cursor() if isinstance(connection, sqlite3.Connection) else None
        if cursor is None:
            raise DefinitionError(f"connection= takes a connection of sqlite3 to {self._where}, not {type(connection).__qualname__}")
        cursor.row_factory = None  # the caller's may make something else of rows
        self._check_same_file(connection, cursor)
        await self._take_turn(connection, cursor)
        # Lanes that are made here may be rolled back: only what was known before is taken from memory.
        return at_once(starting.enqueue(Transaction(cursor, self._statements), self._lanes, runs))

    def _check_same_file(self, connection: sqlite3.Connection, cursor: sqlite3.Cursor) -> None:
        files = [os.fsdecode(row[2]) for row in cursor.execute("PRAGMA database_list") if row[1] in ("main", b"main")]
        if self._path is None or not files or not files[0] or not Path(files[0]).samefile(self._path):
            other = files[0] if files and files[0] else "a database in memory"
            raise DefinitionError(
                f"connection= leads to {other}, and this app's database is {self._where}: one transaction cannot cover both"
            )
        # With autocommit=True (Python 3.12) its commit() does nothing, and a transaction that is begun here would stay open.
        if not connection.in_transaction and (connection.isolation_level is None or getattr(connection, "autocommit", None) is True):
            raise DefinitionError("connection= has no transaction open: execute BEGIN first, so that the run is committed with your writes")

    async def _take_turn(self, connection: sqlite3.Connection, cursor: sqlite3.Cursor) -> None:
        """Begin to write. On an event loop others may need that loop in order to commit: it is not held up meanwhile.

        A transaction that has only read cannot write any more when others have written since: better said here than half-way.
        """
        (patience,) = cursor.execute("PRAGMA busy_timeout").fetchone()  # milliseconds; the caller's
        on_loop = asyncio._get_running_loop() is not None
        if on_loop:
            cursor.execute("PRAGMA busy_timeout = 0")
        waited = 0.0
        try:
            while True:
                try:
                    if not connection.in_transaction:
                        cursor.execute("BEGIN IMMEDIATE")  # as sqlite3 itself begins one before it writes
                    cursor.execute(self._statements.texts["begin_to_write"])
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorcode == sqlite3.SQLITE_BUSY_SNAPSHOT:
                        raise DatabaseUnavailable(
                            f"the transaction of connection= has read {self._where} before others wrote to it, so it cannot write any "
                            "more; begin it with BEGIN IMMEDIATE"
                        ) from error
                    if not on_loop or code_of(error) != sqlite3.SQLITE_BUSY or waited * 1_000 >= patience:
                        raise unavailable(error, self._where) from error
                else:
                    return
                await asyncio.sleep(0.002)
                waited += 0.002
        finally:
            if on_loop:
                cursor.execute(f"PRAGMA busy_timeout = {patience:d}")

    # -- the heart

    def beat(self, worker: str, running: int, parked: int, now: float) -> Beat | None:
        """See `Store.beat`."""
        with self._lock:  # of a shared connection; another one is used by one thread only
            connection = self._shared or self._heart
            try:
                if connection is None:
                    connection = self._heart = connect(self._path or "")
                in_transaction(connection, self._where)
                known = connection.execute(
                    self._statements.texts["beat"], {"worker": worker, "running": running, "parked": parked, "now": now}
                ).fetchone()
                others = connection.execute(self._statements.texts["peers"], {"worker": worker}).fetchall()
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                if connection is not None:
                    rolled_back(connection)
                raise unavailable(error, self._where) from error
        if known is None:
            return None
        datagrams = self._datagrams
        return Beat(
            None,
            bool(known[0]),
            {
                peer: Peer(beat, lease, bool(dead) or (datagrams is not None and socket is not None and datagrams.is_gone(socket)))
                for peer, beat, lease, dead, socket in others
            },
        )

    async def transact(self, worker: str, effect: Effect, now: float) -> RunStatus | None:
        """See `Store.transact`."""
        if effect.is_async:
            raise DefinitionError(
                f"the function of transaction {effect.key!r} is an `async def`, and SQLite has one connection that writes, for which all "
                "others wait while it does: make it a `def`, and await what it needs in a step before"
            )
        tried = effect.numbered
        effect.number()  # whatever comes later waits behind it for the connection, too
        return await self._opened.write(transacting.transact, self._lanes, worker, effect, tried, now)


def _statements(script: str) -> list[str]:
    """The statements of a script, one by one: `executescript` would commit before it begins."""
    found, statement = [], ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            found.append(statement)
            statement = ""
    return found


def _refuse_networks(path: str) -> None:
    """SQLite shares memory between its processes, which no file system does over a network.

    Raises:
        DatabaseUnavailable: the file is on one that is known to be such.
    """
    mounts = Path("/proc/self/mounts")
    if not mounts.exists():
        return
    best, kind = Path("/"), ""
    try:
        target = Path(path).resolve()
        lines = os.fsdecode(mounts.read_bytes()).splitlines()
    except OSError as error:
        raise DatabaseUnavailable(f"{path}: it cannot be told on which file system it is ({error})") from error
    for line in lines:
        _, place, filesystem, *_ = line.split(" ")
        mounted = Path(_MOUNT_ESCAPE.sub(lambda escape: chr(int(escape[1], 8)), place))
        if target.is_relative_to(mounted) and mounted.is_relative_to(best):
            best, kind = mounted, filesystem
    if kind in _NETWORKS:
        raise DatabaseUnavailable(
            f"{path} is on a network file system ({kind}), where SQLite cannot work; use a local disk", permanent=True
        )
