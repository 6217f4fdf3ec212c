"""`stepwell runs list`, `show` and `logs`."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.harness import Call, Command


def started(call: Call, name: str, *options: str) -> str:
    """The id of a new run."""
    run_id: str = call("start", name, "--json", *options).data["id"]
    return run_id


def test_list_prints_runs_and_where_the_next_page_begins(shop: Path, call: Call) -> None:
    ids = [started(call, "greet", "--input", f'"{number}"') for number in range(3)]

    first = call("runs", "list", "--limit", "2", "--json").data
    second = call("runs", "list", "--limit", "2", "--cursor", first["next_cursor"], "--json").data

    assert [run["id"] for run in first["runs"]] == [ids[2], ids[1]]
    assert [run["id"] for run in second["runs"]] == [ids[0]]
    assert second["next_cursor"] is None


def test_list_may_begin_with_the_oldest(shop: Path, call: Call) -> None:
    ids = [started(call, "greet", "--input", f'"{number}"') for number in range(3)]

    assert [run["id"] for run in call("runs", "list", "--order", "oldest", "--json").data["runs"]] == ids


def test_list_takes_filters(shop: Path, call: Call, work: Callable[[], None]) -> None:
    done = started(call, "greet", "--input", '"Ann"', "--tag", "a", "--tag", "b")
    failed = started(call, "fail", "--tag", "b", "--queue", "q")
    work()
    waiting = started(call, "other", "--version", "v1", "--input", '"needle"')

    def found(*filters: str) -> set[str]:
        return {run["id"] for run in call("runs", "list", "--json", *filters).data["runs"]}

    assert found("--status", "completed") == {done}
    assert found("--status", "COMPLETED", "--status", "failed") == {done, failed}
    assert found("--workflow", "fail") == {failed}
    assert found("--version", "v1") == {waiting}
    assert found("--version", "", "--tag", "b") == {done, failed}
    assert found("--tag", "a", "--tag", "b") == {done}
    assert found("--queue", "q") == {failed}
    assert found("--search", "NEEDLE") == {waiting}
    assert found("--older-than", "1h") == set()
    assert found("--older-than", "0s") == {done, failed, waiting}


def test_list_is_a_table_for_people(shop: Path, call: Call, work: Callable[[], None]) -> None:
    failed = started(call, "fail")
    work()
    waiting = started(call, "other")

    lines = call("runs", "list").out.splitlines()

    assert lines[0].split()[:4] == ["id", "workflow", "version", "status"]
    assert lines[1].startswith(waiting)
    assert "pending" in lines[1]
    assert "no worker has other" in lines[1]
    assert lines[2].startswith(failed)
    assert "no funds" in lines[2]


def test_list_says_when_a_workflow_is_not_known(shop: Path, call: Call, work: Callable[[], None]) -> None:
    started(call, "greet", "--input", '"Ann"')
    work()

    answer = call("runs", "list", "--workflow", "geet")

    assert (answer.code, answer.out) == (0, "")
    assert answer.err == "no run matches\nno worker has ever had a workflow 'geet'; did you mean 'greet'?\n"


def test_a_database_that_is_not_there_is_not_made_by_looking(here: Path, call: Call) -> None:
    answer = call("runs", "list")

    assert answer.code == 1
    assert answer.err.count("\n") == 1
    assert list(here.iterdir()) == []


def test_show_prints_the_run_its_steps_its_error_and_who_did_what(shop: Path, call: Call, work: Callable[[], None]) -> None:
    run_id = started(call, "fail")
    call("runs", "pause", run_id)
    call("runs", "resume", run_id)
    work()

    shown = call("runs", "show", run_id).out

    assert run_id in shown
    assert "✗ failed  charge  attempt 1" in shown
    assert "ValueError: no funds" in shown
    assert "Traceback (most recent call last)" in shown
    assert [line.split()[2] for line in shown.split("\nevents\n")[1].splitlines()] == ["start", "pause", "resume"]
    assert "cli:" in shown.split("\nevents\n")[1]


def test_show_tells_what_a_run_that_sleeps_waits_for(shop: Path, call: Call, work: Callable[[], None]) -> None:
    run_id = started(call, "wait_long")
    work()

    shown = call("runs", "show", run_id).out

    assert "sleeping" in shown
    assert "available  20" in shown  # when it wakes


def test_show_takes_the_beginning_of_an_id_if_only_one_run_has_it(shop: Path, call: Call) -> None:
    first, second = started(call, "greet", "--input", '"a"'), started(call, "other", "--input", '"b"')
    common = first[: next(place for place in range(36) if first[place] != second[place])]

    assert call("runs", "show", second[:-3], "--json").data["id"] == second
    assert call("runs", "show", second[:-3].upper(), "--json").data["id"] == second

    answer = call("runs", "show", common)
    assert answer.code == 1
    assert answer.err == f"error: '{common}' is the beginning of 2 runs: {second} (other), {first} (greet); give more of the id\n"


@pytest.mark.parametrize("run_id", ["ffff", "0199aaaa-0000-7000-8000-000000000000"])
def test_a_run_that_is_not_there_is_told_in_one_line(shop: Path, call: Call, run_id: str) -> None:
    started(call, "greet", "--input", '"Ann"')

    answer = call("runs", "show", run_id, "--json")

    assert (answer.code, answer.out) == (1, "")
    assert answer.err == f"error: there is no run {run_id}; it may have been deleted\n"


def test_followed_a_run_is_shown_until_it_ends(shop: Path, call: Call, work: Callable[[], None]) -> None:
    run_id = started(call, "greet", "--input", '"Ann"')
    with Command("runs", "show", run_id, "--follow", "--json", cwd=shop) as shown, Command("runs", "show", run_id, "-f", cwd=shop) as drawn:
        work()

        assert shown.ends() == 0
        assert drawn.ends() == 0
    assert '  "status": "completed",' in shown.said
    assert any("Hello Ann" in line for line in drawn.said)


def test_on_a_terminal_a_followed_run_is_drawn_anew_as_it_goes_on(shop: Path, call: Call, work: Callable[[], None]) -> None:
    run_id = started(call, "greet", "--input", '"Ann"')
    with Command("runs", "show", run_id, "--follow", cwd=shop, columns=80) as shown:
        shown.says("no worker has greet")
        work()

        assert shown.ends() == 0
    assert any("✓ completed" in line for line in shown.said)


def test_a_narrow_terminal_shows_what_matters_most(shop: Path, call: Call) -> None:
    started(call, "greet", "--input", '"Ann"')
    with Command("runs", "list", cwd=shop, columns=40) as listed:
        listed.says("pending")

        assert listed.ends() == 0
    assert max(map(len, map(without_colours, listed.said))) <= 40


def without_colours(line: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line)


def test_logs_are_printed_in_their_order(shop: Path, call: Call, work: Callable[[], None]) -> None:
    run_id = started(call, "greet", "--input", '"Ann"')
    nothing = call("runs", "logs", run_id)
    work()

    assert (nothing.code, nothing.out, nothing.err) == (0, "", f"run {run_id} has logged nothing\n")
    assert call("runs", "logs", run_id).out.endswith("INFO     greeting who='Ann'\n")
    line = call("runs", "logs", run_id, "--json").data["logs"][0]
    assert (line["level"], line["message"], line["fields"], line["step"]) == ("info", "greeting", {"who": "Ann"}, None)


def test_followed_logs_are_printed_once_until_the_run_ends(shop: Path, call: Call, work: Callable[[], None]) -> None:
    run_id = started(call, "greet", "--input", '"Ann"')
    with Command("runs", "logs", run_id, "--follow", cwd=shop) as logs:
        work()

        assert logs.ends() == 0
    assert sum("greeting" in line for line in logs.said) == 1
