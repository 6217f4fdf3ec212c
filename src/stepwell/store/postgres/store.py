"""The store on PostgreSQL: how it is opened, and what it does in a way of its own. All other verbs are those of `store.sql`."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

import psycopg
from pydantic_core import from_json

from stepwell.core.registry import Lane
from stepwell.errors import DatabaseUnavailable, DefinitionError, TooSlow
from stepwell.store.migrate import Migration, migrations, missing
from stepwell.store.port import Beat, Hint, Look, Notices, Peer
from stepwell.store.postgres.claiming import PostgresClaims
from stepwell.store.postgres.connection import (
    LIMITS,
    PLANS,
    Connection,
    Pool,
    Session,
    compiled,
    connect,
    connection_parameters,
    give_up,
    unavailable,
)
from stepwell.store.postgres.engines import EngineLines
from stepwell.store.postgres.hints import Announcer
from stepwell.store.postgres.lines import PsycopgLines
from stepwell.store.postgres.starting import Starts
from stepwell.store.postgres.target import Target, target_of
from stepwell.store.postgres.transacting import Transactions
from stepwell.store.postgres.within import Checked, Psycopg, Within, driver_of
from stepwell.store.postgres.writing import commit
from stepwell.store.shown import too_slow
from stepwell.store.sql import keeping, starting
from stepwell.store.sql.transaction import Verb
from stepwell.store.sql.verbs import Verbs
from stepwell.store.statements import DEFAULT_NAMESPACE, read_statements

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

    from stepwell.core.records import NewRun
    from stepwell.core.status import RunStatus
    from stepwell.store.port import Batch, Effect
    from stepwell.store.postgres.lines import Lines

T = TypeVar("T")

_PACKAGE: Final = "stepwell.store.postgres"

SEARCHES: Final = 2
"""Connections for what people look at, at most: beside those of workers, and planned without their settings."""

TO_CLOSE: Final = 0.5
"""Seconds for what is under way when the store is closed."""


class PostgresStore(Verbs):
    """A store in one schema of a PostgreSQL database.

    Args:
        url: as libpq takes it, with several hosts too; and with `pool_size`, `hints=off` and `prepare=off` as options of our own.
        namespace: the schema.
        skip_locked: whether the server can pass over rows that others have locked; without it, claims wait for each other.
        engine: of SQLAlchemy, to the same database: functions of transactions get its connections.
    """

    kind = "PostgreSQL"

    def __init__(
        self, url: str, *, namespace: str = DEFAULT_NAMESPACE, skip_locked: bool = True, engine: Engine | AsyncEngine | None = None
    ) -> None:
        self._target = target_of(url)
        self._namespace = _checked(namespace)
        self._skip_locked = skip_locked
        self._engine = engine
        self._statements = _statements(namespace, skip_locked=skip_locked)
        self._listeners: list[Callable[[Hint], None]] = []
        self._pools: Pools | None = None
        self._transactions: Transactions | None = None
        self._announcer: Announcer | None = None
        self._heart: psycopg.Connection[Any] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._checked: Checked
        self._new_caches()

    def _new_caches(self) -> None:
        self._lanes = starting.Lanes()
        self._claims = PostgresClaims(self._lanes, marks=True, locked=self._skip_locked)
        self._starts = Starts(self._start)

    # -- the store itself

    async def open(self, *, migrate: bool = True) -> None:
        """See `Store.open`."""
        if self._pools is not None:
            return
        self._new_caches()
        opened = await connect(self._target, PLANS)
        try:
            await self._migrate(opened.connection, migrate=migrate)
            me, self._checked = await self._met(opened.connection)
        except psycopg.Error as error:
            raise unavailable(error, self._target.label) from error
        finally:
            give_up(opened.connection)
        self._loop = asyncio.get_running_loop()
        self._pools = Pools(self._target, self._statements, self._committed)
        self._transactions = Transactions(self._lines(), self._pools.workers, self._lanes, self._target.label)
        if self._target.hints:
            self._announcer = Announcer(self._target, self._namespace, me, self._tell, listens=not opened.pooled)

    def _lines(self) -> Lines:
        if self._engine is None:
            return PsycopgLines(self._target, self._statements)
        return EngineLines(self._engine, self._statements, self._target.label)

    async def _migrate(self, connection: Connection, *, migrate: bool) -> None:
        known = migrations(_PACKAGE, self._namespace, "schema")
        if not missing(known, await self._applied(connection), self._target.label):
            return
        if not migrate:
            raise DatabaseUnavailable(
                f"the tables of namespace {self._namespace!r} in {self._target.label} are missing or old; bring them up with "
                "`stepwell migrate`, and with the same --database and --namespace",
                permanent=True,
            )
        try:
            await self._apply(known, connection)
        except psycopg.errors.InsufficientPrivilege as error:
            raise DatabaseUnavailable(
                f"the user of {self._target.label} may not make the tables of namespace {self._namespace!r}; have one who may run "
                f"`stepwell migrate`, or what `stepwell migrate --sql` prints ({error.diag.message_primary})",
                permanent=True,
            ) from error

    async def _apply(self, known: Sequence[Migration], connection: Connection) -> None:
        await connection.execute("BEGIN")
        # Others may be at it: whoever is second finds it done.
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"stepwell {self._namespace}",))
        for migration in missing(known, await self._applied(connection), self._target.label):
            await connection.execute(migration.sql)
        await connection.execute("COMMIT")

    async def _met(self, connection: Connection) -> tuple[str, Checked]:
        """A name for this process, and what tells the database from others."""
        table = f'"{self._namespace}".identity'
        statement = f"SELECT gen_random_uuid()::text, id::text, current_database()::text FROM {table}"  # noqa: S608  # a checked name
        me, identity, name = await (await connection.execute(statement)).fetchone() or ("", "", "")
        return me, Checked((identity, name), self._target.label, self._namespace)

    async def _applied(self, connection: Connection) -> dict[int, str | None]:
        """By number, the digests of what was applied."""
        table = f'"{self._namespace}".schema'
        # Not to_regclass: it may still know that there was none before we waited for others who were at it.
        asked = "SELECT FROM pg_catalog.pg_tables WHERE schemaname = %s AND tablename = 'schema'"
        if await (await connection.execute(asked, (self._namespace,))).fetchone() is None:
            return {}
        # Tables from before the first release have no digests.
        statement = f"SELECT number, to_jsonb(s) ->> 'digest' FROM {table} s"  # noqa: S608  # a checked name
        return dict(await (await connection.execute(statement)).fetchall())

    def migration_sql(self) -> str:
        """See `Store.migration_sql`."""
        return "\n".join(migration.sql for migration in migrations(_PACKAGE, self._namespace, "schema"))

    async def close(self) -> None:
        """See `Store.close`."""
        pools, self._pools = self._pools, None
        announcer, self._announcer = self._announcer, None
        if announcer is not None:
            await announcer.close()
        transactions, self._transactions = self._transactions, None
        if pools is not None:
            await pools.close()
        if transactions is not None:
            await transactions.close(0)  # after the tasks that use them
        if self._heart is not None:
            self._heart.pgconn.finish()
            self._heart = None

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
        if not hints:
            return
        if self._announcer is not None:
            self._announcer.send(hints)
        self._tell(hints)

    def _tell(self, hints: set[Hint]) -> None:
        loop = asyncio.get_running_loop()
        for hint in sorted(hints):
            for told in self._listeners:
                loop.call_soon(told, hint)

    @property
    def _opened(self) -> Pools:
        if self._pools is None:
            raise DatabaseUnavailable(f"{self._target.label} is not open", permanent=True)
        return self._pools

    # -- what it does in a way of its own

    async def enqueue(self, runs: Sequence[NewRun]) -> list[str]:
        """See `Store.enqueue`."""
        return await self._starts.add(runs) if runs else []

    async def _start(self, runs: Sequence[NewRun]) -> list[str]:
        return await self._opened.write(starting.enqueue, self._lanes, runs)

    async def enqueue_within(self, connection: Any, runs: Sequence[NewRun]) -> list[str]:
        """See `Store.enqueue_within`. A connection that blocks does so in the calling thread."""
        on_own_loop = asyncio._get_running_loop() is self._loop  # in another thread, there may be none
        driver = await driver_of(connection, self._target.label, may_wait=on_own_loop)
        await self._checked.check(driver)
        await self._make_lanes({Lane(run.queue, run.workflow, run.version) for run in runs}, on_own_loop=on_own_loop)
        return await starting.enqueue(Within(driver, self._statements), self._lanes, runs)

    async def _make_lanes(self, lanes: set[Lane], *, on_own_loop: bool) -> None:
        """Those that are new, in a transaction of their own: callers are not to wait for each other's."""
        if self._lanes.knows(lanes):
            return
        if on_own_loop:
            await self._opened.write(_make_lanes, self._lanes, lanes)
            return
        with self._connected() as own:
            transaction = Within(Psycopg(own, self._target.label), self._statements)
            numbers = await self._lanes.ids_of(lanes, transaction)
        self._lanes.remember({number: lane for lane, number in numbers.items()})

    def beat(self, worker: str, running: int, parked: int, now: float) -> Beat | None:
        """See `Store.beat`. On a connection of its own: only the heart's thread uses it."""
        row = self._heartbeat({"worker": worker, "running": running, "parked": parked, "now": now})
        if row is None or row[0] is None:
            return None
        draining, time, others, *seen = row
        peers = {peer: Peer(beat, lease, dead) for peer, beat, lease, dead in from_json(others or "[]")}
        return Beat(time, draining, peers, Look(*seen))

    def _heartbeat(self, parameters: Mapping[str, Any]) -> tuple[Any, ...] | None:
        statement, names = compiled(self._statements["heartbeat"])
        while True:
            is_new = self._heart is None
            heart = self._heart = self._heart or self._connected()
            try:
                return psycopg.RawCursor(heart).execute(statement, [parameters[name] for name in names]).fetchone()
            except psycopg.Error as error:
                had_died = heart.closed and not is_new  # since the last beat: that is no news of the server as it is now
                heart.pgconn.finish()
                self._heart = None
                if not had_died:
                    raise unavailable(error, self._target.label) from error

    def _connected(self) -> psycopg.Connection[Any]:
        """A connection that blocks. Raises DatabaseUnavailable."""
        try:
            try:
                return psycopg.connect(**connection_parameters(self._target.url, LIMITS), autocommit=True, prepare_threshold=None)
            except psycopg.OperationalError as error:
                if "unsupported startup parameter" not in str(error):
                    raise
                return psycopg.connect(**connection_parameters(self._target.url, {}), autocommit=True, prepare_threshold=None)
        except psycopg.Error as error:
            raise unavailable(error, self._target.label) from error

    async def commit(self, worker: str, batch: Batch, now: float) -> Mapping[tuple[str, int], RunStatus | None]:
        """See `Store.commit`."""
        answers, hints = await commit(self._opened.workers, self._lanes, worker, batch, now)
        self._committed(hints)
        return answers

    async def transact(self, worker: str, effect: Effect, now: float) -> RunStatus | None:
        """See `Store.transact`."""
        if self._transactions is None:
            raise DatabaseUnavailable(f"{self._target.label} is not open", permanent=True)
        return await self._transactions.transact(worker, effect, now)

    async def notices(self, worker: str, seen: int, now: float) -> Notices:
        """See `Store.notices`. What is told is marked: the order in which others commit is not that in which they began."""
        return await self._opened.write(_notices, worker, seen)


class Pools:
    """The connections of an open store. See `sql.verbs.Connections`."""

    def __init__(self, target: Target, statements: Mapping[str, str], committed: Callable[[set[Hint]], None]) -> None:
        self.workers = Pool(target, statements, PLANS | LIMITS, target.size)
        self._people = Pool(target, statements, LIMITS | {"jit": "off"}, SEARCHES)
        self._committed = committed
        self._label = target.label

    async def write(self, function: Verb[T], /, *args: Any) -> T:
        """See `Connections.write`."""
        result, session = await self.workers.write(function, *args)
        self._committed(session.hints)
        return result

    async def read(self, function: Verb[T], /, *args: Any) -> T:
        """See `Connections.read`."""
        return await self.workers.read(function, *args)

    async def glance(self, function: Verb[T], /, *args: Any) -> T:
        """See `Connections.glance`."""
        return await self.workers.single(function, *args)

    async def search(self, function: Verb[T], /, *args: Any) -> T:
        """See `Connections.search`."""
        return await self._people.read(function, *args)

    async def show(self, function: Verb[T], /, *args: Any) -> T:
        """See `Connections.show`. Each statement is given so long."""
        try:
            return await self._people.read(function, *args, soon=True)
        except DatabaseUnavailable as error:
            if isinstance(error.__cause__, psycopg.errors.QueryCanceled):
                raise TooSlow(too_slow(self._label)) from error
            raise

    async def close(self) -> None:
        """Let go of all of them."""
        await asyncio.gather(self.workers.close(TO_CLOSE), self._people.close(TO_CLOSE))


def _checked(namespace: str) -> str:
    if namespace.startswith("pg_") or namespace == "information_schema":
        raise DefinitionError(f"namespace {namespace!r} is one of PostgreSQL's own; choose one that does not begin with pg_")
    return namespace


async def _make_lanes(session: Session, lanes: starting.Lanes, wanted: set[Lane]) -> None:
    numbers = await lanes.ids_of(wanted, session)
    session.committed.append(lambda: lanes.remember({number: lane for lane, number in numbers.items()}))


async def _notices(session: Session, worker: str, seen: int) -> Notices:
    if seen:
        await keeping.forget_notices(session, worker, seen)
    if await session.execute("tell", worker=worker, seen=seen) == 0:
        return Notices(seen, {})
    return await keeping.notices(session, worker, seen)


def _statements(namespace: str, *, skip_locked: bool) -> dict[str, str]:
    statements = {
        **read_statements(_PACKAGE, namespace, "schema"),
        **read_statements(_PACKAGE, namespace, "schema", file="hot.sql"),
    }
    if skip_locked:
        return statements
    # What was chosen is locked by `won`, which waits for others.
    statements["ready"] = statements["ready"].replace("FOR NO KEY UPDATE SKIP LOCKED", "")
    return {name: statement.replace(" SKIP LOCKED", "") for name, statement in statements.items()}
