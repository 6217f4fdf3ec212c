"""What a retry and a fork leave of a run, as a decision."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.core.naming import BODY
from stepwell.core.records import Attempt, Kind, Outcome
from stepwell.core.taking_back import forked, is_void, retaken, scope_aside
from stepwell.errors import DefinitionError


def outcome(key: str, seq: int, asked: int = 0, **changed: object) -> Outcome:
    return Outcome("r", 1, key, seq, asked, Kind.FUNCTION, True, '"v"', float(seq), 0, 1, seq - 0.5, 311)._replace(**changed)  # type: ignore[arg-type]


def failure(key: str, seq: int, asked: int = 0, **changed: object) -> Outcome:
    return outcome(key, seq, asked, **{"ok": False, "value": "{}", **changed})


def attempt(key: str, asked: int = 0) -> Attempt:
    return Attempt("r", 1, key, 1, asked, False, "{}", 1.0, 2.0, 3.0)


# -- retry


def test_what_failed_goes_with_all_that_was_asked_for_in_the_knowledge_of_it() -> None:
    history = [outcome("a", 1), failure("b", 2, 1), outcome("c", 3, 2), outcome("d", 4, 1), outcome("e", 5, 4)]

    back = retaken(history, {"b"})

    assert (back.deleted_keys, back.first) == (("b", "c", "e"), 2)


def test_a_failure_that_goes_is_kept_as_an_attempt() -> None:
    back = retaken([failure("a", 1, attempt=3)], {"a"})

    assert back.as_attempts == (Attempt("r", 1, "a", 3, 0, False, "{}", 0.5, 1.0, None),)


def test_only_failures_of_steps_are_kept_as_attempts() -> None:
    history = [failure("a", 1), outcome("b", 2, 1), failure("nap", 3, 1, kind=Kind.SLEEP), failure("undo", 4, 1)]

    assert [each.key for each in retaken(history, {"a"}).as_attempts] == ["a", "undo"]


def test_outcomes_without_values_can_be_decided_on_too() -> None:
    back = retaken([failure("a", 1, value=None)], {"a"})

    assert (back.deleted_keys, back.as_attempts[0].error) == (("a",), None)


def test_without_a_failed_step_nothing_goes() -> None:
    back = retaken([outcome("a", 1), failure("b", 2)], set())

    assert (back.deleted_keys, back.as_attempts, back.first) == ((), (), 3)


@pytest.mark.parametrize(
    ("key", "asked", "void"), [("a", 0, False), ("a", 1, False), ("a", 2, True), ("a", 3, True), ("b", 0, True), (BODY, 0, True)]
)
def test_attempts_that_are_void_are_those_of_what_failed_of_the_body_and_of_what_knew_of_it(key: str, asked: int, void: bool) -> None:
    assert is_void(key, asked, 2, {"b"}) is void


def test_lines_of_different_claims_and_places_are_set_aside_in_different_scopes() -> None:
    assert len({scope_aside(claim, after) for claim in range(12) for after in range(12)}) == 144


# -- fork


def test_a_fork_begins_with_what_the_step_did_not_lead_to_as_its_own() -> None:
    history = [outcome("a", 1), outcome("b", 2, 1), outcome("c", 3, 2), outcome("d", 4, 1)]

    begins_with = forked(history, [attempt("d2", 1), attempt("e", 2), attempt("b"), attempt(BODY)], "b", "r", "new")

    assert [(each.run, each.claim, each.key, each.seq) for each in begins_with.outcomes] == [("new", 0, "a", 1), ("new", 0, "d", 4)]
    assert begins_with.attempts == (attempt("d2", 1)._replace(run="new", claim=0),)


def test_what_cannot_be_forked_from_is_told_with_what_can() -> None:
    history = [outcome("b", 2), outcome("a", 1), outcome("~timer", 3, kind=Kind.TIMER)]

    with pytest.raises(DefinitionError, match=r"run r has no outcome of a step 'x' to fork from; it has 'a', 'b'$"):
        forked(history, [], "x", "r", "new")


def test_a_run_without_outcomes_cannot_be_forked() -> None:
    with pytest.raises(DefinitionError, match="it has none at all"):
        forked([], [], "x", "r", "new")


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20)), max_size=12), st.integers(0, 11))
def test_what_is_left_is_what_its_code_had_asked_for_without_what_is_gone(steps: list[tuple[bool, int]], failed: int) -> None:
    history = [(outcome if ok else failure)(f"s{seq}", seq, min(asked, seq - 1)) for seq, (ok, asked) in enumerate(steps, 1)]
    keys = {f"s{failed}"}

    back = retaken(history, keys)

    kept = [each for each in history if each.key not in back.deleted_keys]
    assert all(each.asked < back.first and each.key not in keys for each in kept)
    assert all(each.asked >= back.first or each.key in keys for each in history if each.key in back.deleted_keys)
