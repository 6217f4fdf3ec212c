"""`stepwell runs delete`."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepwell import Stepwell
from stepwell.testing import MovedClock
from tests.cli.harness import Call, Command
from tests.cli.test_runs import started

LONG_AGO = 1_700_000_000.0


@pytest.fixture
def old(shop: Path) -> tuple[str, str]:
    """Two runs of long ago. The first has ended then; the second waits."""

    async def start() -> tuple[str, str]:
        async with Stepwell("sqlite:///stepwell.db", clock=MovedClock(start=LONG_AGO)) as app:
            first, second = await app.start_many("greet", ["a", "b"])
            await first.cancel()
            return first.run_id, second.run_id

    return asyncio.run(start())


def there(call: Call) -> set[str]:
    return {run["id"] for run in call("runs", "list", "--json").data["runs"]}


def test_the_age_of_what_is_deleted_counts_from_the_end_of_a_run(old: tuple[str, str], call: Call) -> None:
    call("runs", "cancel", old[1])

    answer = call("runs", "delete", "--older-than", "90d", "--yes")

    assert (answer.code, answer.out, answer.err) == (0, "deleted 1 run\n", "")
    assert there(call) == {old[1]}


def test_runs_that_have_not_ended_are_not_deleted_however_old_they_are(old: tuple[str, str], call: Call) -> None:
    assert call("runs", "delete", "--older-than", "0s", "--yes").out == "deleted 1 run\n"
    assert there(call) == {old[1]}


def test_all_that_would_be_deleted_is_counted_before_it_is(old: tuple[str, str], call: Call, work: Callable[[], None]) -> None:
    failed = started(call, "fail")
    work()

    asked = call("runs", "delete", "--older-than", "0s")
    narrow = call("runs", "delete", "--all", "--older-than", "0s", "--status", "failed")

    assert (asked.code, asked.out) == (2, "")
    assert asked.err == "error: this would delete 3 runs (1 completed, 1 failed, 1 canceled); add --yes to do it\n"
    assert narrow.err == "error: this would delete 1 run (1 failed); add --yes to do it\n"
    assert there(call) == {*old, failed}


@pytest.mark.parametrize("age", ["36500d", "999999d"])
def test_where_nothing_is_so_old_nothing_is_asked(old: tuple[str, str], call: Call, age: str) -> None:
    answer = call("runs", "delete", "--older-than", age)

    assert (answer.code, answer.out, answer.err) == (0, "", "no run matches that could be deleted\n")


def test_a_status_in_which_no_run_has_ended_matches_nothing(old: tuple[str, str], call: Call) -> None:
    assert call("runs", "delete", "--all", "--status", "pending", "--yes").err == "no run matches that could be deleted\n"


def test_programs_are_told_how_many_were_deleted(old: tuple[str, str], call: Call) -> None:
    def deleted(*options: str) -> Any:
        return call("runs", "delete", "--json", *options).data

    assert deleted("--older-than", "90d", "--yes") == {"deleted": 1}
    assert deleted("--older-than", "90d", "--yes") == {"deleted": 0}
    call("runs", "cancel", old[1])
    assert deleted(old[1]) == {"deleted": 1}


def test_programs_are_told_too_when_a_run_has_not_ended(old: tuple[str, str], call: Call) -> None:
    answer = call("runs", "delete", *old, "--json")

    assert (answer.code, answer.data) == (1, {"deleted": 1})
    assert answer.err == f"error: run {old[1]} is pending; it cannot delete from there\n"


def test_a_terminal_shows_how_far_it_has_come(shop: Path) -> None:
    async def end_many() -> None:
        async with Stepwell("sqlite:///stepwell.db") as app:
            await app.start_many("greet", ["Ann"] * 1_200)
            await app.runs.cancel_all(everything=True)

    asyncio.run(end_many())

    with Command("runs", "delete", "--older-than", "0s", cwd=shop, columns=80) as command:
        command.types("y")
        command.says("This will delete 1,200 runs (1,200 canceled). Go on?")
        for deleted in ("500", "1,000", "1,200"):
            command.says(f"deleted {deleted} of 1,200 runs")
        assert command.ends() == 0
    assert command.said[-1].endswith("deleted 1,200 runs")
