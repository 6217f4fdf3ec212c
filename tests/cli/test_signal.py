"""`stepwell signal`."""

from pathlib import Path

import pytest

from tests.cli.harness import Call
from tests.cli.test_runs import started


def test_a_signal_is_sent_to_a_run_by_the_beginning_of_its_id(shop: Path, call: Call) -> None:
    run_id = started(call, "greet", "--input", '"Ann"')

    answer = call("signal", run_id[:-1], "approval", '{"by": "ann"}')
    bare = call("signal", run_id, "approval")

    assert (answer.code, answer.out) == (0, f"sent signal approval to {run_id} greet\n")
    assert bare.code == 0


def test_who_has_sent_which_signal_is_shown_with_the_run(shop: Path, call: Call) -> None:
    run_id = started(call, "greet", "--input", '"Ann"')
    call("signal", run_id, "approval")

    (sent,) = [line for line in call("runs", "show", run_id).out.splitlines() if "signal" in line]

    assert "signal approval" in sent
    assert "cli:" in sent


def test_a_run_that_has_ended_takes_no_signal(shop: Path, call: Call) -> None:
    run_id = started(call, "greet", "--input", '"Ann"')
    call("runs", "cancel", run_id)

    answer = call("signal", run_id, "approval")

    assert answer.code == 1
    assert "is canceled; it cannot signal from there" in answer.err


@pytest.mark.parametrize(("arguments", "message"), [(["approval", "yes"], "the payload is no JSON"), ([], "NAME")])
def test_a_signal_that_is_given_wrongly_is_bad_usage(shop: Path, call: Call, arguments: list[str], message: str) -> None:
    run_id = started(call, "greet", "--input", '"Ann"')

    answer = call("signal", run_id, *arguments)

    assert answer.code == 2
    assert message in answer.err
