"""Files that are no database, are taken away or cannot be written to: a named error at once, and nothing is made over what is there."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import monotonic

import pytest

from stepwell import DatabaseTooNew, DatabaseUnavailable, RunStatus, Stepwell, StepwellError
from tests.faults.databases import on_sqlite
from tests.faults.flows import app_in, effects, large, short
from tests.faults.processes import Program, until
from tests.loops import on_a_loop

pytestmark = on_sqlite

AT_ONCE = 8.0
"""Seconds, on a busy machine: sooner than the ten for which whoever waits for a database has patience."""


async def with_runs(file: Path) -> None:
    """A database with something in it."""
    async with Stepwell(f"sqlite:///{file}") as app:
        await app.start_many("nobody_has_it", ["x" * 1_000] * 50)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def allow(path: Path, mode: int) -> None:
    """What others than root may do with it."""
    path.chmod(mode)


async def refused(app: Stepwell) -> StepwellError:
    """What opening it raises, at once."""
    began = monotonic()
    with pytest.raises((DatabaseUnavailable, DatabaseTooNew)) as refusal:
        await app.open()
    assert monotonic() - began < AT_ONCE
    return refusal.value


# -- when it is opened


@pytest.mark.parametrize("content", [b"no database, " * 500, b"short", bytes(8_192), b"SQLite format 3\0" + b"\xff" * 8_000])
@on_a_loop
async def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(folder: Path, app: Stepwell, content: bytes) -> None:
    (folder / "runs.db").write_bytes(content)

    error = await refused(app)

    assert isinstance(error, DatabaseUnavailable)
    assert error.permanent
    assert "runs.db" in str(error)
    assert "not a SQLite database" in str(error)
    assert contents(folder) == {"runs.db": content}


@pytest.mark.parametrize("left", [5_000, 20_000])
@on_a_loop
async def test_a_database_that_was_cut_off_is_refused_and_left_as_it_is(folder: Path, app: Stepwell, left: int) -> None:
    await with_runs(folder / "runs.db")
    os.truncate(folder / "runs.db", left)
    before = (folder / "runs.db").read_bytes()

    error = await refused(app)

    assert isinstance(error, DatabaseUnavailable)
    assert error.permanent
    assert "damaged" in str(error)
    assert (folder / "runs.db").read_bytes() == before


@on_a_loop
async def test_a_directory_is_no_database_and_one_that_is_missing_is_not_made(folder: Path) -> None:
    (folder / "data").mkdir()

    for file in (folder / "data", folder / "missing" / "runs.db"):
        error = await refused(Stepwell(f"sqlite:///{file}"))

        assert isinstance(error, DatabaseUnavailable)
        assert error.permanent
        assert str(file) in str(error)
        assert "cannot be opened" in str(error)
    assert names(folder) == {"data"}


@on_a_loop
async def test_a_database_of_a_newer_version_is_refused_and_left_as_it_is(folder: Path, app: Stepwell) -> None:
    await with_runs(folder / "runs.db")
    with closing(sqlite3.connect(folder / "runs.db")) as connection:
        connection.execute("INSERT INTO stepwell_schema (number, name) VALUES (999, 'of tomorrow')")
        connection.commit()
    before = contents(folder)

    for migrate in (True, False):
        error = await refused(app_in(folder, migrate=migrate))
        assert isinstance(error, DatabaseTooNew)
        assert "999" in str(error)
        assert "upgrade Stepwell" in str(error)

    assert contents(folder) == before


@on_a_loop
@pytest.mark.parametrize(
    "change",
    ["ALTER TABLE stepwell_schema DROP COLUMN digest", "UPDATE stepwell_schema SET digest = 'of another'"],
    ids=["none", "another"],
)
async def test_a_database_from_before_a_release_is_refused_and_left_as_it_is(folder: Path, app: Stepwell, change: str) -> None:
    await with_runs(folder / "runs.db")
    with closing(sqlite3.connect(folder / "runs.db")) as connection:
        connection.execute(change)
        connection.commit()
    before = contents(folder)

    for migrate in (True, False):
        error = await refused(app_in(folder, migrate=migrate))
        assert isinstance(error, DatabaseUnavailable)
        assert error.permanent
        assert "never released" in str(error)
        assert "take another database or another namespace" in str(error)

    assert contents(folder) == before


def as_others() -> list[str]:
    """What takes from root the right to write to everything, so that it looks as others do."""
    if os.getuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("to root everything may be written to, and without setpriv that cannot be taken from it")
    return ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]


@pytest.mark.parametrize("what", ["file", "directory", "missing"])
@on_a_loop
async def test_what_may_not_be_written_to_is_refused_and_left_as_it_is(folder: Path, what: str) -> None:
    file = folder / "runs.db"
    if what != "missing":
        await with_runs(file)
        allow(file, 0o444 if what == "file" else 0o666)
    allow(folder, 0o777 if what == "file" else 0o555)
    before = contents(folder)

    with Program("opener", file, through=as_others()) as opener:
        opener.tell("go")
        began = monotonic()
        said = opener.says("DatabaseUnavailable True")
        assert monotonic() - began < AT_ONCE
        assert opener.ends() == 0

    assert str(file) in said
    assert "read-only" in said if what == "file" else "cannot be opened" in said or "read-only" in said
    assert contents(folder) == before


# -- while it is open


@pytest.mark.parametrize("how", ["deleted", "moved", "replaced"])
@on_a_loop
async def test_a_file_that_is_taken_away_is_missed_at_once_and_found_when_it_is_back(folder: Path, app: Stepwell, how: str) -> None:
    file, away = folder / "runs.db", folder / "away.db"
    async with app, app.worker():
        assert await app.execute(short, 1) == 2
        file.rename(away)
        if how == "replaced":
            file.write_bytes(b"of somebody else")
        before = names(folder)

        began = monotonic()
        for ask in (app.start(short, 2), app.runs.count()):
            with pytest.raises(DatabaseUnavailable, match=r"runs\.db (is gone|was replaced)") as refusal:
                await ask
            assert refusal.value.permanent
        assert monotonic() - began < AT_ONCE
        assert names(folder) == before

        if how == "moved":
            away.rename(file)
            assert await app.execute(short, 3) == 6
    if how == "replaced":
        assert file.read_bytes() == b"of somebody else"
    else:
        assert file.exists() == (how == "moved")


@on_a_loop
async def test_a_file_that_is_cut_off_while_it_is_open_is_an_error_and_not_the_end_of_the_process(folder: Path) -> None:
    file = folder / "runs.db"
    await with_runs(file)
    with Program("cut_off", file) as program:
        assert program.ends() == 0, program.errors
    assert "damaged" in program.said[-1]
    assert program.said[-1].startswith("DatabaseUnavailable True")


# -- a disk that is full


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 6 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = shutil.which("mount") is not None and os.system(f"mount -t tmpfs -o size=6m tmpfs {place} 2>/dev/null") == 0
    if not mounted:
        pytest.skip("a disk that is full needs the right to mount one: run the tests as root")
    yield place
    os.system(f"umount --lazy {place}")


def enlarge(disk: Path, size: str) -> None:
    """Make it so large, with all that is on it."""
    assert os.system(f"mount -o remount,size={size} {disk}") == 0


@on_a_loop
async def test_a_full_disk_is_told_and_the_run_goes_on_when_there_is_space(
    folder: Path, disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with app_in(folder, disk / "runs.db") as app, app.worker():
        handle = await app.start(large, 400_000)
        await until(lambda: "the disk is full" in caplog.text)

        assert await handle.status() is RunStatus.RUNNING
        done = [step.key for step in await handle.steps() if step.status == "completed"]
        with pytest.raises(DatabaseUnavailable, match="the disk is full; nothing of this transaction was written") as refusal:
            await app.start("nobody_has_it", "x" * 1_000_000)
        assert not refusal.value.permanent
        enlarge(disk, "64m")
        assert await handle.result() == 20
        assert (await handle.get()).attempt == 1
        assert await app.runs.count() == {RunStatus.COMPLETED: 1}

    assert 0 < len(done) < 40
    assert Counter(effects(folder)) == dict.fromkeys([f"{handle.run_id}:mark", *(f"{handle.run_id}:mark:{n}" for n in range(1, 20))], 1)


@on_a_loop
async def test_a_run_whose_worker_dies_on_a_full_disk_goes_on_elsewhere_when_there_is_space(folder: Path, disk: Path) -> None:
    database = disk / "runs.db"
    async with app_in(folder, database) as app:
        handle = await app.start(large, 400_000)
        with Program("worker", folder, f"database={database}") as worker:
            worker.says("the disk is full")
            worker.kill()
        done = {step.key for step in await handle.steps() if step.status == "completed"}
        before = effects(folder)
        enlarge(disk, "64m")
        async with app.worker():
            assert await handle.result() == 20

    again = Counter(effects(folder)) - Counter(set(before))
    assert not {key for key in done if again[f"{handle.run_id}:{key}"]}
    assert len(set(effects(folder))) == 20
