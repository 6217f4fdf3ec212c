"""How the command line says what it is, and that it was called wrongly."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.cli.harness import Call


def test_alone_it_says_which_commands_there_are(call: Call) -> None:
    alone, asked = call(), call("--help")

    assert alone.code == asked.code == 0
    for command in ("dev", "worker", "start", "runs", "schedules", "workers", "workflows", "queues", "migrate", "doctor"):
        assert command in alone.out
        assert command in asked.out


def test_it_says_its_version(call: Call) -> None:
    assert call("--version").out == f"stepwell {version('stepwell')}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["startt"], "No such command 'startt'. Did you mean 'start'"),
        (["runs", "showw"], "No such command 'showw'. Did you mean 'show'"),
        (["runs", "list", "--statos", "failed"], "No such option: --statos (Possible options: --status"),
        (["runs", "list", "--status", "failedd"], "there is no status 'failedd'; did you mean 'failed'?"),
        (["runs", "list", "--older-than", "7"], '--older-than needs a unit: give "7s" for seconds'),
        (["runs", "list", "--limit", "0"], "--limit"),
        (["start"], "Missing argument 'NAME'"),
        (["start", "greet", "--input", "{"], "--input is no JSON: Expecting property name"),
        (["start", "greet", "--input", "hello"], "a text is written with quotes around it"),
        (["start", "greet", "--input", "NaN"], "--input is no JSON: NaN is not in JSON"),
        (["start", "greet", "--input", "1", "--input-file", "x"], "give one of them"),
        (["start", "greet", "--input-file", "nowhere.json"], "--input-file nowhere.json cannot be read: No such file or directory"),
        (["start", "greet", "--delay", "soon"], "--delay is no duration: 'soon'"),
        (["worker", "nowhere.py"], "there is no file nowhere.py"),
        (["worker", "flows.py", "--lease", "30"], '--lease needs a unit: give "30s"'),
        (["dev", "flows.py", "--grace", "x"], "--grace is no duration"),
        (["dev"], "no Python file in"),
        (["runs", "cancel"], "give the ids of runs, or --all with filters"),
        (["runs", "cancel", "--status", "failed"], "filters may match many runs: add --all"),
        (["runs", "cancel", "0199", "--all"], "give ids of runs, or --all with filters; not both"),
        (["runs", "cancel", "--older-than", "7d"], "filters may match many runs: add --all"),
        (["runs", "delete", "--status", "failed"], "filters may match many runs: add --all"),
        (["runs", "delete", "0199", "--older-than", "7d"], "give ids of runs, or --all with filters; not both"),
        (["runs", "delete", "--older-than", "90"], '--older-than needs a unit: give "90s" for seconds'),
    ],
)
def test_a_wrong_call_is_told_in_one_line(here: Path, call: Call, arguments: list[str], said: str) -> None:
    answer = call("--database", "sqlite://", *arguments)

    assert answer.code == 2
    assert answer.out == ""
    assert said in answer.err
    assert answer.err.startswith("error: ")
    assert answer.err.count("\n") == 1


def test_what_the_app_refuses_is_told_in_one_line(here: Path, call: Call) -> None:
    answer = call("runs", "list", "--database", "mysql://ann:secret@db/shop")

    assert answer.code == 1
    assert answer.err.startswith("error: there is no database mysql://")
    assert answer.err.count("\n") == 1
    assert "secret" not in answer.err


def test_it_runs_as_a_module_too(here: Path) -> None:
    answer = subprocess.run([sys.executable, "-m", "stepwell", "--version"], capture_output=True, text=True, check=True)

    assert answer.stdout.startswith("stepwell ")


def test_whoever_reads_the_output_may_stop_reading(here: Path) -> None:
    pipe, end = os.pipe()
    os.close(pipe)

    answer = subprocess.run([sys.executable, "-m", "stepwell", "--help"], stdout=end, stderr=subprocess.PIPE, text=True, check=False)

    os.close(end)
    assert (answer.returncode, answer.stderr) == (1, "")


def test_what_an_output_cannot_show_is_no_reason_to_fail(shop: Path, call: Call) -> None:
    call("migrate")
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}

    answer = subprocess.run(
        [sys.executable, "-m", "stepwell", "start", "größe"], env=environment, capture_output=True, text=True, check=True
    )

    assert answer.stdout.startswith("started gr\\xf6\\xdfe ")


def test_help_draws_no_table_of_runs_and_watches_no_files(here: Path) -> None:
    code = "import sys, stepwell.cli; print(sorted({'rich.table', 'rich.console', 'watchfiles'} & sys.modules.keys()))"

    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert answer.stdout == "[]\n"


def test_a_cursor_that_is_none_is_told_in_one_line(shop: Path, call: Call) -> None:
    call("migrate")

    answer = call("runs", "list", "--cursor", "x")

    assert answer.code == 2
    assert answer.err.startswith("error: --cursor: ")
    assert answer.err.count("\n") == 1
