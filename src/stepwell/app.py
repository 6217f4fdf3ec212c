"""`Stepwell`: the app, which starts runs, follows them, and makes workers. Only here a store is chosen and made."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Self

from stepwell.config import Settings, settings_of, shown_url
from stepwell.core.definition import Workflow
from stepwell.core.duration import Duration
from stepwell.core.options import checked_count
from stepwell.core.registry import Registry
from stepwell.core.retention import Kept, Retention
from stepwell.core.size import parse_size
from stepwell.engine.clock import Clock
from stepwell.engine.counters import Counters
from stepwell.errors import DefinitionError
from stepwell.home import Home
from stepwell.namespaces import Queues, Runs, Workers, Workflows
from stepwell.overview import Overview
from stepwell.runner import AppWorker, Limits, worker_options
from stepwell.schedules import Schedules
from stepwell.starting import Starting
from stepwell.store.port import Store

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

MAX_PAYLOAD: Final = "4MiB"
MAX_CRASHES: Final = 5


class Stepwell(Starting):
    """Durable workflows on one database. Making one opens nothing.

    Args:
        database_url: `sqlite:///file.db` (four slashes for an absolute path), `sqlite://` in memory, `postgresql://user@host/database`; or
            an `Engine` or `AsyncEngine` of SQLAlchemy for PostgreSQL: then `step.transaction` gives its connections, and Stepwell's own
            are made from its URL. Left out: STEPWELL_DATABASE_URL, else `database_url` of [tool.stepwell] in pyproject.toml, else
            `sqlite:///stepwell.db`.
        workflows: what can be run here; modules stand for all workflows in them.
        timezone: of schedules that name none. Left out: STEPWELL_TIMEZONE, pyproject.toml, `UTC`.
        namespace: keeps apps on one database apart. Left out: STEPWELL_NAMESPACE, pyproject.toml, `stepwell`.
        migrate: whether opening may make and migrate the tables.
        max_payload: of an input, a result or an output, as JSON: a text such as `4MiB`, or bytes.
        max_crashes: how often in a row a run may take its worker process down before it fails with WorkerCrashed.
        retention: how long runs are kept when they have ended: a duration, or one by status, `{"completed": "7d", "failed": "90d"}`, where
            a status that is left out is kept for ever. Workers of the app delete what ended longer ago, of all workflows, about once a
            minute. Left out: STEPWELL_RETENTION, pyproject.toml, else all is kept. `{}` keeps all, whatever these say.
        codec: not supported yet.
        clock: time and chance, for tests.

    Raises:
        DefinitionError: an option is not what it should be, or two workflows have the same name and version.
        ValueError, TypeError: `max_payload` is no size, or `retention` has a duration that is none.

    Example:
        app = Stepwell("sqlite:///stepwell.db", workflows=[send_welcome_email])

        async with app:
            handle = await app.start(send_welcome_email, Welcome(email="user@example.com"))
            async with app.worker():
                print(await handle.result())
    """

    def __init__(
        self,
        database_url: str | Engine | AsyncEngine | None = None,
        *,
        workflows: Iterable[Workflow[Any, Any] | ModuleType] = (),
        timezone: str | None = None,
        namespace: str | None = None,
        migrate: bool = True,
        max_payload: str | int = MAX_PAYLOAD,
        max_crashes: int = MAX_CRASHES,
        retention: Retention | None = None,
        codec: Any = None,
        clock: Clock | None = None,
    ) -> None:
        if codec is not None:
            raise DefinitionError("codec is not supported yet by this version of Stepwell; leave it out")
        self._settings = settings_of(database_url, namespace, timezone, retention)
        self._registry = Registry(workflows)
        self._max_payload = parse_size(max_payload, "max_payload")
        self._max_crashes = checked_count(max_crashes, "max_crashes")
        self._home = self._make_home(clock, migrate=migrate)
        self._home.max_payload = self._max_payload

    def _make_home(self, clock: Clock | None, *, migrate: bool) -> Home:
        return Home(_store(self._settings), clock, migrate=migrate)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {shown_url(self.database_url)}>"

    @property
    def database_url(self) -> str:
        """Where its runs are."""
        return self._settings.database_url

    @property
    def namespace(self) -> str:
        """By which it is kept apart from others on that database."""
        return self._settings.namespace

    @property
    def timezone(self) -> str:
        """Of schedules that name none."""
        return self._settings.timezone

    @property
    def retention(self) -> Kept:
        """For how long after their end runs of a status are kept by its workers; for ever, where the status is not in it."""
        return self._settings.retention

    # -- its life

    async def __aenter__(self) -> Self:
        """See `open`."""
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        """See `close`."""
        await self.close()

    async def open(self) -> None:
        """Connect, on the running event loop, and make or migrate the tables. It can be opened several times, and is closed as often.

        Raises:
            DatabaseUnavailable: the database could not be reached or used for 10 seconds, or cannot be at all.
            DatabaseTooNew: it is of a newer Stepwell.
            RuntimeError: the app is open on another event loop.
        """
        await self._home.open()

    async def close(self) -> None:
        """Let go of the database, when whoever has opened the app has closed it. It can be opened again, also on another loop."""
        await self._home.close()

    @property
    def is_open(self) -> bool:
        """Whether somebody has opened it, and not closed it yet."""
        return self._home.is_open

    def migration_sql(self) -> str:
        """The SQL that makes and migrates the tables, for those who apply it by themselves. Opens nothing."""
        return self._home.migration_sql()

    def now(self) -> float:
        """The app's time, in seconds since 1970. Raises RuntimeError: the app is not open."""
        return self._home.now()

    @property
    def counters(self) -> Counters:
        """What the app's workers in this process have done since it was made: for those who watch it. See `engine.counters`."""
        return self._home.counters

    # -- workers, runs and what belongs to them; starts are in `Starting`

    def worker(
        self,
        *,
        concurrency: int = 100,
        queues: Iterable[str] | None = None,
        name: str | None = None,
        lease: Duration = "30s",
        grace: Duration = "30s",
    ) -> AppWorker:
        """A worker that executes the runs of this app's workflows, on the running event loop.

        Args:
            concurrency: runs that it executes at the same time. Runs that wait do not count.
            queues: from which it takes runs; None: all.
            name: what operators see; left out, host and process id.
            lease: after so long without a sign of it, others take its runs over.
            grace: for how long steps in progress may go on when it is stopped.

        Raises:
            DefinitionError: the app has no workflows, or an option is not what it should be.
            ValueError, TypeError: `lease` or `grace` is no duration.
        """
        if not any(True for _ in self._registry):
            raise DefinitionError("this app has no workflows, so a worker would have nothing to do; write Stepwell(…, workflows=[…])")
        options = worker_options(concurrency, queues, name, lease, grace)
        return AppWorker(self._home, self._registry, options, **self._limits())

    def _limits(self) -> Limits:
        """What holds for every worker of this app."""
        kept = {status: age.total_seconds() for status, age in self._settings.retention.items()}
        return Limits(max_payload=self._max_payload, max_crashes=self._max_crashes, retention=kept, timezone=self.timezone)

    @cached_property
    def runs(self) -> Runs:
        """Runs, one by one, page by page, or all that match."""
        return Runs(self._home, self._fork)

    @cached_property
    def workers(self) -> Workers:
        """What runs where."""
        return Workers(self._home)

    @cached_property
    def workflows(self) -> Workflows:
        """What can be run, and what is paused as a whole."""
        return Workflows(self._home, self._registry)

    @cached_property
    def schedules(self) -> Schedules:
        """What comes when: to look at, pause, trigger and backfill."""
        return Schedules(self._home, self._registry, self.timezone)

    @cached_property
    def queues(self) -> Queues:
        """Where runs wait, and which of them are paused."""
        return Queues(self._home, self._registry)

    @cached_property
    def overview(self) -> Overview:
        """What pages show of the whole: lists without payloads, capped counts, figures."""
        return Overview(self._home)


def _store(settings: Settings) -> Store:
    """Of the kind that the URL names. An app on one database need not have what the other takes."""
    if not settings.is_postgres:
        from stepwell.store.sqlite import SqliteStore  # noqa: PLC0415

        return SqliteStore(settings.path, namespace=settings.namespace)
    try:
        from stepwell.store.postgres.store import PostgresStore  # noqa: PLC0415
    except ImportError as error:
        raise DefinitionError(f'PostgreSQL takes psycopg: pip install "stepwell[postgres]" ({error})') from error
    return PostgresStore(settings.database_url, namespace=settings.namespace, engine=settings.engine)
