"""`stepwell workers`, `workflows` and `queues`."""

from collections.abc import Callable
from pathlib import Path

from tests.cli.harness import Call, Command
from tests.cli.test_runs import started


def test_workers_that_live_are_listed_and_drained(shop: Path, call: Call) -> None:
    started(call, "greet", "--input", '"Ann"')
    assert call("workers").err == "no worker lives; begin one: stepwell worker TARGET\n"
    with Command("worker", "flows.py", "--name", "till", "--concurrency", "3", "--queue", "default", "--lease", "3s", cwd=shop) as worker:
        worker.says("worker till is ready")

        (state,) = call("workers", "--json").data["workers"]
        listed = call("workers", "list").out
        wrong = call("workers", "drain", "tilll")
        drained = call("workers", "drain", "till")

        assert worker.ends() == 0
    assert (state["name"], state["concurrency"], state["queues"], state["lease"]) == ("till", 3, ["default"], 3.0)
    assert sorted(state["definitions"]) == ["fail", "greet", "wait_long"]
    assert "till" in listed
    assert "greet" in listed
    assert (wrong.code, wrong.err) == (1, "error: no worker 'tilll' lives; did you mean 'till'?\n")
    assert (drained.code, drained.out) == (0, f"worker {state['id']} drains\n")


def test_a_paused_workflow_begins_no_run_until_it_is_resumed(shop: Path, call: Call, work: Callable[[], None]) -> None:
    first = started(call, "greet", "--input", '"Ann"')
    work()
    listed = call("workflows", "list", "--json").data["workflows"]
    assert [(each["name"], each["versions"], each["paused"]) for each in listed] == [
        (name, [None], False) for name in ("fail", "greet", "wait_long")
    ]

    assert call("workflows", "pause", "greet").out == "paused workflow greet\n"
    second = started(call, "greet", "--input", '"Bob"')
    work()

    waiting = call("runs", "show", second, "--json").data
    assert (waiting["status"], waiting["waiting_for"]) == ("pending", "workflow greet is paused")
    assert "greet      without   yes" in call("workflows", "list").out

    assert call("workflows", "resume", "greet").out == "resumed workflow greet\n"
    work()
    assert {call("runs", "show", run_id, "--json").data["status"] for run_id in (first, second)} == {"completed"}


def test_a_paused_queue_begins_no_run_until_it_is_resumed(shop: Path, call: Call, work: Callable[[], None]) -> None:
    run_id = started(call, "greet", "--input", '"Ann"')

    assert call("queues", "pause", "default").out == "paused queue default\n"
    work()
    assert call("queues", "list", "--json").data["queues"] == [{"name": "default", "paused": True}, {"name": "slow", "paused": False}]
    assert call("runs", "show", run_id, "--json").data["status"] == "pending"

    assert call("queues", "resume", "default").out == "resumed queue default\n"
    work()
    assert call("runs", "show", run_id, "--json").data["status"] == "completed"


def test_a_name_that_nobody_knows_is_not_paused(shop: Path, call: Call, work: Callable[[], None]) -> None:
    started(call, "greet", "--input", '"Ann"')
    work()

    workflow, queue = call("workflows", "pause", "greeet"), call("queues", "pause", "defaultt")

    assert (workflow.code, workflow.err) == (1, "error: nobody has heard of a workflow 'greeet' yet; did you mean 'greet'?\n")
    assert (queue.code, queue.err) == (1, "error: nobody has heard of a queue 'defaultt' yet; did you mean 'default'?\n")
