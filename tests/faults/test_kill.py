"""Workers that are killed for real, at any moment of a run's life: nothing recorded is done again, and the result is that of other runs."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from stepwell import RunFailed, RunStatus, Stepwell
from tests.faults.beginnings import STATEMENTS
from tests.faults.databases import database_of, on_sqlite
from tests.faults.flows import bystander, effects, poison, three, times
from tests.faults.processes import LIVES, Program, until
from tests.loops import on_a_loop

BEFORE_A_RUN = 15
"""Commits of a worker on a server until it has begun a run, or not quite."""


def told(*arguments: object) -> list[dict[str, Any]]:
    """What the program of lives tells of each run; the last one is undisturbed."""
    with Program("lives", *arguments) as program:
        assert program.ends(LIVES) == 0, program.errors
    return [json.loads(line) for line in program.said]


def check(report: dict[str, Any], undisturbed: dict[str, Any]) -> None:
    """What must hold wherever its workers were killed."""
    left, end, expected = report["left"], report["end"], undisturbed["end"]
    assert report["result"] == undisturbed["result"]
    assert set(end["recorded"]) == set(expected["recorded"])
    assert {key: end["recorded"][key] for key in left["recorded"]} == left["recorded"]
    assert set(end["times"]) == set(expected["times"])
    again = {key: end["times"][key] - left["times"].get(key, 0) for key in end["times"]}
    assert {key for key in again if key in left["recorded"] and again[key]} == set()
    more = {key: end["times"][key] - expected["times"][key] for key in end["times"]}
    # Each killed worker has lost at most the attempts that were not recorded yet: one, or both of the step that fails once.
    most = {key: (report["lives"] - 1) * attempts for key, attempts in expected["times"].items()}
    assert {key: extra for key, extra in more.items() if not 0 <= extra <= most[key]} == {}


@pytest.mark.parametrize("side", ["before", "after"])
def test_a_worker_killed_at_any_commit_leaves_a_run_that_goes_on_from_what_is_recorded(folder: Path, side: str) -> None:
    # The first ones are the same whatever the run is: the next test has all of them.
    first = BEFORE_A_RUN if database_of(folder).is_postgres else 1

    *killed, undisturbed = told(folder, "life", json.dumps([f"branch {number}" for number in range(50)]), side, first)

    assert len(killed) >= 10
    assert {report["lives"] for report in killed} == {2}
    for report in killed:
        check(report, undisturbed)
    # Some came to its last steps. What is on its way at once may be one commit or two, so no one commit is always the last.
    assert max(len(report["left"]["recorded"]) for report in killed) >= len(undisturbed["end"]["recorded"]) - 2
    if side == "before":  # its effect was there, and its record was not
        assert any(set(report["left"]["times"]) - set(report["left"]["recorded"]) for report in killed)


@pytest.mark.parametrize("side", ["before", "after"])
def test_a_def_body_killed_at_any_commit_goes_on_likewise(folder: Path, side: str) -> None:
    *killed, undisturbed = told(folder, "plain_body", '"a"', side)

    assert len(killed) >= 4
    for report in killed:
        check(report, undisturbed)


@on_sqlite
@pytest.mark.parametrize("side", ["before", "after"])
def test_a_worker_killed_at_any_commit_has_written_each_transaction_with_its_record_and_once(folder: Path, side: str) -> None:
    *killed, undisturbed = told(folder, "books", '["a", "b", "c"]', side)

    assert len(killed) >= 4
    for report in [*killed, undisturbed]:
        for there in (report["left"], report["end"]):
            assert there["booked"] == sorted(key for key in there["recorded"] if "book " in key)
    for report in killed:
        check(report, undisturbed)
    assert len(undisturbed["end"]["booked"]) == 5


def test_a_run_whose_workers_are_all_killed_soon_after_they_have_begun_it_comes_to_its_end(folder: Path) -> None:
    # On a server, what a worker does before it begins a run is a score of transactions.
    first = 25 if database_of(folder).is_postgres else 6

    *killed, undisturbed = told(folder, "life", '["a", "b"]', "each", first)

    assert max(report["lives"] for report in killed) >= 3
    for report in killed:
        check(report, undisturbed)


@on_a_loop
async def test_a_step_killed_after_its_effect_runs_once_more_with_the_same_key(folder: Path, app: Stepwell) -> None:
    async with app:
        handle = await app.start(three, "two")
        with Program("worker", folder) as worker:
            worker.says("two holds")
            worker.kill()
        database_of(folder).bury()
        assert [step.key for step in await handle.steps()] == ["one"]
        async with app.worker():
            assert await handle.result() == ["ONE", "TWO", "THREE"]

        assert effects(folder) == [f"{handle.run_id}:{key}" for key in ("one", "two", "two", "three")]
        assert [(step.key, step.attempt, step.status) for step in await handle.steps()] == [
            ("one", 1, "completed"), ("two", 1, "completed"), ("three", 1, "completed"),
        ]  # fmt: skip
        assert (await handle.get()).attempt == 1


@on_a_loop
async def test_a_run_that_kills_its_process_five_times_fails_and_those_beside_it_do_not(folder: Path, app: Stepwell) -> None:
    async with app:
        bad = await app.start(poison)
        others = await app.start_many(bystander, list(range(20)))
        deaths = 0
        while await app.runs.count() != {RunStatus.FAILED: 1, RunStatus.COMPLETED: 20}:
            with Program("worker", folder, "lease=1s") as worker:
                await until(partial(ended_or_dead, app, worker))
                deaths += worker.process.poll() is not None
            if worker.process.returncode:
                database_of(folder).bury()

        with pytest.raises(RunFailed, match="took its worker down 5 times in a row") as failure:
            await bad.result()
        assert failure.value.error.type == "WorkerCrashed"
        assert [await other.result() for other in others] == list(range(20))
        assert (deaths, times(folder)["poison"]) == (5, 5)


async def ended_or_dead(app: Stepwell, worker: Program) -> bool:
    counts = await app.runs.count()
    return worker.process.poll() is not None or all(status.ended for status in counts)


def test_a_process_killed_while_it_makes_tables_or_starts_a_run_leaves_all_of_it_or_nothing(folder: Path) -> None:
    with Program("beginnings", folder) as program:
        assert program.ends(LIVES) == 0, program.errors

    made = [f"{statements} made 2 1" for statements in STATEMENTS]
    assert program.said == [*made, "before made 2 1", "after found 2 1"]
