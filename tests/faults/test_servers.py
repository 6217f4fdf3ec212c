"""Servers that fail over, are restarted, away, full or take no writes, under load: nothing hangs, is lost, or is done twice."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from threading import Event
from typing import Any, Final

import pytest

from stepwell import Handle, RunStatus, Stepwell
from stepwell.errors import DatabaseUnavailable
from tests.faults.databases import database_of, say_where
from tests.faults.flows import app_in, effects, short
from tests.faults.processes import Program, until
from tests.loops import on_a_loop
from tests.postgres import shared
from tests.postgres.binaries import ABSENT, binaries
from tests.postgres.cluster import new_cluster
from tests.postgres.server import Server, new_server
from tests.postgres.troubles import full, read_only, sending_away

IS_LONG: Final = bool(os.environ.get("STEPWELL_TEST_LONG"))
"""Troubles last for as long as in real life: `make troubles`."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    if binaries() is None:
        shared.lacking(ABSENT)
    with new_server(settings={"max_connections": "30"}) as server:
        say_where(tmp_path, server.url())
        yield server


class Load:
    """Starts runs until it is told to stop, each with a key, and again until it is confirmed."""

    def __init__(self, app: Stepwell) -> None:
        self._app = app
        self._is_over = False
        self.confirmed: dict[int, Handle[int]] = {}
        self.refused = 0

    async def go_on(self) -> None:
        number = 0
        while not self._is_over:
            try:
                self.confirmed[number] = await self._app.start(short, number, key=str(number))
            except DatabaseUnavailable:
                self.refused += 1
                await asyncio.sleep(0.05)
            else:
                number += 1
                await asyncio.sleep(0.002)

    async def confirms(self, more: int) -> None:
        """Wait for so many more."""
        enough = len(self.confirmed) + more
        await until(lambda: len(self.confirmed) >= enough)

    def stop(self) -> None:
        self._is_over = True


async def check(load: Load, app: Stepwell, folder: Path, workers: int) -> None:
    """All that was confirmed has completed, with one record of its step; what was done twice was in flight when its worker lost it."""
    for number, handle in load.confirmed.items():
        assert await handle.result() == 2 * number
    counts = await app.runs.count()
    assert counts == {RunStatus.COMPLETED: len(load.confirmed)}
    database = database_of(folder)
    recorded = database.execute(f"SELECT run, count(*) FROM {database.table('outcomes')} GROUP BY run")
    assert dict(recorded) == {handle.run_id: 1 for handle in load.confirmed.values()}
    made = Counter(line.split()[0] for line in effects(folder))
    assert set(made) == {handle.run_id for handle in load.confirmed.values()}
    assert sum(made.values()) - len(made) <= workers * 100


@on_a_loop
async def test_after_a_failover_every_run_whose_start_was_confirmed_completes_and_none_twice(tmp_path: Path) -> None:
    if binaries() is None:
        shared.lacking(ABSENT)
    with new_cluster() as cluster:
        say_where(tmp_path, cluster.url())
        async with app_in(tmp_path) as app:
            load = Load(app)
            with Program("worker", tmp_path, "lease=5s") as one, Program("worker", tmp_path, "lease=5s") as other:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(load.go_on())
                    await _work(app, load)
                    await asyncio.to_thread(cluster.fail_over)
                    await load.confirms(200)
                    load.stop()
                await check(load, app, tmp_path, 2)
                assert [worker.process.poll() for worker in (one, other)] == [None, None]


@contextmanager
def restarted(server: Server) -> Iterator[None]:
    server.restart("immediate")
    yield


@contextmanager
def down(server: Server) -> Iterator[None]:
    server.stop()
    Event().wait(30.0 if IS_LONG else 3.0)
    server.start()
    yield


@contextmanager
def clients_sent_away(server: Server) -> Iterator[None]:
    with sending_away(server, every=1.0 if IS_LONG else 0.5):
        Event().wait(20.0 if IS_LONG else 3.0)
        yield


@contextmanager
def no_connection_left(server: Server) -> Iterator[None]:
    with full(server):
        Event().wait(3.0)
        yield


@contextmanager
def only_reading(server: Server) -> Iterator[None]:
    with read_only(server):
        Event().wait(3.0)
        yield


TROUBLES: Final = (restarted, down, clients_sent_away, no_connection_left, only_reading)


@pytest.mark.parametrize("trouble", TROUBLES)
@on_a_loop
async def test_whatever_befalls_a_server_under_load_every_run_completes_once_it_is_over(
    server: Server, tmp_path: Path, trouble: Callable[[Server], AbstractContextManager[Any]]
) -> None:
    async with app_in(tmp_path) as app:
        load = Load(app)
        with Program("worker", tmp_path, "lease=10s") as one, Program("worker", tmp_path, "lease=10s") as other:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(load.go_on())
                await _work(app, load)
                await asyncio.to_thread(_through, trouble(server))
                await load.confirms(100)
                load.stop()
            await check(load, app, tmp_path, 2)
            assert [worker.process.poll() for worker in (one, other)] == [None, None]


async def _work(app: Stepwell, load: Load) -> None:
    """Wait until both workers are there, and there is something to lose."""

    async def is_so() -> bool:
        return len(await app.workers.list()) == 2 and (await app.runs.count()).get(RunStatus.COMPLETED, 0) >= 100

    await until(is_so)
    await load.confirms(50)


def _through(trouble: AbstractContextManager[Any]) -> None:
    with trouble:
        pass


@on_a_loop
async def test_workers_say_what_they_wait_for_while_a_server_is_down_and_when_it_is_back(server: Server, tmp_path: Path) -> None:
    async with app_in(tmp_path) as app:
        with Program("worker", tmp_path, "lease=2s") as worker:
            await worker.says_meanwhile("is open")
            assert await (await app.start(short, 1)).result() == 2
            await asyncio.to_thread(server.stop)
            await worker.says_meanwhile("cannot renew its lease, and goes on trying")
            await worker.says_meanwhile("has not reached the database for its lease of 2 s")
            await asyncio.to_thread(server.start)
            await worker.says_meanwhile("has its lease again, and goes on")

            assert await (await app.start(short, 2)).result() == 4
