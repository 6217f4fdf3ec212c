"""How a run leaves its worker: what has become of its body, as a value, and that value written, against operators who may be faster."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from stepwell.core.codec import codec_of, input_text, output_text
from stepwell.core.ending import Complete, Diverge, Ending, Fail, GoOnAsNew, LetGo, RetryLater, Sleep
from stepwell.core.failure import describe, error_text
from stepwell.core.naming import BODY
from stepwell.core.records import LATEST, Attempt, Move
from stepwell.core.retry import DEFAULT_RETRY
from stepwell.core.status import Action, RunStatus, after
from stepwell.errors import ContinueAsNew, NotSerializable, StepwellError

if TYPE_CHECKING:
    from stepwell.core.definition import Workflow
    from stepwell.engine.execution import Execution

log = logging.getLogger(__name__)

WOKEN: Final = (RunStatus.RUNNING, RunStatus.SLEEPING, RunStatus.PENDING)
"""From where a run that its worker has in memory can go on."""


def ending_of(main: asyncio.Task[Any], run: Execution, workflow: Workflow[Any, Any]) -> Ending:
    """What becomes of a run whose body is done.

    Raises:
        Diverged: it has ended without asking for all that is recorded.
    """
    if main.cancelled():
        return _after_error(asyncio.CancelledError("the body was canceled, and not by Stepwell"), run, workflow)
    error = main.exception()
    if error is not None:
        return _after_error(error, run, workflow)
    run.history.ended()
    try:
        codec = codec_of(workflow.output_annotation)
        return Complete(output_text(codec, main.result(), workflow=workflow.name, limit=run.host.max_payload))
    except StepwellError as refused:
        return Fail(describe(refused))


def _after_error(error: BaseException, run: Execution, workflow: Workflow[Any, Any]) -> Ending:
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]  # what a TaskGroup raises for one task that failed says nothing more
    if isinstance(error, ContinueAsNew):
        run.history.ended()  # like a return: what is recorded is about to go
        try:
            return GoOnAsNew(_new_input(error.input, run, workflow))
        except StepwellError as refused:
            return Fail(describe(refused))
    attempt, clock = run.claimed.attempt, run.host.clock
    delay = (workflow.retry or DEFAULT_RETRY).next(error, attempt, clock.random())
    if delay is None:
        return Fail(describe(error))
    return RetryLater(min(clock.now() + delay.total_seconds(), LATEST), attempt + 1, describe(error))


def _new_input(value: Any, run: Execution, workflow: Workflow[Any, Any]) -> str:
    if value is None and workflow.input_optional:
        return "null"
    return input_text(codec_of(workflow.input_annotation), value, workflow=workflow.name, limit=run.host.max_payload)


def _was_applied(action: Action, status: RunStatus) -> bool:
    """Whether the move was written before, and its answer lost."""
    return status.ended and status is after(RunStatus.RUNNING, action)


class Leaving:
    """Writes the ending of one run."""

    __slots__ = ("_ending", "_move", "_run")

    def __init__(self, run: Execution, ending: Ending) -> None:
        self._run = run
        self._ending = ending
        self._move = self._write()

    def written(self, move: object, status: RunStatus | None) -> None:
        """The move was applied, unless an operator was faster."""
        if move is not self._move:
            return
        action = self._move.action
        if action is Action.WAKE and status in WOKEN:
            self._move = self._write()  # resumed: the ending that was not allowed before is allowed now
        elif status is not None and (after(status, action) is not None or _was_applied(action, status)):
            self._run.left(self._ending)
        elif status is RunStatus.PAUSED:
            self._ending = LetGo()  # it ends after it is resumed, by replay
            self._move = self._write()
        elif status is RunStatus.PENDING:
            self._move = self._put(Action.WAKE, keep=True)
        else:
            self._run.left(None)

    def refused(self, move: object, error: Exception) -> None:
        """The database will not take it: the run fails for that."""
        if move is self._move:
            failure = NotSerializable(f"the run's output cannot be stored: {error}", what="the output", path="$")
            self._ending = Fail(describe(failure))
            self._move = self._write()

    def _write(self) -> Move:
        match self._ending:
            case Complete(output):
                move = self._put(Action.COMPLETE, output=output)
            case Fail(error):
                self._warn("failed: %s", error)
                move = self._put(Action.FAIL, error=error_text(error))
            case RetryLater(due, attempt, error):
                self._put_attempt(attempt - 1, error_text(error), due)
                delay = max(due - self._run.host.clock.now(), 0.0)
                self._warn("attempt %d of its body failed, the next is in %.3g s: %s", attempt - 1, delay, error)
                move = self._put(Action.RETRY_LATER, due=due, attempt=attempt)
            case GoOnAsNew(input):
                move = self._put(Action.CONTINUE_AS_NEW, input=input, read=self._run.mailbox.read)
            case Diverge(error):
                move = self._put(Action.DIVERGE, error=error_text(error))
            case LetGo():
                move = self._put(Action.RELEASE)
            case Sleep(due):
                move = self._put(Action.PARK, due=due, seen=self._run.mailbox.seen)
        return move

    def _warn(self, message: str, *what: object) -> None:
        log.warning(f"run %s of %s: {message}", self._run.id, self._run.claimed.workflow, *what)  # noqa: G004  # a text of ours

    def _put(self, action: Action, **what: Any) -> Move:
        run = self._run
        move = Move(run.id, run.claimed.claim, action, **what)
        run.host.committer.put(move, run)
        return move

    def _put_attempt(self, attempt: int, error: str, due: float) -> None:
        """Every failed attempt is kept, those of the body as a whole too."""
        run = self._run
        begun, now = run.claimed.started_at, run.host.clock.now()
        write = Attempt(run.id, run.claimed.claim, BODY, attempt, run.history.delivered, False, error, begun, now, due)
        run.host.committer.put(write, run)
