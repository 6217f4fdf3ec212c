"""A PostgreSQL server as a place for benchmarks: one of its own, on the disk, with fsync and synchronous_commit on."""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.measures import no_op, one_step
from benchmarks.whole import WORKFLOWS, opened, three_steps
from stepwell import Step, Stepwell, Workflow, workflow
from stepwell.core.records import NewWorker
from stepwell.engine.clock import SystemClock
from stepwell.store.port import Pin, Store
from stepwell.store.postgres.store import PostgresStore
from tests.postgres.binaries import ABSENT, binaries, runnable
from tests.postgres.places import give
from tests.postgres.server import Server

SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "4GB", "fsync": "on", "synchronous_commit": "on", "jit": "off"}

_SLOW = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>
static int late(const char *name, int fd) {
    int (*real)(int) = (int (*)(int)) dlsym(RTLD_NEXT, name);
    usleep(2000);
    return real(fd);
}
int fsync(int fd) { return late("fsync", fd); }
int fdatasync(int fd) { return late("fdatasync", fd); }
"""
"""Each flush takes two milliseconds more, as on storage behind a network."""


class PostgresServer:
    """See `whole.Place`. The server is started when it is first needed, and stopped by `close`.

    Args:
        slow: whether each flush to the disk takes two milliseconds more. This takes a compiler of C.
    """

    def __init__(self, *, slow: bool = False) -> None:
        self._slow = slow
        self._server: Server | None = None
        self._numbers = itertools.count(1)
        self.namespace = ""

    @property
    def url(self) -> str:
        """Of its database, by its socket."""
        if self._server is None:
            self._server = self._started()
        return self._server.url(by_socket=True)

    def _started(self) -> Server:
        found = binaries()
        if found is None:
            raise LookupError(ABSENT)
        folder = Path(tempfile.mkdtemp(prefix="stepwell-bench-"))
        give(folder)
        through = ("env", f"LD_PRELOAD={_slow_flushes(folder)}") if self._slow else ()
        server = Server(folder, runnable(found), settings=SETTINGS, through=through)
        server.create()
        server.start()
        return server

    def close(self) -> None:
        """Stop the server, and remove all that was in it."""
        if self._server is not None:
            self._server.stop("immediate")
            shutil.rmtree(self._server.folder)
            self._server = None

    @contextmanager
    def empty(self) -> Iterator[Store]:
        self.namespace = f"bench{next(self._numbers)}"
        try:
            yield PostgresStore(self.url, namespace=self.namespace)
        finally:
            self.execute(f"DROP SCHEMA IF EXISTS {self.namespace} CASCADE")
            self.execute("CHECKPOINT")  # what this figure has left is not the next one's to flush

    def logged(self, words: str) -> int:
        """How many lines of its log begin so."""
        return 0 if self._server is None else sum(line.startswith(words) for line in self._server.log.splitlines())

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []


def _slow_flushes(folder: Path) -> Path:
    """The library that makes them so."""
    source, library = folder / "slow.c", folder / "slow.so"
    source.write_text(_SLOW)
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"], check=True)
    return library


# -- several processes


def _work(url: str, namespace: str, ready: Any, stop: Any) -> None:
    async def work() -> None:
        async with Stepwell(url, namespace=namespace, workflows=WORKFLOWS) as app, app.worker(concurrency=400):
            ready.release()
            await asyncio.to_thread(stop.wait)

    asyncio.run(work())


async def runs_per_second_of_many(place: PostgresServer, processes: int = 4, runs: int = 60_000) -> float:
    """One-step runs that wait already, by so many worker processes, from the moment they may begin until all have completed."""
    context = multiprocessing.get_context("spawn")
    ready, stop = context.Semaphore(0), context.Event()
    async with opened(place) as app:
        await app.queues.pause("default")
        for begin in range(0, runs, 10_000):
            await app.start_many(one_step, list(range(begin, min(begin + 10_000, runs))))
        workers = [context.Process(target=_work, args=(place.url, place.namespace, ready, stop)) for _ in range(processes)]
        for worker in workers:
            worker.start()
        for _ in workers:
            await asyncio.to_thread(ready.acquire)
        place.execute("CHECKPOINT")
        began = time.perf_counter()
        await app.queues.resume("default")
        while _is_busy(place):
            await asyncio.sleep(0.05)
        seconds = time.perf_counter() - began
        assert _completed(place) == runs
        stop.set()
        for worker in workers:
            await asyncio.to_thread(worker.join)
        return runs / seconds


def _is_busy(place: PostgresServer) -> bool:
    ((is_ready, is_owned),) = place.execute(
        f"SELECT EXISTS (SELECT 1 FROM {place.namespace}.runs WHERE status = 'pending' AND worker IS NULL AND due IS NULL),"
        f" EXISTS (SELECT 1 FROM {place.namespace}.runs WHERE worker IS NOT NULL)"
    )
    return bool(is_ready or is_owned)


def _completed(place: PostgresServer) -> int:
    ((count,),) = place.execute(f"SELECT count(*) FROM {place.namespace}.runs WHERE status = 'completed'")
    return int(count)


# -- what it costs the server


async def per_run(place: PostgresServer, what: str, runs: int = 10_000) -> float:
    """Of a one-step run, as the server counts: `commits`, `rows` written, or `bytes` of WAL."""
    async with opened(place) as app, app.worker(concurrency=400):
        before = _counted(place)
        await app.start_many(one_step, list(range(runs)))
        while _is_busy(place):
            await asyncio.sleep(0.25)
        await asyncio.sleep(1.5)  # backends report what they have done once a second
        after = _counted(place)
        return (after[what] - before[what]) / runs


def _counted(place: PostgresServer) -> dict[str, int]:
    ((commits, rows, wal),) = place.execute(
        "SELECT xact_commit, tup_inserted + tup_updated + tup_deleted, pg_current_wal_lsn() - '0/0'::pg_lsn"
        " FROM pg_stat_database WHERE datname = current_database()"
    )
    return {"commits": commits, "rows": rows, "bytes": int(wal)}


async def idle_statements(place: PostgresServer, seconds: float = 20.0, *more: Workflow[Any, Any]) -> float:
    """A second, of a worker that has nothing to do, as the server logs them."""
    async with opened(place, *more) as app, app.worker():
        await app.execute(three_steps, 0)
        place.execute("ALTER SYSTEM SET log_statement = 'all'")
        place.execute("ALTER SYSTEM SET log_line_prefix = '%a: '")
        place.execute("SELECT pg_reload_conf()")
        await asyncio.sleep(2.0)
        before = place.logged("stepwell: LOG:")
        await asyncio.sleep(seconds)
        after = place.logged("stepwell: LOG:")
        place.execute("ALTER SYSTEM RESET ALL")
        place.execute("SELECT pg_reload_conf()")
        return (after - before) / seconds


# -- claims


async def claim_ratio(place: PostgresServer, few: int = 1_000, many: int = 5_000_000) -> float:
    """What a claim of a hundred costs with so many pending runs, in terms of one with few."""
    with place.empty() as store:
        clock = SystemClock()
        await store.open()
        await store.register(NewWorker("bench", "bench", "here", 1, None, 100, 3_600.0, clock.now(), ()))
        _fill(place, few + 2_000, "a")
        with_few = await _claim_seconds(store, clock)
        _fill(place, many, "b")
        with_many = await _claim_seconds(store, clock)
        await store.close()
        return with_many / with_few


def _fill(place: PostgresServer, runs: int, prefix: str) -> None:
    """Runs as `start_many` makes them, made where they are."""
    schema = place.namespace
    place.execute(f"INSERT INTO {schema}.lanes (queue, workflow, version) VALUES ('default', 'one_step', '') ON CONFLICT DO NOTHING")
    place.execute(
        f"INSERT INTO {schema}.runs (id, status, lane, workflow, version, queue, priority, created_at, available_at, preview)"
        f" SELECT '01900000-0000-7000-8000-' || '{prefix}' || lpad(to_hex(n), 11, '0'), 'pending', (SELECT max(id) FROM {schema}.lanes),"
        f" 'one_step', '', 'default', 0, 1, 1, '1' FROM generate_series(1, {runs}) n"
    )
    place.execute(f"INSERT INTO {schema}.inputs (run, input) SELECT id, '1' FROM {schema}.runs ON CONFLICT DO NOTHING")
    place.execute("CHECKPOINT")


async def _claim_seconds(store: Store, clock: SystemClock, claims: int = 20) -> float:
    times = []
    for _ in range(claims):
        began = time.perf_counter()
        claimed = await store.claim("bench", lambda lane: Pin(lane.version, None), 100, clock.now())
        times.append(time.perf_counter() - began)
        assert len(claimed) == 100
    return sorted(times)[claims // 2]


async def rate_with_old_snapshot(place: PostgresServer, seconds: float = 30.0) -> float:
    """Runs a second after a snapshot was held open for so long, in terms of the rate without one."""
    clean = await _rate(place, 0.0)
    with psycopg.connect(place.url) as old:
        old.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT 1")
        held = await _rate(place, seconds)
    return held / clean


class Counted:
    """Runs whose body has come to its end, in this process."""

    runs = 0


@workflow
async def counted(input: int, step: Step) -> None:
    await step.run("no_op", no_op, input)
    Counted.runs += 1


async def _rate(place: PostgresServer, after: float, window: float = 5.0) -> float:
    """One-step runs a second, in a window that begins so many seconds after the first of them."""
    async with opened(place, counted) as app, app.worker(concurrency=400):
        Counted.runs, started = 0, 0
        began = time.perf_counter()
        first: tuple[float, int] | None = None
        while (now := time.perf_counter() - began) < after + window:
            if first is None and now >= after:
                first = now, Counted.runs
            if started - Counted.runs < 10_000:
                await app.start_many(counted, list(range(2_000)))
                started += 2_000
            else:
                await asyncio.sleep(0.01)
        assert first is not None
        return (Counted.runs - first[1]) / (now - first[0])
