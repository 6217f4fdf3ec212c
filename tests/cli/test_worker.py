"""`stepwell worker`, in processes that are signalled and killed for real."""

import os
import signal
import sqlite3
import subprocess
from pathlib import Path

import pytest

from stepwell.cli.child import WorkerOptions
from stepwell.cli.command import Place
from tests.cli.harness import Call, Command
from tests.cli.test_runs import started

STEPS = """
import os, sys
from pathlib import Path
from stepwell import Step, workflow

@workflow
async def crash(step: Step) -> str:
    def once() -> str:
        if not Path("crashed").exists():
            Path("crashed").touch()
            os.kill(os.getpid(), 9)
        return "survived"
    return await step.run("once", once)

@workflow
def work(step: Step) -> str:
    def until_told() -> str:
        print("step begins", flush=True)
        with open("told") as told:
            return told.read()
    return step.run("until_told", until_told)

@workflow
async def hang(step: Step) -> None:
    import asyncio
    async def hang() -> None:
        print("step hangs", flush=True)
        await asyncio.Event().wait()
    await step.run("hang", hang)
"""


@pytest.fixture
def steps(here: Path) -> Path:
    """The current folder, with `steps.py` in it, and a pipe that the step of `work` reads from."""
    (here / "steps.py").write_text(STEPS)
    os.mkfifo(here / "told")
    return here


def status(call: Call, run_id: str) -> str:
    found: str = call("runs", "show", run_id, "--json").data["status"]
    return found


def test_a_worker_says_when_it_is_ready_and_when_it_has_stopped(shop: Path) -> None:
    with Command("worker", "flows.py", "--name", "till", "--database", "sqlite:///shop.db", cwd=shop) as worker:
        assert worker.says("ready") == "worker till is ready: fail, greet, wait_long (sqlite:///shop.db)"
        worker.signal(signal.SIGTERM)

        assert worker.ends() == 0
    assert worker.said[-1] == "the worker has stopped"


def test_the_lines_of_runs_are_logged_each_on_one_line(shop: Path, call: Call) -> None:
    run_id = started(call, "greet", "--input", '"Ann"')
    with Command("worker", "flows.py", cwd=shop) as worker:
        line = worker.says("greeting")

    assert line[8:] == f" INFO    greet {run_id[:18]} greeting who='Ann'"


def test_where_logs_go_is_left_to_the_code_of_the_user_if_it_says_so(shop: Path, call: Call) -> None:
    started(call, "greet", "--input", '"Ann"')
    with (shop / "flows.py").open("a") as file:
        file.write("\nimport logging\nlogging.basicConfig(level='INFO', format='mine: %(message)s')\n")

    with Command("worker", "flows.py", cwd=shop) as worker:
        worker.says("mine: greeting who='Ann'")


def test_the_first_signal_lets_the_step_in_progress_end(steps: Path, call: Call) -> None:
    run_id = started(call, "work")
    with Command("worker", "steps.py", cwd=steps) as worker:
        worker.says("step begins")
        worker.signal(signal.SIGINT)
        worker.says("stopping")
        (steps / "told").write_text("done")

        assert worker.ends() == 0
    shown = call("runs", "show", run_id, "--json").data
    assert shown["attempt"] == 1
    assert "✓ completed  until_told" in call("runs", "show", run_id).out


def test_the_second_signal_leaves_now(steps: Path, call: Call) -> None:
    run_id = started(call, "hang")
    with Command("worker", "steps.py", "--grace", "1h", cwd=steps) as worker:
        worker.says("step hangs")
        worker.signal(signal.SIGTERM)
        worker.says("stopping")
        worker.signal(signal.SIGTERM)

        assert worker.ends() == 0
    assert status(call, run_id) == "pending"


def test_a_worker_takes_only_the_runs_of_its_queues(shop: Path, call: Call) -> None:
    other = started(call, "greet", "--input", '"Ann"', "--queue", "other")
    with Command("worker", "flows.py", "--queue", "mail", "--queue", "default", cwd=shop) as worker:
        worker.says("is ready")

        assert call("start", "greet", "--input", '"Bob"', "--wait").out == '"Hello Bob"\n'
    assert status(call, other) == "pending"


@pytest.mark.parametrize("processes", [1, 3])
def test_code_that_cannot_be_imported_ends_it_with_one_line(here: Path, processes: int) -> None:
    (here / "flows.py").write_text("oops\n")
    with Command("worker", "flows.py", "--processes", str(processes), cwd=here) as worker:
        assert worker.ends() == 2

    assert set(worker.said) == {"error: flows.py cannot be imported: NameError: name 'oops' is not defined (flows.py, line 1: oops)"}


def test_a_file_of_the_name_of_stepwell_is_not_taken_for_it(shop: Path) -> None:
    (shop / "flows.py").rename(shop / "stepwell.py")
    command = WorkerOptions(
        target="stepwell.py",
        place=Place(),
        concurrency=1,
        queues=(),
        lease="30s",
        grace="30s",
        name=None,
        show_traceback=False,
    ).command_line("--import-only")

    assert subprocess.run(command, cwd=shop, capture_output=True, check=False).returncode == 0


# -- several processes


def test_several_processes_work_and_end_together(shop: Path, call: Call) -> None:
    with Command("worker", "flows.py", "--processes", "2", "--name", "till", cwd=shop) as worker:
        said = {worker.says("is ready") for _ in range(2)}

        assert {line.split()[1] for line in said} == {"till-1", "till-2"}
        assert {state["name"] for state in call("workers", "--json").data["workers"]} == {"till-1", "till-2"}
        assert call("start", "greet", "--input", '"Ann"', "--wait").out == '"Hello Ann"\n'
        worker.signal(signal.SIGTERM)
        assert worker.ends() == 0
    assert worker.said.count("the worker has stopped") == 2
    assert call("workers", "--json").data["workers"] == []


def test_a_process_that_dies_is_begun_again_and_its_run_goes_on(steps: Path, call: Call) -> None:
    run_id = started(call, "crash")
    with Command("worker", "steps.py", "--processes", "2", "--lease", "5s", cwd=steps) as worker:
        line = worker.says("ended by SIGKILL")
        assert line.endswith("it begins again in 1 s")
        worker.says("is ready")
        shown = call("runs", "show", run_id, "--follow", "--json").data

        worker.signal(signal.SIGINT)
        assert worker.ends() == 0
    assert (shown["status"], shown["output"]) == ("completed", "survived")


def test_signals_are_passed_on_and_the_second_one_leaves_now(steps: Path, call: Call) -> None:
    with Command("worker", "steps.py", "--processes", "2", "--grace", "1h", cwd=steps) as worker:
        worker.says("is ready")
        worker.says("is ready")
        run_id = started(call, "hang")
        worker.says("step hangs")
        worker.signal(signal.SIGINT)
        worker.says("stopping")
        worker.says("stopping")
        worker.signal(signal.SIGINT)

        assert worker.ends() == 0
    assert status(call, run_id) == "pending"


def test_workers_leave_when_the_process_that_looks_after_them_is_killed(shop: Path, call: Call) -> None:
    with Command("worker", "flows.py", "--processes", "2", cwd=shop) as worker:
        worker.says("is ready")
        worker.says("is ready")
        worker.signal(signal.SIGKILL)

        worker.says("has stopped")
        worker.says("has stopped")
    assert call("workers", "--json").data["workers"] == []


def test_a_drained_process_is_not_begun_again(shop: Path, call: Call) -> None:
    with Command("worker", "flows.py", "--processes", "2", "--name", "till", "--lease", "3s", cwd=shop) as worker:
        worker.says("is ready")
        worker.says("is ready")
        assert call("workers", "drain", "till-1").code == 0
        worker.says("has stopped")
        assert call("workers", "drain", "till-2").code == 0

        assert worker.ends() == 0


def test_a_database_of_a_newer_stepwell_is_told_in_one_line(shop: Path, call: Call) -> None:
    started(call, "greet", "--input", '"Ann"')
    _claim_a_newer_schema(shop / "stepwell.db")

    answer = call("runs", "list")

    assert answer.code == 1
    assert "upgrade Stepwell" in answer.err
    assert answer.err.count("\n") == 1


def _claim_a_newer_schema(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE stepwell_schema SET number = 999")
    connection.close()
