"""Releases that say different things of a schedule, on workers that overlap, are killed, frozen and started again."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from stepwell.engine import scheduler
from tests.faults.databases import Database
from tests.faults.processes import Program, until
from tests.faults.scheduled import made, release_in
from tests.faults.test_schedules import fires_more, made_in
from tests.loops import on_a_loop


def words(database: Database) -> str:
    """Whose word each run is by, in the order of their slots: `ooonn`."""
    return "".join(run.input[1] for run in made(database))


async def fires_by(database: Database, word: str) -> None:
    """Wait until the last run is by this release."""
    await until(lambda: words(database).endswith(word), every=0.05)


def one_each(database: Database) -> bool:
    slots = [run.slot for run in made(database)]
    return len(slots) == len(set(slots))


@on_a_loop
async def test_the_release_started_last_wins_at_once_and_when_its_workers_are_killed_an_older_one_takes_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "OUTVOTED", 0.5)
    database = await made_in(folder)
    async with release_in(folder, "old") as app, app.worker(lease="3s"):
        await fires_by(database, "o")
        with Program("scheduled", folder, "new", "lease=3s") as newer:
            await fires_by(database, "n")
            await fires_by(database, "nn")
            newer.kill()
        await fires_by(database, "oo")

    runs = made(database)
    assert one_each(database)
    assert [run for run in runs if run.input == '"new"' and run.slot % 2] == []
    first, last = words(database).index("n"), words(database).rindex("n")
    assert words(database)[first : last + 1] == "n" * (last + 1 - first)
    assert {int(after.slot - before.slot) for before, after in zip(runs[first:last], runs[first + 1 : last + 1], strict=True)} == {2}


@on_a_loop
async def test_an_older_release_takes_over_also_while_the_last_worker_of_a_newer_one_still_stops(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "OUTVOTED", 0.5)
    database = await made_in(folder)
    async with release_in(folder, "old") as app, app.worker(grace="0s"):
        await fires_by(database, "o")
        with Program("scheduled", folder, "stays", "grace=1h") as newer:
            await newer.says_meanwhile("stays")
            newer.signal(signal.SIGTERM)
            await fires_by(database, "soo")
            assert newer.process.poll() is None

    assert one_each(database)


@on_a_loop
async def test_a_release_that_is_started_again_wins_again_and_one_without_the_schedule_ends_it(folder: Path) -> None:
    database = await made_in(folder)
    with Program("scheduled", folder, "old"), Program("scheduled", folder, "old"):
        await fires_by(database, "o")
        with Program("scheduled", folder, "new") as newer:
            await fires_by(database, "nn")
            with Program("scheduled", folder, "old"):
                await fires_by(database, "oo")
                newer.kill()
        async with release_in(folder, "without") as app, app.worker():
            (state,) = await app.schedules.list(ended=True)
            ended = len(made(database))
            with Program("scheduled", folder, "other") as other:
                await fires_more(database, 2, "other")
                other.kill()

        assert (state.declared, state.next_at) == (False, None)
        assert len(made(database)) == ended
        assert one_each(database)


@on_a_loop
async def test_a_worker_taken_for_dead_is_back_as_the_release_that_it_was_and_does_not_overrule_a_newer_one(folder: Path) -> None:
    database = await made_in(folder)
    with Program("scheduled", folder, "old", "lease=3s") as frozen:
        await until(lambda: any(run.status == "completed" for run in made(database)), every=0.05)
        frozen.freeze(database)
        with Program("scheduled", folder, "new", "lease=3s"):
            await fires_by(database, "nn")
            await until(lambda: not database.has_worker(frozen.process.pid), every=0.05)
            frozen.signal(signal.SIGCONT)
            await frozen.says_meanwhile("is registered again")
            await fires_by(database, "nnnn")

    assert words(database).lstrip("o").strip("n") == ""
    assert one_each(database)
