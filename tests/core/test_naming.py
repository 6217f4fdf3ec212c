"""Names of workflows, keys of steps, paths of branches."""

from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.core.naming import MAX_NAME, Branch, checked_name, function_name, key_name, name_of, snake_case
from stepwell.errors import DefinitionError

TEXT = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
NAMES = st.text(TEXT, min_size=1, max_size=20).filter(str.strip) | st.sampled_from(
    ["a", "a:1", "a/b", "@0", "~timer", "100%", "%40", "a%3A1"]
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sendWelcomeEmail", "send_welcome_email"),
        ("HTTPPing2", "http_ping2"),
        ("SendWelcomeEmail", "send_welcome_email"),
        ("parseJSON", "parse_json"),
        ("v2Import", "v2_import"),
        ("already_snake", "already_snake"),
        ("_private", "_private"),
        ("X", "x"),
    ],
)
def test_a_workflow_is_named_in_snake_case(name: str, expected: str) -> None:
    assert snake_case(name) == expected


@given(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,30}", fullmatch=True))
def test_snake_case_of_snake_case_is_the_same_and_only_underscores_are_added(name: str) -> None:
    snake = snake_case(name)

    assert snake_case(snake) == snake
    assert snake.replace("_", "") == name.replace("_", "").lower()


@pytest.mark.parametrize("name", [None, 3, "", "  ", "x" * (MAX_NAME + 1)])
def test_what_cannot_be_a_name_is_refused(name: object) -> None:
    with pytest.raises(DefinitionError, match="the name of a queue"):
        checked_name(name, "queue")


def test_a_name_may_have_two_hundred_characters() -> None:
    assert checked_name("x" * 200, "queue") == "x" * 200


def test_a_function_lends_its_name_also_through_partial_and_method() -> None:
    assert function_name(checked_name, "step") == "checked_name"
    assert function_name(partial(checked_name, what="step"), "step") == "checked_name"
    assert function_name(Branch().key, "step") == "key"


def test_an_object_that_can_be_called_lends_the_name_of_its_class() -> None:
    class Charge:
        def __call__(self) -> None: ...

    assert function_name(Charge(), "step") == "Charge"


@pytest.mark.parametrize(("what", "example"), [("workflow", '@workflow\\(name="…"\\)'), ("step", 'step.run\\("name", lambda: …\\)')])
def test_a_lambda_without_a_name_is_refused_with_an_example(what: str, example: str) -> None:
    with pytest.raises(DefinitionError, match=f"a lambda has no name to call the {what} by; give one: {example}"):
        function_name(lambda: None, what)


def test_most_keys_are_simply_the_name() -> None:
    assert Branch().key("charge") == "charge"


def test_a_name_used_again_is_numbered() -> None:
    branch = Branch()

    assert [branch.key(name) for name in ("a", "b", "a", "a", "b")] == ["a", "b", "a:1", "a:2", "b:1"]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("send/mail", "send%2Fmail"),
        ("a:1", "a%3A1"),
        ("100%", "100%25"),
        ("@home", "%40home"),
        ("~timer", "%7Etimer"),
        ("me@home ~", "me@home ~"),
    ],
)
def test_signs_that_mean_something_in_a_key_are_encoded(name: str, key: str) -> None:
    assert key_name(name) == key


@pytest.mark.parametrize("name", [None, 3, "", " ", "x" * (MAX_NAME + 1)])
def test_what_cannot_be_the_name_of_a_step_has_no_key(name: Any) -> None:
    with pytest.raises(DefinitionError, match="the name of a step"):
        key_name(name)


def test_each_branch_counts_for_itself() -> None:
    main = Branch()
    first, second = main.child(), main.child()
    inner = first.child()

    assert [branch.key("a") for branch in (main, first, second, inner)] == ["a", "@0/a", "@1/a", "@0.0/a"]


def test_numbers_kept_for_later_are_not_given_to_other_branches() -> None:
    main = Branch()
    kept = main.reserve(3)

    assert main.child().path == "@3"
    assert [main.child(kept + place).path for place in (2, 0, 1)] == ["@2", "@0", "@1"]


@given(NAMES)
def test_the_name_is_found_again_in_any_key(name: str) -> None:
    branch = Branch().child().child()

    assert [name_of(branch.key(key_name(name))) for _ in range(3)] == [name] * 3


@given(st.data())
def test_no_two_steps_of_a_run_have_the_same_key(data: st.DataObject) -> None:
    branches, keys = [Branch()], []
    for _ in range(data.draw(st.integers(1, 30))):
        branch: Any = data.draw(st.sampled_from(branches))
        if data.draw(st.booleans()):
            branches.append(branch.child())
        else:
            keys.append(branch.key(key_name(data.draw(NAMES))))

    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("name", ["nul\0", "half of a \ud800 pair"])
def test_a_name_that_databases_refuse_is_refused(name: str) -> None:
    with pytest.raises(DefinitionError, match="without NUL and lone surrogates"):
        key_name(name)
