"""Tracebacks are read as they are stored: where it happened, and which frames are a library's."""

from __future__ import annotations

import json
from functools import partial

from stepwell.core.failure import describe
from stepwell.errors import ErrorInfo
from stepwell.web.tracebacks import trace_of

INSTALLED = """Traceback (most recent call last):
  File "/srv/app/pay.py", line 41, in charge
    client.post(order)
  File "/srv/.venv/lib/python3.12/site-packages/http/client.py", line 7, in post
    return self.send(order)
           ^^^^^^^^^^^^^^^^
  File "/usr/lib/python3.12/socket.py", line 9, in send
    raise OSError
  File "/srv/app/hooks.py", line 3, in log
    pass
OSError: gone"""

FAILED_STEP = """Traceback (most recent call last):
  File "C:\\app\\pay.py", line 41, in charge
    raise ValueError("declined")
ValueError: declined

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "C:\\app\\flow.py", line 5, in flow
    await step.run("charge", charge)
  File "C:\\Lib\\site-packages\\stepwell\\engine\\step.py", line 119, in run
    return await self._asking.step(name, fn, args, kwargs)
stepwell.errors.StepFailed: step "charge" failed"""


def the_text(error: ErrorInfo) -> str:
    return "\n".join(part.text for part in trace_of(error).parts)


def test_frames_of_libraries_are_folded_and_those_of_the_user_are_not() -> None:
    trace = trace_of(ErrorInfo("OSError", "gone", INSTALLED))

    assert [part.folded for part in trace.parts] == [0, 2, 0]
    assert trace.folded == 2
    assert trace.parts[1].text.splitlines()[-1] == "    raise OSError"
    assert "^^^^" in trace.parts[1].text


def test_the_place_is_the_innermost_line_of_the_users() -> None:
    place = trace_of(ErrorInfo("OSError", "gone", INSTALLED)).place

    assert place is not None
    assert (place.short, place.function, place.file) == ("app/hooks.py:3", "log", "/srv/app/hooks.py")


def test_of_a_failed_step_the_place_is_in_the_step_and_not_where_it_was_awaited() -> None:
    place = trace_of(ErrorInfo("StepFailed", "", FAILED_STEP)).place
    of_the_body = trace_of(ErrorInfo("Refused", "", FAILED_STEP)).place

    assert place is not None
    assert place.short == "app/pay.py:41"
    assert of_the_body is not None
    assert of_the_body.short == "app/flow.py:5"


def test_nothing_of_a_traceback_is_lost() -> None:
    for text in (INSTALLED, FAILED_STEP):
        assert the_text(ErrorInfo("E", "", text)) == text


def test_what_is_no_traceback_is_shown_as_it_is() -> None:
    assert trace_of(ErrorInfo("E", "m", "")).parts == ()
    assert trace_of(ErrorInfo("E", "m", "")).place is None
    assert the_text(ErrorInfo("E", "m", "some text\n  of two lines")) == "some text\n  of two lines"


def test_tracebacks_of_python_itself_are_read_also_those_of_groups() -> None:
    def fails() -> None:
        json.loads("{")

    errors: list[Exception] = []
    for call in (fails, partial(json.loads, "")):
        try:
            call()
        except ValueError as error:
            errors.append(error)
    try:
        raise ExceptionGroup("both", errors)
    except ExceptionGroup as group:
        described = describe(group)
    trace = trace_of(described)

    assert the_text(described) == described.traceback.rstrip("\n")
    assert trace.folded >= 4
    assert trace.place is not None
    assert trace.place.short == "web/test_tracebacks.py:" + str(trace.place.line)
