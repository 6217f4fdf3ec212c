"""A run moves along the table of transitions, which says for operators what the documentation says."""

import re

import pytest

from stepwell.core.status import TRANSITIONS, Action, RunStatus, after, diagram

OPERATORS = (Action.PAUSE, Action.RESUME, Action.CANCEL, Action.RETRY)

# The table of the documentation; "-" is IllegalTransition.
DOCUMENTED = """
    pending    paused  pending  canceled  -
    running    paused  running  canceled  -
    sleeping   paused  sleeping canceled  -
    paused     paused  pending  canceled  -
    completed  -       -        -         -
    failed     -       -        -         pending
    canceled   -       -        canceled  pending
"""
ROWS = [line.split() for line in DOCUMENTED.strip().splitlines()]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_operators_move_a_run_as_documented(row: list[str]) -> None:
    status = RunStatus(row[0])

    assert [str(after(status, action) or "-") for action in OPERATORS] == row[1:]


def test_every_status_is_documented() -> None:
    assert [row[0] for row in ROWS] == list(RunStatus)


@pytest.mark.parametrize(
    ("status", "action", "target"),
    [
        ("pending", "claim", "running"),
        ("running", "park", "sleeping"),
        ("sleeping", "park", "sleeping"),
        ("sleeping", "wake", "running"),
        ("pending", "wake", "running"),
        ("running", "wake", "running"),
        ("sleeping", "make_ready", "pending"),
        ("running", "retry_later", "sleeping"),
        ("running", "release", "pending"),
        ("sleeping", "release", "sleeping"),
        ("paused", "release", "paused"),
        ("canceled", "release", "canceled"),
        ("running", "rescue", "pending"),
        ("sleeping", "rescue", "sleeping"),
        ("running", "continue_as_new", "pending"),
        ("running", "diverge", "paused"),
        ("running", "complete", "completed"),
        ("running", "fail", "failed"),
        ("pending", "expire", "failed"),
        ("sleeping", "expire", "failed"),
    ],
)
def test_the_engine_moves_a_run_through_its_life(status: str, action: str, target: str) -> None:
    assert after(RunStatus(status), Action(action)) is RunStatus(target)


@pytest.mark.parametrize("action", [Action.COMPLETE, Action.FAIL, Action.RETRY_LATER, Action.CONTINUE_AS_NEW, Action.DIVERGE])
def test_a_run_that_ends_as_soon_as_it_is_woken_ends_as_a_running_one_does(action: Action) -> None:
    assert after(RunStatus.SLEEPING, action) is after(RunStatus.RUNNING, action) is not None


@pytest.mark.parametrize(
    ("status", "action"),
    [("paused", "claim"), ("canceled", "complete"), ("paused", "complete"), ("paused", "expire"), ("canceled", "wake")],
)
def test_the_engine_cannot_pass_over_an_operator(status: str, action: str) -> None:
    assert after(RunStatus(status), Action(action)) is None


def test_of_the_ends_only_failed_and_canceled_are_left_and_only_by_a_retry() -> None:
    ways = {(status, action) for (status, action), target in TRANSITIONS.items() if status.ended and target is not status}

    assert ways == {(RunStatus.FAILED, Action.RETRY), (RunStatus.CANCELED, Action.RETRY)}


def test_exactly_three_statuses_are_ends() -> None:
    assert [status for status in RunStatus if status.ended] == ["completed", "failed", "canceled"]


def test_every_status_is_reached_and_every_action_does_something() -> None:
    assert set(TRANSITIONS.values()) == set(RunStatus)
    assert {action for _, action in TRANSITIONS} == set(Action)


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        TRANSITIONS[RunStatus.COMPLETED, Action.RETRY] = RunStatus.PENDING  # type: ignore[index]


def test_the_diagram_shows_every_change_and_nothing_that_changes_nothing() -> None:
    shown = {
        (source, action, target)
        for source, target, actions in re.findall(r"^    (\w+) --> (\w+): (.+)$", diagram(), re.MULTILINE)
        for action in actions.split(", ")
    }

    assert shown == {(source, action, target) for (source, action), target in TRANSITIONS.items() if source is not target}


def test_the_diagram_begins_and_ends_as_mermaid_wants_it() -> None:
    lines = diagram().splitlines()

    assert lines[:2] == ["stateDiagram-v2", "    [*] --> pending"]
    assert lines[-3:] == ["    completed --> [*]", "    failed --> [*]", "    canceled --> [*]"]


def test_the_diagram_is_the_same_each_time() -> None:
    assert diagram() == diagram()
