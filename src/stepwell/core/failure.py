"""Exceptions stored as data, with the names of their base classes.

An exception is described once, where it is caught, and never rebuilt by importing what a row names. A description cannot fail and
is bounded, whatever the exception does: texts lose signs that a database refuses, long ones are cut with a mark that says so.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import asdict
from itertools import islice
from traceback import FrameSummary, StackSummary, TracebackException
from typing import TYPE_CHECKING, Final

from stepwell.errors import ChildFailed, ErrorInfo, NonDeterminism, StepFailed, StepwellError, Stuck, WaitTimeout, qualified_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

MAX_MESSAGE: Final = 10_000
"""Characters of a message."""

MAX_TRACEBACK: Final = 40_000
"""Characters of a traceback."""

MAX_FRAMES: Final = 100
"""Frames of each exception in a traceback: the outermost and the innermost half of these."""

MAX_ERRORS: Final = 1_000
"""Exceptions looked at in one with its causes, contexts and group members."""

MAX_KINDS: Final = 200
"""Names of classes kept of an exception, and keys of failed steps."""


def describe(error: BaseException) -> ErrorInfo:
    """The exception as data. Never raises, and calls nothing of the exception's but what printing it calls."""
    related = list(_related(error))
    return ErrorInfo(
        type=storable(type(error).__name__),
        message=_cut(storable(_text(error)), MAX_MESSAGE),
        # What an operator needs is in the message of these two: where in the engine it was noticed says nothing.
        traceback="" if isinstance(error, NonDeterminism | Stuck) else _traceback(error),
        kinds=tuple(islice(_kinds(related), MAX_KINDS)),
        steps=tuple(islice(dict.fromkeys(failure.key for failure in _step_failures(related)), MAX_KINDS)),
    )


def find_step_failures(error: BaseException) -> Iterator[StepFailed | ChildFailed | WaitTimeout]:
    """The failures of steps, children and waits in an exception, its causes, contexts and group members."""
    return _step_failures(_related(error))


def error_text(info: ErrorInfo) -> str:
    """The JSON text to store."""
    return json.dumps(asdict(info))


def error_from(text: str) -> ErrorInfo:
    """What `error_text` wrote. Fields that this version does not know are left out, missing ones are empty."""
    stored = json.loads(text)
    return ErrorInfo(
        type=stored.get("type", "Exception"),
        message=stored.get("message") or "",
        traceback=stored.get("traceback") or "",
        kinds=tuple(stored.get("kinds") or ()),
        steps=tuple(stored.get("steps") or ()),
    )


# ---------------------------------------------------------------------------------------------------- what belongs to an error


def _related(error: BaseException) -> Iterator[BaseException]:
    """The exception, then its cause, context and members, then theirs; each once."""
    waiting = deque([error])
    seen: set[int] = set()
    while waiting and len(seen) < MAX_ERRORS:
        current = waiting.popleft()
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        if current.__cause__ is not None:
            waiting.append(current.__cause__)
        if current.__context__ is not None and not current.__suppress_context__:
            waiting.append(current.__context__)
        if isinstance(current, BaseExceptionGroup):
            waiting.extend(current.exceptions)


def _kinds(related: list[BaseException]) -> Iterator[str]:
    names: dict[str, None] = {}
    for error in related:
        names.update((storable(qualified_name(kind)), None) for kind in type(error).__mro__ if kind is not object)
        recorded = getattr(error, "error", None) if isinstance(error, StepwellError) else None
        if isinstance(recorded, ErrorInfo):
            names.update((name, None) for name in recorded.kinds)
    return iter(names)


def _step_failures(related: Iterator[BaseException] | list[BaseException]) -> Iterator[StepFailed | ChildFailed | WaitTimeout]:
    return (error for error in related if isinstance(error, StepFailed | ChildFailed | WaitTimeout))


# ------------------------------------------------------------------------------------------------------------------- traceback

_PACKAGE: Final = __file__[: -len("core/failure.py")]  # with the separator at its end, whichever it is
_TESTING: Final = f"{_PACKAGE}testing{_PACKAGE[-1]}"


def _traceback(error: BaseException) -> str:
    """As Python prints it, from the first frame that is not Stepwell's."""
    try:
        text = _printed(error, error.__traceback__)
    except Exception:  # noqa: BLE001  # an exception of the user's, with notes or arguments that cannot be read
        text = _printed(RuntimeError(f"{type(error).__name__} cannot be printed"), error.__traceback__)
    return _cut_middle(storable(text), MAX_TRACEBACK)


def _printed(error: BaseException, frames: TracebackType | None) -> str:
    printed = TracebackException(type(error), error, frames, compact=True)
    _shorten(printed)
    return "".join(printed.format())


def _shorten(printed: TracebackException) -> None:
    """Leave out frames, here and in all that is printed with it."""
    waiting = [printed]
    seen: set[int] = set()
    while waiting:
        current = waiting.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        _shorten_stack(current.stack)
        waiting += [further for further in (current.__cause__, current.__context__, *(current.exceptions or ())) if further is not None]


def _shorten_stack(stack: StackSummary) -> None:
    first = next((number for number, frame in enumerate(stack) if not _is_ours(frame)), 0)
    # With no frame but ours it is an error of Stepwell itself: there the frames say where.
    del stack[:first]
    if len(stack) > MAX_FRAMES:
        left_out = len(stack) - MAX_FRAMES
        half = MAX_FRAMES // 2
        stack[half : half + left_out] = [FrameSummary(f"({left_out} frames left out)", 0, "…", line="")]


def _is_ours(frame: FrameSummary) -> bool:
    return frame.filename.startswith(_PACKAGE) and not frame.filename.startswith(_TESTING)


# ------------------------------------------------------------------------------------------------------------------------ text


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  # its __str__ is the user's
        return f"<{type(error).__name__} whose text cannot be printed>"


def storable(text: str) -> str:
    """Without NUL and lone surrogates, which databases refuse."""
    return str.replace(text, "\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    mark = f"… ({len(text):,} characters)"
    return text[: limit - len(mark)] + mark


def _cut_middle(text: str, limit: int) -> str:
    """The beginning, and twice as much of the end: there is where it happened."""
    if len(text) <= limit:
        return text
    mark = f"\n… (cut from {len(text):,} characters) …\n"
    head = (limit - len(mark)) // 3
    return text[:head] + mark + text[len(text) - (limit - len(mark) - head) :]
