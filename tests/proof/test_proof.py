"""Replay, proven at small: `python -m tests.proof` does the same for as long as you like."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from scripts.interpreters import ROOT
from stepwell import RunStatus
from tests.proof import checks
from tests.proof.checks import fixed, step
from tests.proof.lives import Case, Universe, Wrong, cases
from tests.proof.mutations import MUTATIONS
from tests.proof.programs import Node, Program, generate
from tests.proof.proving import minimal, prove
from tests.proof.versions import replay, transcripts

pytestmark = pytest.mark.proof

PROGRAMS = 120
WITH_MAIL = 48
WITH_BOOKS = 48
CHUNKS = 8


def side_by_side(kind: str, *branches: tuple[Node, ...], **options: object) -> Node:
    return Node(kind, branches, {"offsets": tuple(range(len(branches)))} | options)


def around(kind: str, *block: Node, **options: object) -> Node:
    return Node(kind, (block,), options)


def sleep(seconds: float) -> Node:
    return Node("sleep", (), {"seconds": seconds})


NAMED = {
    "a step and a timeout end at the same time": fixed(
        *(around("timeout", step("a", "near"), seconds=seconds) for seconds in (0.01, 0.02, 0.03)), step("b")
    ),
    "a timer and a step race, and the loser is canceled": fixed(
        side_by_side("race", (step("a", "near"),), (sleep(0.02),), (step("b", "near"),), cancel=True), step("c")
    ),
    "who waits for an outcome comes after a timer": fixed(
        side_by_side("gather", (sleep(0.01), step("a")), (step("b", "near"), step("c")), failing=False)
    ),
    "timeouts within timeouts": fixed(
        around(
            "timeout",
            step("a"),
            around("timeout", step("b", "near"), around("timeout", step("c"), seconds=0.01), seconds=0.02),
            seconds=0.03,
        ),
        step("d"),
    ),
    "a generator is left open": fixed(
        around("generator", step("a"), closed=False),
        around("timeout", around("generator", step("b"), closed=False), seconds=0.01),
        step("c"),
    ),
    "tasks that nobody awaits": fixed(around("spawn", step("a"), step("b")), around("spawn", step("c", "near")), step("d"), step("e")),
    "steps that take no notice of their cancellation": fixed(
        around("timeout", step("a", "stubborn"), seconds=0.005),
        side_by_side("race", (step("b", "plain"),), (step("c", "stubborn"),), cancel=True),
        step("d"),
        step("e"),
    ),
    "a body that swallows its cancellation": fixed(around("timeout", around("swallow", step("a"), step("b")), seconds=0.005), step("c")),
    "sleepers of hours": fixed(
        side_by_side("gather", (sleep(80_000.0), step("a")), (Node("nap", (), {"seconds": 90_000.0}),), (step("b"),), failing=False),
        step("c"),
    ),
    "a group fails, and its siblings clean up": fixed(
        side_by_side(
            "group", (around("finally", step("a"), undo="work"),), (around("finally", step("b"), step("c"), undo="flaky"),), failing=True
        )
    ),
    "an attempt waits for an hour": fixed(Node("flaky", (), {"name": "a", "add": 0, "with": "flaky, retry=RARELY"}), step("b")),
    "steps are made in the order of others' ends": fixed(
        side_by_side("as_completed", (step("a"),), (step("a"),), (step("a"),)),
        side_by_side("as_completed", (step("b"),), (sleep(9.0),), seconds=0.01),
    ),
    "futures in sets": fixed(side_by_side("gathers", (step("a"),), (step("b"),), (step("c"),))),
    "one lock for three": fixed(side_by_side("semaphore", (step("a"),), (step("b"),), (step("c"),), of="Lock()")),
    "producers and consumers": fixed(Node("queue"), Node("condition")),
    "what a callback makes": fixed(around("callback", step("a")), around("later", step("b"), seconds=0.01, in_task=True, add=1)),
    "a run that goes on as new": fixed(
        step("a"), Node("continue"), step("b"), side_by_side("gather", (step("c"),), (step("d"),), failing=False)
    ),
    "a map in a timeout": fixed(
        Node("wait_for_map", (), {"name": "a", "items": (0, 1, 2, 3), "concurrency": 2, "function": "picky", "seconds": 0.02}), step("b")
    ),
    "a def body": Program(
        (
            step("a"),
            step("b", "blocking"),
            Node("nap", (), {"seconds": 0.01}),
            Node("map", (), {"name": "c", "items": (0, 1, 2), "concurrency": 2, "function": "picky"}),
            Node("flaky", (), {"name": "d", "add": 0, "with": "flaky, retry=TWICE"}),
            Node("value", (), {"of": "uuid"}),
        ),
        is_async=False,
    ),
}


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_random_programs_crashed_at_every_commit_end_as_they_do_undisturbed(chunk: int) -> None:
    report = prove(range(chunk, PROGRAMS, CHUNKS))

    assert report.failures == []
    assert report.counts["programs"] == PROGRAMS // CHUNKS
    assert report.counts["crashed runs"] > 10 * report.counts["programs"]


# A callback that runs while its body is being left may make a coroutine that asyncio's `wait_for` then cannot make a task of.
@pytest.mark.filterwarnings("ignore:coroutine 'body:RuntimeWarning")
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_random_programs_that_wait_for_signals_and_children_end_as_they_do_undisturbed(chunk: int) -> None:
    report = prove(range(chunk, WITH_MAIL, CHUNKS), 20, mail=True)

    assert report.failures == []
    assert report.counts["programs"] == WITH_MAIL // CHUNKS


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_random_programs_with_transactions_write_each_of_them_once(chunk: int) -> None:
    report = prove(range(chunk, WITH_BOOKS, CHUNKS), 20, books=True)

    assert report.failures == []
    assert report.counts["programs"] == WITH_BOOKS // CHUNKS


@pytest.mark.parametrize("name", NAMED)
def test_a_program_crashed_at_every_commit_ends_as_it_does_undisturbed(name: str) -> None:
    with Universe() as universe:
        for seed in range(6):
            undisturbed = universe.run(NAMED[name], Case(seed))
            for case in cases(seed, undisturbed.commits):
                universe.run(NAMED[name], case)


def test_a_loop_of_two_thousand_steps_is_replayed_from_any_of_them() -> None:
    program = fixed(Node("loop", ((step("a", "plain"),),), {"times": 2_000}))

    with Universe() as universe:
        undisturbed = universe.run(program, Case(0))
        done = [universe.run(program, case) for case in cases(0, undisturbed.commits, 4)]

    assert {each.status for each in done} == {RunStatus.COMPLETED}
    assert all(len(each.outcomes) == 2_000 for each in done)


@pytest.mark.parametrize("seed", [seed for seed in range(80) if not generate(seed).is_async][:8])
def test_random_def_bodies_crashed_at_every_commit_end_as_they_do_undisturbed(seed: int) -> None:
    report = prove([seed])

    assert report.failures == []


def test_a_seed_always_does_the_same() -> None:
    with Universe() as universe:
        first = [universe.run(generate(seed), case) for seed in range(10) for case in cases(seed, 5, 3)]
    with Universe() as universe:
        second = [universe.run(generate(seed), case) for seed in range(10) for case in cases(seed, 5, 3)]

    assert first == second


@pytest.mark.filterwarnings("ignore")  # what an engine without a rule leaves behind
def test_a_program_that_goes_wrong_is_made_smaller_and_goes_wrong_still() -> None:
    mutation = next(each for each in MUTATIONS if each.rule == "an outcome is durable before it is delivered")

    with mutation.made():
        seed, case, _ = prove(range(20)).failures[0]
        small, small_case, message = minimal(generate(seed), case)
        with Universe() as universe, pytest.raises(Wrong) as wrong:
            universe.run(small, small_case)

    assert len(small.source) < len(generate(seed).source)
    assert str(wrong.value).split()[0] == message.split()[0]


def test_a_step_whose_timeout_passed_while_no_worker_was_there_is_not_begun() -> None:
    checks.overdue()


def test_a_step_that_failed_is_not_tried_again_before_it_is_due() -> None:
    checks.due()


def test_a_paused_run_begins_nothing_until_it_is_resumed() -> None:
    checks.paused()


def test_keys_do_not_depend_on_the_version_of_python() -> None:
    checks.keys()


def test_what_a_body_logs_is_stored_once() -> None:
    checks.logs()
    checks.logs_of_def_bodies()


def test_histories_do_not_depend_on_how_this_process_hashes_strings() -> None:
    digests = {_digest(hash_seed) for hash_seed in ("0", "1", "4294967295")}

    assert len(digests) == 1


def _digest(hash_seed: str) -> str:
    command = [sys.executable, "-W", "ignore", "-m", "tests.proof.versions", "--digest", "--seeds", "100"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=True)
    return done.stdout


def test_a_history_that_was_written_down_is_gone_on_with() -> None:
    told = [json.loads(json.dumps(each)) for each in transcripts(range(20))]

    counts, failures = replay(told)

    assert failures == []
    assert counts["whole"] > 15
    assert counts["crashed"] > 20
