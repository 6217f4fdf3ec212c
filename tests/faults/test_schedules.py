"""Schedules on workers that are killed, frozen and replaced: each slot makes one run, or a record that says why not."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from stepwell import RunFailed, RunStatus, Schedule
from stepwell.core.options import CatchUp
from stepwell.core.slots import LATE
from stepwell.engine import cleaner, inputs
from tests.faults.databases import Database, database_of
from tests.faults.processes import LIVES, WITHIN, Program, until
from tests.faults.scheduled import EVERY_SECOND, each_second, job, made, of_slot, release_in, slots_made, without_gap
from tests.loops import on_a_loop

IS_LONG: Final = bool(os.environ.get("STEPWELL_TEST_LONG"))
"""Slots come for as long as people look: `make troubles`."""


async def made_in(folder: Path) -> Database:
    """The database of the folder, with its tables."""
    async with release_in(folder, "without"):
        return database_of(folder)


async def fires_more(database: Database, number: int, name: str = "it") -> None:
    """Wait for so many more slots than there are runs of now."""
    enough = len(slots_made(database, name)) + number
    await until(lambda: len(slots_made(database, name)) >= enough, every=0.05)


# -- many workers


@on_a_loop
async def test_ten_workers_that_are_killed_and_replaced_make_one_run_of_each_second(folder: Path) -> None:
    database, names = await made_in(folder), ("value", "def", "async")
    with Program("fleet", folder, "three", 10) as fleet:
        for name in names:
            await fires_more(database, 1, name)
        for _ in range(60 if IS_LONG else 7):
            fleet.tell("replace")
            await fires_more(database, 1, "def")
        fleet.tell("end")
        await fleet.says_meanwhile("have all stopped")

    for name in names:
        runs = made(database, name)
        assert without_gap([run.slot for run in runs])
        assert len(runs) >= (59 if IS_LONG else 6)
        assert [run for run in runs if not 0.0 <= run.created_at - run.slot < LATE] == []
        assert {run.input for run in runs} == ({'"value"'} if name == "value" else {str(run.slot) for run in runs})
        assert records(database, name) == [(run.slot, run.slot, 1, "started", None, run.id) for run in runs]
    database.bury()
    async with release_in(folder, "without") as app:
        await app.worker().run_until_idle()
        assert set(await app.runs.count()) == {RunStatus.COMPLETED}


def records(database: Database, name: str = "it") -> list[tuple[Any, ...]]:
    """What became of its slots, in order."""
    columns = "slot, until, count, outcome, reason, run"
    return database.execute(f"SELECT {columns} FROM {database.table('slots')} WHERE name = '{name}' ORDER BY slot, id")


@on_a_loop
async def test_a_slot_whose_worker_is_killed_while_it_computes_the_input_is_fired_by_another(folder: Path) -> None:
    database = await made_in(folder)
    with Program("scheduled", folder, "holds") as worker:
        slot = float((await worker.says_meanwhile("computes")).split()[-1])
        worker.kill()
    assert made(database) == []
    with Program("scheduled", folder, "holds"):
        await fires_more(database, 2)

    assert slots_made(database)[0] == slot
    assert without_gap(slots_made(database))


@pytest.mark.parametrize("side", ["before", "after"])
def test_a_worker_killed_at_any_commit_while_a_slot_is_due_leaves_one_run_of_it_or_none_and_another_makes_it_one(
    folder: Path, side: str
) -> None:
    with Program("firings", folder, side) as program:
        assert program.ends(LIVES) == 0, program.errors
    *killed, undisturbed = [json.loads(line) for line in program.said]

    assert {report["left"] for report in killed} == {0, 1}
    for report in (*killed, undisturbed):
        assert (report["made"], report["records"]) == ([report["slot"]], [[report["slot"], "started"]])


@on_a_loop
async def test_when_one_of_several_workers_of_a_release_leaves_the_others_fire_without_a_gap(folder: Path) -> None:
    database = await made_in(folder)
    with Program("scheduled", folder, "old") as last, Program("scheduled", folder, "old") as other:
        await fires_more(database, 2)
        other.signal(signal.SIGTERM)
        assert other.ends() == 0, other.errors
        await fires_more(database, 2)
        last.kill()

    assert without_gap(slots_made(database))


@pytest.mark.parametrize("release", ["old", "all"] if IS_LONG else ["old"])
@on_a_loop
async def test_when_all_workers_were_frozen_no_slot_is_fired_twice_and_each_is_accounted_for(folder: Path, release: str) -> None:
    database = await made_in(folder)
    with Program("scheduled", folder, release) as one, Program("scheduled", folder, release) as other:
        await fires_more(database, 1)
        for worker in (one, other):
            worker.signal(signal.SIGSTOP)
        threading.Event().wait(15.0 if IS_LONG else 2.0)
        for worker in (one, other):
            worker.signal(signal.SIGCONT)
        await fires_more(database, 3)
        for worker in (one, other):
            worker.kill()

    slots, missed = slots_made(database), [slot for slot in records(database) if slot[3] == "missed"]
    if release == "all" or not IS_LONG:
        assert without_gap(slots)
        assert missed == []
    else:
        ((first, until_, count, _, reason, _),) = missed
        assert without_gap(sorted([*slots, *(first + second for second in range(count))]))
        assert until_ == first + count - 1
        assert "latest" in reason


# -- after a time without workers


def hourly(catch_up: CatchUp) -> tuple[float, Any]:
    """When it came last, and a schedule that comes each hour, and not soon."""
    last = datetime.now(UTC).timestamp() // 60 * 60 - 30 * 60
    return last, job(Schedule("it", f"{int(last // 60 % 60)} * * * *", input=1, catch_up=catch_up))


async def until_idle(folder: Path, *released: Any, **options: Any) -> None:
    """A life of a worker of this release, until nothing is due any more."""
    async with release_in(folder, *released, **options) as app:
        await app.worker().run_until_idle()


@pytest.mark.parametrize(
    ("catch_up", "fired", "missed"),
    [("latest", 1, 4), ("all", 5, 0), ("none", 0, 5)],
)
@on_a_loop
async def test_what_was_missed_while_no_worker_ran_is_made_up_for_as_catch_up_says(
    folder: Path, catch_up: CatchUp, fired: int, missed: int
) -> None:
    database = await made_in(folder)
    last, release = hourly(catch_up)
    await until_idle(folder, release)
    database.execute(f"UPDATE {database.table('schedules')} SET next_at = {last - 4 * 3600}")

    for _ in range(2):
        await until_idle(folder, release)

    slots = [last - hours * 3600 for hours in (4, 3, 2, 1, 0)]
    assert slots_made(database) == slots[5 - fired :]
    left = [
        (slot, until, count) for slot, until, count, outcome, reason, _ in records(database) if outcome == "missed" and catch_up in reason
    ]
    assert left == ([(slots[0], slots[missed - 1], missed)] if missed else [])
    assert [slot for slot, _, _, outcome, *_ in records(database) if outcome == "started"] == slots[5 - fired :]
    assert database.execute(f"SELECT next_at FROM {database.table('schedules')}") == [(last + 3600,)]


@on_a_loop
async def test_runs_that_retention_deletes_are_not_made_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleaner, "EVERY", 0.1)
    database = await made_in(folder)
    release = each_second(1, catch_up="all")
    async with release_in(folder, release, retention="1ms") as app, app.worker():
        await until(lambda: len(started(database)) >= 3, every=0.05)
        await until(lambda: made(database) == [], every=0.05)
    await until_idle(folder, release)

    assert without_gap(started(database))


def started(database: Database) -> list[float]:
    """The slots that have made runs, of which some may be deleted."""
    return [slot for slot, _, _, outcome, *_ in records(database) if outcome == "started"]


# -- inputs


def hangs() -> None:
    threading.Event().wait()


async def is_deaf() -> None:
    """Takes no notice of its first cancellation."""
    for _ in range(2):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue


@pytest.mark.parametrize("function", [hangs, is_deaf])
@on_a_loop
async def test_a_function_that_hangs_fails_its_own_runs_and_delays_no_other_schedule(
    folder: Path, function: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "LONGEST", 3.0)
    database = await made_in(folder)
    both = job(Schedule("hangs", EVERY_SECOND, input=function), Schedule("it", EVERY_SECOND, input=of_slot))
    async with release_in(folder, both) as app, app.worker():
        await until(lambda: len(made(database, "hangs")) >= 1, every=0.05)
        await until(lambda: len(made(database)) >= 3, every=0.05)

    failed = made(database, "hangs")[0]
    async with release_in(folder, "without") as app:
        run = await app.runs.get(failed.id)
    assert (run.status, str(run.error)) == (RunStatus.FAILED, "TimeoutError: the input function of schedule 'hangs' took longer than 3 s")
    assert records(database, "hangs")[0][3:5] == ("failed", f"its input could not be computed: {run.error}")
    assert without_gap(slots_made(database))
    assert [run.created_at < failed.created_at for run in made(database) if run.slot == failed.slot] == [True]


def exits() -> None:
    raise SystemExit(3)


async def exits_later() -> None:
    raise SystemExit(3)


async def is_canceled() -> None:
    raise asyncio.CancelledError


def cannot_be_told() -> None:
    raise ValueError("a\0b\ud800")


def nothing_json_has() -> str:
    return "\ud800"


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (exits, "SystemExit: 3"),
        (exits_later, "SystemExit: 3"),
        (is_canceled, "DefinitionError: the input function of schedule 'it' was canceled"),
        (cannot_be_told, "ValueError: a"),
        (nothing_json_has, "NotSerializable: "),
    ],
)
@on_a_loop
async def test_whatever_a_function_raises_the_run_of_its_slot_fails_and_the_worker_goes_on(
    folder: Path, function: Callable[[], Any], error: str
) -> None:
    """Also the run of a trigger, and one that is retried, whose inputs are computed when they begin."""
    database = await made_in(folder)
    async with release_in(folder, job(Schedule("it", EVERY_SECOND, input=function))) as app, app.worker():
        await until(lambda: len(made(database)) >= 1, every=0.05)
        triggered = await app.schedules.trigger("job", "it")
        again = await app.runs.retry(made(database)[0].id)
        for run_id in (triggered.run_id, again.id):
            with pytest.raises(RunFailed, match=error):
                await app.handle(run_id).result(WITHIN)
        await fires_more(database, 1)

    assert {run.status for run in made(database)} == {"failed"}
    assert {outcome for _, _, _, outcome, *_ in records(database)} == {"failed", "triggered"}
    assert [reason for _, _, _, outcome, reason, _ in records(database) if outcome == "failed" and error not in reason] == []


@on_a_loop
async def test_a_function_may_return_what_databases_do_not_keep_in_texts(folder: Path) -> None:
    database = await made_in(folder)
    async with release_in(folder, job(Schedule("it", EVERY_SECOND, input=lambda: "a\0b"))) as app, app.worker():
        triggered = await app.schedules.trigger("job", "it")
        await until(lambda: any(run.status == "completed" and run.id != triggered.run_id for run in made(database)), every=0.05)
        assert await triggered.result() == "a\0b"
