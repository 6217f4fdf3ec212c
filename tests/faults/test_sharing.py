"""Many processes on one file: they open it, write to it and hold it at the same time, and nobody is told that it is locked."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

import pytest

from stepwell import DatabaseUnavailable, RunStatus, Stepwell, home
from stepwell.store.sqlite import connection
from tests.engine.harness import looks_rarely
from tests.faults.databases import database_of, on_sqlite
from tests.faults.flows import app_in, effects, short
from tests.faults.processes import Program, until
from tests.loops import on_a_loop

RUNS: Final = 500 if os.environ.get("STEPWELL_TEST_LONG") else 150
"""That each of several processes starts and executes."""


@contextmanager
def let_off(number: int, *arguments: object) -> Iterator[list[Program]]:
    """So many programs that open a file at the same time."""
    with ExitStack() as stack:
        programs = [stack.enter_context(Program("opener", *arguments)) for _ in range(number)]
        for program in programs:
            program.says("is there")
        for program in programs:
            program.tell("go")
        yield programs
        for program in programs:
            assert program.ends() == 0, program.errors


@on_a_loop
async def test_eight_processes_with_hundreds_of_runs_each_see_no_lock_and_lose_none(folder: Path, app: Stepwell) -> None:
    with let_off(8, folder / "runs.db", RUNS) as programs:
        for program in programs:
            assert program.says("is done").split()[-1] == str(sum(2 * number for number in range(RUNS)))

    assert [line for program in programs for line in program.said if "locked" in line] == []
    assert [program.errors for program in programs] == [""] * 8
    async with app:
        assert await app.runs.count() == {RunStatus.COMPLETED: 8 * RUNS}
        assert await app.workers.list() == []
    assert set(Counter(line.split()[0] for line in effects(folder)).values()) == {1}


@pytest.mark.parametrize("attempt", range(3))
@on_a_loop
async def test_a_new_file_is_opened_by_several_processes_at_once_and_made_once(folder: Path, app: Stepwell, attempt: int) -> None:
    with let_off(4, folder / "runs.db") as programs:
        for program in programs:
            program.says("is open")

    database = database_of(folder)
    numbers = [number for (number,) in database.execute(f"SELECT number FROM {database.table('schema')}")]
    assert numbers == sorted(set(numbers))
    async with app, app.worker():
        assert await app.execute(short, attempt) == 2 * attempt


@on_a_loop
async def test_fifty_clients_that_start_with_one_key_get_one_run_and_one_of_them_has_made_it(app: Stepwell) -> None:
    async with app:
        handles = await asyncio.gather(*[app.start(short, 1, key="order-7") for _ in range(50)])
        assert len({handle.run_id for handle in handles}) == 1
        assert [handle.created for handle in handles].count(True) == 1
        assert await app.runs.count() == {RunStatus.PENDING: 1}


@on_a_loop
async def test_clients_in_several_processes_that_start_with_one_key_get_one_run(folder: Path, app: Stepwell) -> None:
    with ExitStack() as stack:
        programs = [stack.enter_context(Program("keyed", folder, "order-7", 15)) for _ in range(4)]
        for program in programs:
            program.says("is there")
        for program in programs:
            program.tell("go")
        answers = [program.says("made").split() for program in programs]
        for program in programs:
            assert program.ends() == 0, program.errors

    assert sum(int(made) for _, made, _ in answers) == 1
    (run_id,) = {run_id for *_, run_id in answers}
    async with app:
        assert [run.id for run in await app.runs.list()] == [run_id]


# -- a file that another program holds


@contextmanager
def held(folder: Path) -> Iterator[sqlite3.Connection]:
    """By a transaction that writes."""
    with closing(sqlite3.connect(folder / "runs.db", isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


@on_sqlite
@on_a_loop
async def test_a_file_that_is_held_for_a_while_is_waited_for(folder: Path, app: Stepwell) -> None:
    async with app, app.worker():
        await app.execute(short, 1)
        with held(folder) as other:
            starting = asyncio.get_running_loop().create_task(app.start(short, 2))
            done, _ = await asyncio.wait([starting], timeout=0.4)
            assert done == set()
            assert await app.runs.count() == {RunStatus.COMPLETED: 1}  # reading goes on meanwhile
            other.rollback()
            assert await (await starting).result() == 4


@on_sqlite
@on_a_loop
async def test_a_file_that_is_held_for_too_long_is_an_error_that_says_so_and_nothing_is_lost(
    folder: Path, app: Stepwell, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connection, "PATIENCE", 0.3)
    async with app, app.worker():
        waiting = await app.start("nobody_has_it")
        with held(folder):
            for _ in range(2):
                with pytest.raises(
                    DatabaseUnavailable, match=r"locked by another program for 0\.3\d* s; is a transaction left open"
                ) as refusal:
                    await app.start(short, 2)
                assert not refusal.value.permanent
            assert await waiting.status() is RunStatus.PENDING
        assert await app.execute(short, 3) == 6
        assert await app.runs.count() == {RunStatus.PENDING: 1, RunStatus.COMPLETED: 1}


@on_sqlite
@on_a_loop
async def test_a_step_that_ends_while_the_file_is_held_is_recorded_afterwards_and_not_executed_again(
    folder: Path, app: Stepwell, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connection, "PATIENCE", 0.2)
    async with app, app.worker():
        handle = await app.start("in_two")
        await until(lambda: _has_started(app))
        with held(folder):
            (folder / "go").touch()
            await until(lambda: "writes wait" in caplog.text or "write waits" in caplog.text)
        assert await handle.result() == "SECOND"

    assert effects(folder) == [f"{handle.run_id}:second"]


async def _has_started(app: Stepwell) -> bool:
    return await app.runs.count() == {RunStatus.RUNNING: 1}


@on_sqlite
@on_a_loop
async def test_a_reader_waits_while_another_process_mends_what_a_killed_one_has_left(folder: Path, app: Stepwell) -> None:
    async with app:
        await app.start(short, 1)
        with Program("holder", folder / "runs.db") as holder:
            holder.says("has it")
            counting = asyncio.get_running_loop().create_task(app.runs.count())
            done, _ = await asyncio.wait([counting], timeout=0.1)
            assert done == set()
            holder.tell("let go")
            assert await counting == {RunStatus.PENDING: 1}
            assert holder.ends() == 0


@on_sqlite
@on_a_loop
async def test_opening_a_file_that_is_held_for_too_long_is_an_error_and_works_afterwards(
    folder: Path, app: Stepwell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "PATIENCE", 0.2)
    monkeypatch.setattr(home, "PATIENCE", 0.5)
    with closing(sqlite3.connect(folder / "runs.db", isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("CREATE TABLE theirs (id)")
        with pytest.raises(DatabaseUnavailable, match="locked by another program") as refusal:
            await app.open()
        assert not refusal.value.permanent

    async with app, app.worker():
        assert await app.execute(short, 1) == 2


# -- hints


def take_sockets_away(folder: Path) -> None:
    """Nobody can be told anything."""
    for socket in folder.glob("*.sock"):
        socket.unlink()


@on_sqlite
@pytest.mark.parametrize("name", ["a b", "50% #1", "żółw", "long" * 40, "/".join(["deep"] * 40), "'; quoted\""])
@on_a_loop
async def test_processes_tell_each_other_of_work_in_directories_with_any_name(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks_rarely(monkeypatch)
    place = make(folder / name)
    async with app_in(place) as app, app.worker(lease="1h"):
        assert await app.execute(short, 1) == 2
        with Program("keyed", place, "order-7", 1) as other:
            await other.says_meanwhile("is there")
            other.tell("go")
            run_id = (await other.says_meanwhile("made")).split()[-1]
            assert await app.handle(run_id).result() == 2
            assert other.ends() == 0


def make(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


@on_sqlite
@on_a_loop
async def test_work_of_another_process_begins_when_somebody_looks_though_no_hint_arrives(folder: Path, app: Stepwell) -> None:
    async with app, app.worker(lease="1h"):
        await app.execute(short, 1)
        take_sockets_away(folder)
        with Program("keyed", folder, "order-7", 1) as other:
            await other.says_meanwhile("is there")
            other.tell("go")
            run_id = (await other.says_meanwhile("made")).split()[-1]
            assert await app.handle(run_id).result() == 2
            assert other.ends() == 0


@on_sqlite
@on_a_loop
async def test_a_process_that_comes_within_one_tick_of_the_file_systems_clock_is_told_too(
    folder: Path, app: Stepwell, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks_rarely(monkeypatch)
    other = app_in(folder)
    async with app:
        await app.start("nobody_has_it")
        looked = when_changed(folder)
        async with other, other.worker(lease="1h"):
            await other.execute(short, 1)
            os.utime(folder, ns=(looked, looked))
            handle = await app.start(short, 2)
            assert await handle.result() == 4


def when_changed(folder: Path) -> int:
    return folder.stat().st_mtime_ns
