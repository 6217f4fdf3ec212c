"""Workers in processes of their own that are stopped, frozen and blocked, and what the others make of it."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections import Counter
from contextlib import closing
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from stepwell import RunStatus, Stepwell
from tests.faults.databases import database_of, on_sqlite
from tests.faults.flows import blocks, effects, in_two, never_ends, short, three
from tests.faults.processes import WITHIN, Program, until
from tests.loops import on_a_loop

LEAVES: float = 8.0
"""Seconds after the grace within which a process that was told to stop is gone, on a busy machine: it waits neither for what never
ends, nor for as long as whoever writes has patience. By the clock of its loop, it takes two."""


def stored(folder: Path) -> dict[str, list[Any]]:
    """All that is stored of runs."""
    database = database_of(folder)
    tables = ("runs", "outcomes", "attempts", "logs", "events")
    return {table: database.execute(f"SELECT * FROM {database.table(table)} ORDER BY 1, 2") for table in tables}


@on_a_loop
async def test_a_worker_that_was_frozen_beyond_its_lease_touches_no_row_of_what_another_has_finished(folder: Path, app: Stepwell) -> None:
    async with app:
        handle = await app.start(in_two)
        with Program("worker", folder, "lease=1s") as frozen:
            frozen.says("waits")
            frozen.freeze(database_of(folder))
            async with app.worker(lease="1s"):
                await until(lambda: (folder / "second.mark").exists() or _taken(app, frozen))
                (folder / "go").touch()
                assert await handle.result() == "SECOND"
            before = stored(folder)

            frozen.signal(signal.SIGCONT)
            frozen.says("was taken for dead")
            frozen.says("is registered again")
            again = await app.start(three, "none")
            assert await again.result() == ["ONE", "TWO", "THREE"]
            frozen.signal(signal.SIGTERM)
            assert frozen.ends() == 0

        after = stored(folder)
        assert {table: [row for row in after[table] if again.run_id not in row] for table in after} == before
        assert effects(folder).count(f"{handle.run_id}:second") == 1


async def _taken(app: Stepwell, frozen: Program) -> bool:
    """Whether the run of the frozen worker is another's."""
    (run,) = await app.runs.list()
    return run.worker is not None and str(frozen.process.pid) not in run.worker


@on_a_loop
async def test_two_workers_that_claim_a_thousand_runs_at_once_start_each_of_them_once(folder: Path, app: Stepwell) -> None:
    with Program("worker", folder) as one, Program("worker", folder) as other:
        for worker in (one, other):
            worker.says("is open")
        async with app:
            await until(lambda: _workers(app, 2))
            handles = await app.start_many(short, list(range(1_000)))
            await until(lambda: _all_completed(app, 1_000))

    started = [line.split() for line in effects(folder)]
    assert Counter(run_id for run_id, _ in started) == dict.fromkeys([handle.run_id for handle in handles], 1)
    assert {int(pid) for _, pid in started} == {one.process.pid, other.process.pid}


async def _workers(app: Stepwell, number: int) -> bool:
    return len(await app.workers.list()) == number


async def _all_completed(app: Stepwell, number: int) -> bool:
    return await app.runs.count() == {RunStatus.COMPLETED: number}


@on_a_loop
async def test_a_worker_that_is_asked_to_stop_lets_its_step_end_hands_the_run_back_and_claims_no_other(folder: Path, app: Stepwell) -> None:
    async with app:
        handle = await app.start(in_two)
        with Program("worker", folder) as worker:
            worker.says("waits")
            worker.signal(signal.SIGTERM)
            worker.says("stopping")
            late = await app.start(short, 1)
            (folder / "go").touch()
            assert worker.ends() == 0, worker.errors

        run = await handle.get()
        assert (run.status, run.attempt, run.worker) == (RunStatus.PENDING, 1, None)
        assert [(step.key, step.status) for step in await handle.steps()] == [("first", "completed")]
        assert await late.status() is RunStatus.PENDING
        assert await app.workers.list() == []
        async with app.worker():
            assert (await handle.result(), await late.result()) == ("SECOND", 2)
        assert (await handle.get()).attempt == 1


@on_a_loop
async def test_a_worker_whose_loop_a_step_blocks_keeps_its_lease_and_says_where_it_is(folder: Path, app: Stepwell) -> None:
    async with app, app.worker(lease="3s", queues=["elsewhere"]):
        handle = await app.start(blocks, 5.0)
        with Program("worker", folder, "lease=3s") as worker:
            worker.says("blocks")
            warning = worker.says("has blocked the worker's event loop")
            worker.says("sleep(seconds)")
            assert await handle.result() == "done"
            worker.signal(signal.SIGTERM)
            assert worker.ends() == 0

    assert f"step 'block' of run {handle.run_id}" in warning
    assert not [line for line in worker.said if "taken for dead" in line or "has not reached the database" in line]


@pytest.mark.parametrize("kind", ["loop", "thread", "deaf"])
@on_a_loop
async def test_a_process_with_a_step_that_never_ends_ends_soon_after_the_grace(folder: Path, app: Stepwell, kind: str) -> None:
    async with app:
        handle = await app.start(never_ends, kind)
        with Program("worker", folder, "grace=300ms") as worker:
            worker.says("never ends")
            began = monotonic()
            worker.signal(signal.SIGTERM)
            assert worker.ends() == 0, worker.errors
            assert monotonic() - began < 0.3 + LEAVES

        run = await handle.get()
        assert (run.status, run.attempt, run.worker) == (RunStatus.PENDING, 1, None)
        async with app.worker():
            assert await handle.result() == "over"


@on_sqlite
@on_a_loop
async def test_a_process_ends_in_time_though_another_program_holds_the_file(folder: Path, app: Stepwell) -> None:
    async with app:
        handle = await app.start(in_two)
        with (
            Program("worker", folder, "grace=300ms", "leaves=in time") as worker,
            closing(sqlite3.connect(folder / "runs.db")) as other,
        ):
            worker.says("waits")
            other.execute("BEGIN IMMEDIATE")
            (folder / "go").touch()
            began = monotonic()
            worker.signal(signal.SIGTERM)
            assert worker.ends() == 0, worker.errors
            assert monotonic() - began < 0.3 + LEAVES
            other.rollback()

        async with app.worker():
            assert await handle.result() == "SECOND"


@on_a_loop
async def test_a_worker_with_a_thousand_steps_in_progress_hands_all_of_them_back_in_time(folder: Path, app: Stepwell) -> None:
    async with app:
        await app.start_many("waits_long", [None] * 1_000)
        with Program("worker", folder, "grace=300ms", "concurrency=1000") as worker:
            await until(lambda: _all_wait(folder))
            began = monotonic()
            worker.signal(signal.SIGTERM)
            assert worker.ends() == 0, worker.errors
            assert monotonic() - began < 0.3 + LEAVES

        assert await app.runs.count() == {RunStatus.PENDING: 1_000}
        assert await app.workers.list() == []


async def _all_wait(folder: Path) -> bool:
    return len(effects(folder)) == 1_000


@on_sqlite
@on_a_loop
async def test_a_worker_that_lives_is_not_taken_for_dead_because_its_socket_was_tidied_away(folder: Path, app: Stepwell) -> None:
    async with app:
        handle = await app.start(in_two)
        with Program("worker", folder) as worker:
            worker.says("waits")
            take_sockets_away(folder)
            async with app.worker(lease="1s"):
                await until(partial(_has_beaten, app, 3))
                assert str(worker.process.pid) in str((await handle.get()).worker)
                (folder / "go").touch()
                assert await handle.result() == "SECOND"
            worker.signal(signal.SIGTERM)
            assert worker.ends() == 0

    assert worker.said.count("waits") == 1


async def _has_beaten(app: Stepwell, seconds: int) -> bool:
    """Whether a worker has beaten for so many sixths of a second, and looked at the others each time."""
    return any((state.beat_at - state.started_at).total_seconds() > seconds / 6 for state in await app.workers.list())


@on_sqlite
@on_a_loop
async def test_the_runs_of_a_killed_worker_are_taken_over_at_once_also_when_a_client_was_the_first_to_notice(
    folder: Path, app: Stepwell
) -> None:
    async with app:
        handle = await app.start(in_two)
        with Program("worker", folder, "lease=1h") as worker:
            worker.says("waits")
            worker.kill()
        (folder / "go").touch()
        await app.start(short, 1)
        assert [file.suffix for file in files(folder, "*.gone")] == [".gone"]
        async with app.worker(lease="1h"):
            assert await handle.result(WITHIN) == "SECOND"
        age(files(folder, "*.gone"))
    async with app:
        assert files(folder, "*.gone") == []


def files(folder: Path, pattern: str) -> list[Path]:
    return list(folder.glob(pattern))


def take_sockets_away(folder: Path) -> None:
    for socket in files(folder, "*.sock"):
        socket.unlink()


def age(signs: list[Path]) -> None:
    """Make them two days old."""
    for sign in signs:
        written = sign.lstat().st_mtime - 2 * 24 * 3600
        os.utime(sign, (written, written))
