"""`stepwell start`: begins a run by its workflow's name."""

import re
import signal
from collections.abc import Callable
from pathlib import Path

from tests.cli.harness import Call, Command


def test_a_run_is_started_and_done_by_a_worker(shop: Path, call: Call, work: Callable[[], None]) -> None:
    started = call("start", "greet", "--input", '"Ann"')
    work()
    shown = call("runs", "show", started.out.split()[-1], "--json").data

    assert started.code == 0
    assert (shown["status"], shown["input"], shown["output"], shown["version"]) == ("completed", "Ann", "Hello Ann", None)


def test_json_prints_the_run_by_the_names_of_the_fields(shop: Path, call: Call) -> None:
    run = call(
        "start", "greet", "--input", '"Ann"', "--tag", "a", "--tag", "b", "--priority", "7", "--queue", "q", "--key", "k", "--json"
    ).data

    assert list(run) == [
        "id", "workflow", "version", "status", "input", "output", "error", "attempt", "key", "queue", "priority", "tags", "parent_id",
        "forked_from", "schedule", "scheduled_at", "waiting_for", "progress", "created_at", "available_at", "deadline_at", "started_at",
        "finished_at", "worker",
    ]  # fmt: skip
    assert run["status"] == "pending"
    assert (run["tags"], run["priority"], run["queue"], run["key"]) == (["a", "b"], 7, "q", "k")
    assert run["created_at"].endswith("Z")


def test_who_has_started_a_run_is_kept_with_it(shop: Path, call: Call) -> None:
    run = call("start", "greet", "--input", '"Ann"', "--json").data

    assert re.search(r"start +cli:\w+", call("runs", "show", run["id"]).out)


def test_delay_and_timeout_are_durations(shop: Path, call: Call) -> None:
    run = call("start", "greet", "--input", '"Ann"', "--delay", "1h", "--timeout", "30m", "--json").data

    assert run["created_at"][:13] < run["available_at"][:13]
    assert run["deadline_at"] > run["available_at"]


def test_a_second_start_with_a_key_gives_the_first_run(shop: Path, call: Call) -> None:
    first = call("start", "greet", "--input", '"Ann"', "--key", "k", "--json").data
    second = call("start", "greet", "--input", '"Bob"', "--key", "k")

    assert second.code == 0
    assert second.out == f"there is a run of greet with this key: {first['id']}\n"


def test_the_input_may_come_from_a_file(shop: Path, call: Call) -> None:
    (shop / "input.json").write_text('{"name": "Änn"}')

    assert call("start", "greet", "--input-file", "input.json", "--json").data["input"] == {"name": "Änn"}


def test_a_version_may_be_asked_for(shop: Path, call: Call) -> None:
    assert call("start", "greet", "--version", "v2", "--input", "1", "--json").data["version"] == "v2"


def test_a_name_that_nobody_has_is_started_and_the_near_one_named(shop: Path, call: Call, work: Callable[[], None]) -> None:
    call("start", "greet", "--input", '"Ann"')
    work()

    answer = call("start", "greeet", "--input", '"Ann"')

    assert answer.code == 0
    assert answer.out.startswith("started greeet ")
    assert "no worker has ever had a workflow 'greeet'; did you mean 'greet'?; the run waits until one has" in answer.err


def test_an_input_that_is_nested_without_end_is_refused_in_words(here: Path, call: Call) -> None:
    (here / "deep.json").write_text("[" * 200_000)

    answer = call("start", "greet", "--input-file", "deep.json")

    assert answer.code == 2
    assert "nested more deeply" in answer.err


def test_an_input_that_cannot_be_read_starts_nothing_and_makes_no_database(here: Path, call: Call) -> None:
    assert call("start", "greet", "--input", "{").code == 2
    assert list(here.iterdir()) == []


def test_wait_prints_the_output_alone(shop: Path, call: Call) -> None:
    with Command("worker", "flows.py", cwd=shop) as worker:
        worker.says("is ready")

        answer = call("start", "greet", "--input", '"Ann"', "--wait")

    assert (answer.code, answer.out) == (0, '"Hello Ann"\n')


def test_on_a_terminal_wait_shows_how_the_run_stands(shop: Path, call: Call, work: Callable[[], None]) -> None:
    with Command("start", "greet", "--input", '"Ann"', "--wait", cwd=shop, columns=120) as waiting:
        waiting.says("pending")
        work()

        assert waiting.ends() == 0
    assert waiting.said[-1].endswith('"Hello Ann"')


def test_wait_fails_with_the_run(shop: Path, call: Call) -> None:
    with Command("worker", "flows.py", cwd=shop) as worker:
        worker.says("is ready")

        plain, as_json = call("start", "fail", "--wait"), call("start", "fail", "--wait", "--json")

    assert (plain.code, plain.out) == (1, "")
    assert plain.err.count("\n") == 1
    assert 'of fail failed: StepFailed: step "charge" failed after 1 attempt: ValueError: no funds' in plain.err
    assert as_json.code == 1
    assert as_json.data["status"] == "failed"


def test_wait_fails_when_the_run_is_canceled(shop: Path, call: Call) -> None:
    with Command("start", "greet", "--input", '"Ann"', "--key", "k", "--wait", cwd=shop) as waiting:
        waiting.says("no worker has ever had a workflow 'greet'")  # it is stored
        run = call("runs", "list", "--json").data["runs"][0]
        assert call("runs", "cancel", run["id"]).code == 0

        assert waiting.ends() == 1
    assert waiting.said[-1] == f"error: run {run['id']} of greet was canceled"


def test_interrupted_waiting_leaves_the_run_as_it_is(shop: Path, call: Call) -> None:
    with Command("start", "greet", "--input", '"Ann"', "--wait", cwd=shop) as waiting:
        waiting.says("no worker has ever had a workflow 'greet'")
        waiting.signal(signal.SIGINT)

        assert waiting.ends() == 130
    run = call("runs", "list", "--json").data["runs"][0]
    assert run["status"] == "pending"
    assert waiting.said[-1] == f"run {run['id']} goes on; see it: stepwell runs show {run['id']}"
