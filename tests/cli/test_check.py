"""`stepwell check`: whether code still fits the runs that are under way."""

import asyncio
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest

from stepwell import Stepwell
from stepwell.cli.command import Place
from stepwell.cli.target import load
from tests.cli.harness import Answer, Call
from tests.cli.test_runs import started

OLD = """
from stepwell import Step, workflow

def run(step_name: str) -> str:
    with open("executed", "a") as file:
        file.write(step_name)
    return step_name

@workflow
async def trip(city: str, step: Step) -> str:
    await step.run("book", run, city)
    await step.sleep("until it begins", "1 day")
    await step.run("greet", run, city)
    return "home"
"""


@pytest.fixture
def agency(here: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `flows.py`, and a trip that sleeps in the database."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # code of the same second and length would be taken for the old one
    write(here, OLD)
    started(call, "trip", "--input", '"Rome"')
    work()
    return here


def write(folder: Path, code: str) -> None:
    """Deploy this code."""
    (folder / "flows.py").write_text(code)
    sys.modules.pop("flows", None)


def work() -> None:
    async def until_idle(app: Stepwell) -> None:
        await app.worker(lease="5s").run_until_idle()

    asyncio.run(until_idle(load("flows.py", Place())))


def check(call: Call, *options: str) -> Answer:
    sys.modules.pop("flows", None)
    return call("check", "flows.py", *options)


def content(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "stepwell.db")) as connection:
        return list(connection.iterdump())


def test_code_that_fits_all_runs_is_good_and_nothing_is_run_or_written(agency: Path, call: Call) -> None:
    before = content(agency)
    write(agency, OLD.replace('return "home"', 'await step.run("thank", run, city)'))

    answer = check(call)

    assert answer == (0, "1 run under way, and the code fits\n", "")
    assert content(agency) == before
    assert (agency / "executed").read_text() == "Rome"


def test_a_run_that_the_code_no_longer_fits_is_named_with_what_is_wrong(agency: Path, call: Call) -> None:
    write(agency, OLD.replace('"book"', '"reserve"'))

    answer = check(call)

    assert answer.code == 1
    titles, row, summary = answer.out.splitlines()
    assert titles.split() == ["run", "workflow", "version", "status", "what"]
    assert "trip" in row
    assert row.endswith("step 'book' is recorded, and the code does not ask for it")
    assert summary == "1 of 1 run under way would not go on with this code"
    assert answer.err == ""


def test_the_answer_may_be_json(agency: Path, call: Call) -> None:
    write(agency, OLD.replace('"book"', '"reserve"'))

    answer = check(call, "--json")

    assert answer.code == 1
    assert (answer.data["ok"], answer.data["checked"]) == (False, 1)
    (run,) = answer.data["runs"]
    assert (run["workflow"], run["version"], run["status"], run["verdict"]) == ("trip", None, "sleeping", "does not fit")
    assert "Most likely a step was added, removed, renamed or moved" in run["explanation"]


def test_arguments_that_have_changed_are_shown_and_are_no_fault(agency: Path, call: Call) -> None:
    write(agency, OLD.replace('"book", run, city', '"book", run, "Roma"'))

    answer = check(call)

    assert answer.code == 0
    assert "called with other arguments, the results stay: step 'book'" in answer.out
    assert answer.err == ""


def test_a_version_that_is_no_longer_there_is_a_fault(agency: Path, call: Call) -> None:
    write(agency, OLD.replace("@workflow", '@workflow(version="2")'))

    answer = check(call)

    assert answer.code == 1
    assert "workflow 'trip' has no function without a version here; this worker has 2" in answer.out


def test_runs_of_workflows_that_the_code_does_not_know_are_another_programs(agency: Path, call: Call) -> None:
    write(agency, OLD.replace("def trip", "def other"))

    answer = check(call)

    assert answer == (0, "no run of these workflows is under way\n", "1 run of trip not checked: TARGET has no such workflow\n")
    assert check(call, "--json").data["runs"][0]["verdict"] == "no such workflow"


def test_an_input_that_the_code_no_longer_takes_is_a_fault(agency: Path, call: Call) -> None:
    write(agency, OLD.replace("city: str", "city: int"))

    answer = check(call)

    assert answer.code == 1
    assert "raises InvalidInput" in answer.out


def test_a_body_that_raises_where_it_went_on_before_is_a_fault(agency: Path, call: Call) -> None:
    write(agency, OLD.replace('    await step.run("book"', '    {}["typo"]\n    await step.run("book"'))

    answer = check(call)

    assert answer.code == 1
    assert "the code of trip raises KeyError: 'typo' before it has asked for 'book', which this run has recorded" in answer.out


def test_a_paused_run_is_checked_and_one_that_has_ended_or_not_begun_is_not(agency: Path, call: Call) -> None:
    (paused,) = (run["id"] for run in call("runs", "list", "--json").data["runs"])
    call("runs", "pause", paused)
    canceled, waiting = (started(call, "trip", "--input", '"Oslo"', "--delay", delay) for delay in ("1h", "2h"))
    call("runs", "cancel", canceled)
    write(agency, OLD.replace('"book"', '"reserve"'))

    answer = check(call, "--json").data

    assert [run["run"] for run in answer["runs"]] == [paused]
    assert waiting not in str(answer)
    assert answer["checked"] == 2


def test_a_database_that_is_not_there_is_not_made_by_checking(here: Path, call: Call) -> None:
    write(here, OLD)

    answer = check(call)

    assert answer.code == 1
    assert not (here / "stepwell.db").exists()


def test_a_target_that_cannot_be_imported_is_called_wrongly(agency: Path, call: Call) -> None:
    write(agency, "import nothing_like_that")

    answer = check(call)

    assert answer.code == 2
    assert "flows.py cannot be imported: ModuleNotFoundError" in answer.err


def test_an_input_that_is_no_longer_taken_is_found_before_the_first_step_is_recorded(here: Path, call: Call) -> None:
    write(here, OLD.replace('    await step.run("book", run, city)\n', ""))
    started(call, "trip", "--input", '"Rome"')
    work()
    write(here, OLD.replace("city: str", "city: list[int]"))

    answer = check(call)

    assert answer.code == 1
    assert "its input does not fit any more: " in answer.out


def test_a_run_of_a_name_that_nobody_has_ever_had_is_not_checked(agency: Path, call: Call) -> None:
    started(call, "elsewhere")

    answer = check(call)

    assert answer == (0, "1 run under way, and the code fits\n", "1 run of elsewhere not checked: TARGET has no such workflow\n")


def test_nothing_under_way_is_good(here: Path, call: Call) -> None:
    write(here, OLD)
    call("migrate")

    assert check(call) == (0, "no run of these workflows is under way\n", "")
