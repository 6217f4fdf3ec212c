import json
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import CodeType
from typing import Any, Never

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.core import failure
from stepwell.core.failure import (
    MAX_ERRORS,
    MAX_FRAMES,
    MAX_KINDS,
    MAX_MESSAGE,
    MAX_TRACEBACK,
    describe,
    error_from,
    error_text,
    find_step_failures,
)
from stepwell.errors import ChildFailed, ErrorInfo, NonDeterminism, RunFailed, StepFailed, Stuck

PACKAGE = Path(failure.__file__).parents[1]


class PaymentDeclined(Exception):
    pass


class CardDeclined(PaymentDeclined):
    pass


def raise_it(error: Exception) -> Never:
    raise error


def raised(error: Exception) -> Exception:
    return caught(raise_it, error)


def caught(function: Callable[..., Any], *args: Any) -> Exception:
    """What a call raises, with the frames that it has where the engine catches it."""
    with pytest.raises(Exception) as info:  # noqa: PT011  # any
        function(*args)
    return info.value.with_traceback(info.tb.tb_next)


def step_failed(key: str = "charge", error: Exception | None = None) -> StepFailed:
    return StepFailed(step=key.partition(":")[0], key=key, attempts=3, error=describe(error or CardDeclined("no funds")))


def child_failed(key: str) -> ChildFailed:
    return ChildFailed(step=key, key=key, run_id="7", workflow="pay", error=ErrorInfo("Boom", "", kinds=("shop.Boom",)))


def named(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


# ------------------------------------------------------------------------------------------------------------ type and message


def test_an_error_is_described_by_type_message_bases_and_traceback() -> None:
    info = describe(raised(CardDeclined("no funds")))

    assert (info.type, info.message, str(info)) == ("CardDeclined", "no funds", "CardDeclined: no funds")
    assert info.kinds == (named(CardDeclined), named(PaymentDeclined), "builtins.Exception", "builtins.BaseException")
    assert info.steps == ()
    assert info.traceback.startswith("Traceback (most recent call last):\n")
    assert info.traceback.endswith("CardDeclined: no funds\n")
    assert info.caused_by(PaymentDeclined)
    assert not info.caused_by(ValueError)


class Hostile(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__

    def __reduce__(self) -> Never:
        raise RuntimeError("no pickle")


class Wordless(Exception):
    def __str__(self) -> str:
        return None  # type: ignore[return-value]  # noqa: PLE0307


class Unreadable(Exception):
    @property
    def __notes__(self) -> list[str]:  # type: ignore[override]
        raise RuntimeError("no notes")


class Shout(str):
    __slots__ = ()

    def replace(self, *_: Any, **__: Any) -> Never:
        raise RuntimeError("no replacing")


@pytest.mark.parametrize("error", [Hostile("a"), Wordless("a"), Unreadable("a"), KeyError(Hostile()), ValueError(Shout("a"))])
def test_an_error_that_cannot_be_printed_is_described_all_the_same(error: Exception) -> None:
    info = describe(raised(ExceptionGroup("both", [raised(error), ValueError("b")])))
    alone = describe(raised(error))

    assert info.type == "ExceptionGroup"
    assert alone.type == type(error).__name__
    assert alone.message
    assert "in raise_it" in alone.traceback
    assert error_from(error_text(alone)) == alone


@given(st.text(st.characters()) | st.just("a\0b\ud800c"))
def test_no_text_holds_what_a_database_refuses(message: str) -> None:
    error = raised(ValueError(message))
    error.add_note(message)

    info = describe(error)

    for text in (info.message, info.traceback):
        assert "\0" not in text
        assert text.encode().decode() == text
    assert info.message == message or any(sign == "\0" or "\ud800" <= sign <= "\udfff" for sign in message)


def test_signs_that_are_left_out_leave_a_mark() -> None:
    assert describe(ValueError("a\0b\ud800c 😀")).message == "a\ufffdb\ufffdc 😀"


@pytest.mark.parametrize("size", [MAX_MESSAGE - 1, MAX_MESSAGE, MAX_MESSAGE + 1, 3_000_000])
def test_a_long_message_is_cut_with_a_mark_that_says_so(size: int) -> None:
    info = describe(raised(ValueError("x" * size)))

    assert len(info.message) == min(size, MAX_MESSAGE)
    assert info.message.endswith("x" if size <= MAX_MESSAGE else f"… ({size:,} characters)")
    assert len(info.traceback) <= MAX_TRACEBACK


# ------------------------------------------------------------------------------------------------------------------- traceback


def compiled_in(path: Path, source: str) -> dict[str, Any]:
    """Functions as if they stood in that file."""
    namespace: dict[str, Any] = {}
    code: CodeType = compile(source, str(path), "exec")
    exec(code, namespace)
    return namespace


CALL = "def call(function, *args):\n    return function(*args)\n"
engine_call = compiled_in(PACKAGE / "engine" / "execution.py", CALL)["call"]
core_call = compiled_in(PACKAGE / "core" / "retry.py", CALL)["call"]
call_in_testing = compiled_in(PACKAGE / "testing" / "clock.py", CALL)["call"]
neighbour_call = compiled_in(PACKAGE.parent / "stepwell_shop" / "pay.py", CALL)["call"]


def files(info: ErrorInfo) -> list[str]:
    return [line.split('"')[1] for line in info.traceback.splitlines() if line.strip().startswith('File "')]


def failing() -> Never:
    raise CardDeclined("no funds")


def test_a_traceback_begins_at_the_users_first_frame() -> None:
    def body() -> Any:
        return core_call(failing)

    info = describe(caught(engine_call, lambda: core_call(body)))

    # Frames of the engine that the user's code called stay: without them the rest makes no sense.
    assert [Path(file).name for file in files(info)] == ["test_failure.py", "retry.py", "test_failure.py", "retry.py", "test_failure.py"]


def test_frames_of_the_testing_package_and_of_packages_with_a_like_name_are_the_users() -> None:
    for call, name in ((call_in_testing, "clock.py"), (neighbour_call, "pay.py")):
        info = describe(caught(engine_call, call, failing))

        assert [Path(file).name for file in files(info)] == [name, "test_failure.py"]


def test_an_error_of_stepwell_itself_keeps_its_frames() -> None:
    broken = compiled_in(PACKAGE / "engine" / "worker.py", "def claim():\n    return None.runs\n")["claim"]

    info = describe(caught(engine_call, broken))

    assert [Path(file).name for file in files(info)] == ["execution.py", "worker.py"]


def test_causes_contexts_groups_and_notes_are_printed_as_python_prints_them() -> None:
    def cause() -> None:
        try:
            failing()
        except CardDeclined as error:
            raise LookupError("no card") from error

    def context() -> None:
        try:
            cause()
        except LookupError:
            raise KeyError("card")  # noqa: B904

    error = caught(context)
    error.add_note("see the manual")
    group = raised(ExceptionGroup("all", [error, ValueError("b")]))

    assert describe(error).traceback == "".join(traceback.format_exception(error))
    assert describe(group).traceback == "".join(traceback.format_exception(group))
    assert "see the manual" in describe(error).traceback
    assert "the direct cause of" in describe(error).traceback


def test_the_frames_of_causes_begin_at_the_users_too() -> None:
    cause = caught(engine_call, failing)
    error = caught(engine_call, raise_from, cause)

    assert {Path(file).name for file in files(describe(error))} == {"test_failure.py"}


def raise_from(cause: BaseException) -> Never:
    raise ValueError("b") from cause


def test_a_deep_recursion_is_told_in_part() -> None:
    def down(depth: int) -> int:
        return up(depth - 1) if depth else 1 // 0

    def up(depth: int) -> int:
        return down(depth - 1) if depth else 1 // 0

    info = describe(caught(down, 400))

    assert len(files(info)) == MAX_FRAMES + 1
    assert f"({401 - MAX_FRAMES} frames left out)" in info.traceback
    assert info.traceback.endswith("ZeroDivisionError: integer division or modulo by zero\n")


def test_a_recursion_without_end_is_described() -> None:
    def forever() -> None:
        forever()

    info = describe(caught(forever))

    assert info.type == "RecursionError"
    assert len(info.traceback) <= MAX_TRACEBACK


def test_a_long_traceback_keeps_its_beginning_and_its_end() -> None:
    error: Exception = ValueError("the first")
    for number in range(300):
        error = caught(raise_from, error)
        error.args = (f"number {number} {'x' * 500}",)

    info = describe(error)

    assert len(info.traceback) <= MAX_TRACEBACK
    assert "ValueError: the first" in info.traceback
    assert "(cut from " in info.traceback
    assert info.traceback.endswith(f"ValueError: number 299 {'x' * 500}\n")


@pytest.mark.parametrize("error", [NonDeterminism("the code has changed", key="charge"), Stuck("it waits for nothing")])
def test_findings_of_the_engine_have_no_traceback(error: Exception) -> None:
    info = describe(raised(error))

    assert info.traceback == ""
    assert info.message == str(error)


# ------------------------------------------------------------------------------------------------------------ kinds and steps


def test_kinds_are_those_of_the_error_then_of_what_it_came_from() -> None:
    error = caught(raise_from, raised(CardDeclined()))

    kinds = describe(error).kinds

    assert kinds == (
        "builtins.ValueError",
        "builtins.Exception",
        "builtins.BaseException",
        named(CardDeclined),
        named(PaymentDeclined),
    )


def test_a_context_that_was_suppressed_does_not_count() -> None:
    def hide() -> None:
        try:
            raise step_failed()
        except StepFailed:
            raise ValueError from None

    def show() -> None:
        try:
            raise step_failed()
        except StepFailed:
            raise ValueError  # noqa: B904

    assert describe(caught(hide)).steps == ()
    assert not describe(caught(hide)).caused_by("StepFailed")
    assert describe(caught(show)).steps == ("charge",)
    assert describe(caught(show)).caused_by(PaymentDeclined)


@pytest.mark.parametrize(
    "error",
    [
        step_failed(),
        RunFailed(run_id="7", workflow="pay", error=describe(CardDeclined())),
        ChildFailed(step="pay", key="pay", run_id="7", workflow="pay", error=describe(CardDeclined())),
        ExceptionGroup("all", [ValueError(), ExceptionGroup("inner", [step_failed()])]),
    ],
)
def test_what_a_recorded_error_was_caused_by_counts_too(error: Exception) -> None:
    info = describe(error)

    assert info.caused_by(PaymentDeclined)
    assert info.caused_by("CardDeclined")
    assert info.caused_by(type(error))


def test_the_kinds_of_a_failed_step_are_the_same_with_its_cause_and_without() -> None:
    first, replayed = step_failed(), step_failed()
    first.__cause__ = CardDeclined("no funds")

    assert set(describe(first).kinds) == set(describe(replayed).kinds)


def test_all_failed_steps_are_found_once_wherever_they_are() -> None:
    shared = step_failed("a")
    middle = caught(raise_from, step_failed("b:1"))
    middle.__context__ = shared
    middle.__suppress_context__ = False
    error = ExceptionGroup("all", [shared, middle, child_failed("c"), ValueError()])

    assert describe(error).steps == ("a", "c", "b:1")
    assert [found.key for found in find_step_failures(error)] == ["a", "c", "b:1"]
    assert list(find_step_failures(ValueError())) == []


def test_a_cycle_of_causes_ends() -> None:
    first, second = step_failed("a"), step_failed("b")
    first.__cause__, second.__cause__ = second, first

    info = describe(first)

    assert info.steps == ("a", "b")
    assert "StepFailed" in info.traceback


def test_kinds_and_steps_are_bounded() -> None:
    many: list[Exception] = [type(f"Error{number}", (Exception,), {})() for number in range(MAX_ERRORS * 2)]
    steps: list[Exception] = [step_failed(f"step:{number}") for number in range(MAX_ERRORS * 2)]

    info = describe(ExceptionGroup("all", many))
    failures = list(find_step_failures(ExceptionGroup("all", steps)))

    assert len(info.kinds) == MAX_KINDS
    assert len(describe(ExceptionGroup("all", steps)).steps) == MAX_KINDS
    assert len(failures) < MAX_ERRORS


# -------------------------------------------------------------------------------------------------------------------- stored

infos = st.builds(
    ErrorInfo,
    type=st.text(),
    message=st.text(),
    traceback=st.text(),
    kinds=st.lists(st.text(), max_size=3).map(tuple),
    steps=st.lists(st.text(), max_size=3).map(tuple),
)


@given(infos)
def test_a_description_comes_back_as_it_was_stored(info: ErrorInfo) -> None:
    text = error_text(info)

    assert error_from(text) == info
    assert text.isascii()


@given(infos)
def test_fields_of_another_version_are_left_out_and_missing_ones_are_empty(info: ErrorInfo) -> None:
    newer = json.dumps({**asdict(info), "severity": 3})

    assert error_from(newer) == info
    assert error_from("{}") == ErrorInfo("Exception", "")
    assert error_from('{"type": "Boom", "message": null, "kinds": null}') == ErrorInfo("Boom", "")
