"""`stepwell runs pause`, `resume`, `cancel`, `retry`, `delete` and `fork`."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.harness import Call, Command
from tests.cli.test_runs import started


def status(call: Call, run_id: str) -> str:
    found: str = call("runs", "show", run_id, "--json").data["status"]
    return found


def test_a_run_is_paused_resumed_canceled_retried_and_deleted(shop: Path, call: Call) -> None:
    run_id = started(call, "greet", "--input", '"Ann"')

    assert call("runs", "pause", run_id).out == f"paused {run_id} greet\n"
    assert status(call, run_id) == "paused"
    assert call("runs", "resume", run_id).out == f"resumed {run_id} greet\n"
    assert status(call, run_id) == "pending"
    assert call("runs", "cancel", run_id).out == f"canceled {run_id} greet\n"
    assert status(call, run_id) == "canceled"
    assert call("runs", "retry", run_id).out == f"retried {run_id} greet\n"
    assert status(call, run_id) == "pending"
    call("runs", "cancel", run_id)
    assert call("runs", "delete", run_id).out == f"deleted {run_id} greet\n"
    assert call("runs", "show", run_id).code == 1


def test_what_changes_nothing_is_said(shop: Path, call: Call) -> None:
    run_id = started(call, "greet", "--input", '"Ann"')

    answer = call("runs", "resume", run_id)

    assert (answer.code, answer.out) == (0, f"unchanged {run_id} greet: it is pending\n")


def test_several_runs_are_acted_on_and_one_that_refuses_does_not_stop_the_others(shop: Path, call: Call) -> None:
    first, second, third = (started(call, "greet", "--input", f'"{number}"') for number in range(3))
    call("runs", "cancel", second)

    answer = call("runs", "delete", second, first, third)
    call("runs", "cancel", first, third)
    both = call("runs", "delete", first, third)

    assert answer.code == 1
    assert f"deleted {second} greet" in answer.out
    assert answer.err == (
        f"error: run {first} is pending; it cannot delete from there\nerror: run {third} is pending; it cannot delete from there\n"
    )
    assert both.code == 0
    assert both.out.endswith("deleted 2 runs\n")


def test_a_run_that_is_named_twice_is_acted_on_once(shop: Path, call: Call) -> None:
    run_id = started(call, "greet", "--input", '"Ann"')
    call("runs", "cancel", run_id)

    answer = call("runs", "delete", run_id, run_id[:-1])

    assert (answer.code, answer.out) == (0, f"deleted {run_id} greet\n")


@pytest.mark.parametrize("prefix", ["%", "_", "*", "?"])
def test_signs_that_mean_something_to_a_database_are_no_beginning_of_an_id(shop: Path, call: Call, prefix: str) -> None:
    started(call, "greet", "--input", '"Ann"')

    assert call("runs", "cancel", prefix).err == f"error: there is no run {prefix}; it may have been deleted\n"


def test_nothing_is_done_when_one_of_several_ids_is_none(shop: Path, call: Call) -> None:
    run_id = started(call, "greet", "--input", '"Ann"')

    assert call("runs", "cancel", run_id, "ffff").code == 1
    assert status(call, run_id) == "pending"


def test_all_that_match_are_counted_before_they_are_touched(shop: Path, call: Call, work: Callable[[], None]) -> None:
    done = started(call, "greet", "--input", '"done"', "--tag", "t")
    work()
    ids = [started(call, "greet", "--input", f'"{number}"', "--tag", "t") for number in range(3)]
    other = started(call, "greet", "--input", '"other"')

    asked = call("runs", "cancel", "--all", "--tag", "t")

    assert asked.code == 2
    assert asked.err == "error: this would cancel 3 runs (3 pending); add --yes to do it\n"
    assert {status(call, run_id) for run_id in ids} == {"pending"}

    done_now = call("runs", "cancel", "--all", "--tag", "t", "--yes")

    assert (done_now.code, done_now.out) == (0, "canceled 3 runs\n")
    assert {status(call, run_id) for run_id in ids} == {"canceled"}
    assert (status(call, done), status(call, other)) == ("completed", "pending")


def test_all_without_a_filter_means_every_run_that_it_changes(shop: Path, call: Call) -> None:
    for number in range(2):
        started(call, "greet", "--input", f'"{number}"')

    assert call("runs", "pause", "--all", "-y").out == "paused 2 runs\n"
    assert call("runs", "resume", "--all", "-y").out == "resumed 2 runs\n"
    assert call("runs", "cancel", "--all", "-y").out == "canceled 2 runs\n"
    assert call("runs", "retry", "--all", "-y").out == "retried 2 runs\n"
    assert call("runs", "cancel", "--all", "-y").out == "canceled 2 runs\n"
    assert call("runs", "delete", "--all", "-y").out == "deleted 2 runs\n"
    assert call("runs", "list", "--json").data == {"runs": [], "next_cursor": None}


def test_where_nothing_matches_nothing_is_asked(shop: Path, call: Call) -> None:
    started(call, "greet", "--input", '"Ann"')

    paused = call("runs", "resume", "--all")
    unknown = call("runs", "cancel", "--all", "--workflow", "nobody")

    assert (paused.code, paused.out, paused.err) == (0, "", "no run matches that could be resumed\n")
    assert unknown.code == 0
    assert unknown.err.startswith("no run matches that could be canceled\nno worker has ever had a workflow 'nobody'")


def test_a_status_from_which_nothing_can_be_done_matches_nothing(shop: Path, call: Call) -> None:
    started(call, "greet", "--input", '"Ann"')

    assert call("runs", "retry", "--all", "--status", "pending", "--yes").err == "no run matches that could be retried\n"


def test_on_a_terminal_it_asks(shop: Path, call: Call) -> None:
    run_id = started(call, "greet", "--input", '"Ann"')

    with Command("runs", "cancel", "--all", cwd=shop, columns=80) as refused:
        refused.types("n")
        assert "This will cancel 1 run (1 pending). Go on? [y/N]" in refused.says("Go on?")
        assert refused.ends() == 1
    assert refused.said[-1].endswith("nothing was done")
    assert status(call, run_id) == "pending"

    with Command("runs", "cancel", "--all", cwd=shop, columns=80) as agreed:
        agreed.types("y")
        assert agreed.ends() == 0
    assert agreed.said[-1].endswith("canceled 1 run")
    assert status(call, run_id) == "canceled"


def test_a_fork_goes_on_from_a_step_with_another_input(shop: Path, call: Call, work: Callable[[], None]) -> None:
    run_id = started(call, "greet", "--input", '"Ann"')
    work()

    forked = call("runs", "fork", run_id, "--from-step", "say", "--input", '"Bob"', "--json").data
    said = call("runs", "fork", run_id[:-2], "--from-step", "say")
    work()

    assert (forked["forked_from"], forked["input"]) == (run_id, "Bob")
    assert call("runs", "show", forked["id"], "--json").data["output"] == "Hello Bob"
    assert said.out.startswith(f"forked {run_id} as ")
    wrong = call("runs", "fork", run_id, "--from-step", "sya")
    assert wrong.code == 1
    assert "say" in wrong.err
    assert wrong.err.count("\n") == 1
