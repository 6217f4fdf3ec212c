"""Every exception of Stepwell.

    StepwellError
    ├── DefinitionError          a workflow, step, schedule or option is declared wrongly
    ├── InvalidInput             the input does not fit the workflow's schema
    ├── InvalidOutput            what the workflow returned does not fit its schema
    ├── NotSerializable          JSON does not give this value back unchanged
    ├── PayloadTooLarge          a value is larger than `max_payload`
    ├── RunNotFound              no run has this id
    ├── WorkflowNotFound         nobody knows a workflow of this name and version
    ├── ScheduleNotFound         no workflow has a schedule of this name
    ├── WorkerNotFound           no worker of this name is registered
    ├── IllegalTransition        the run's status does not allow this action
    ├── RunFailed                raised by `result()` of a failed run
    ├── RunCanceled              raised by `result()` of a canceled run
    ├── StepFailed               a step has used up its retries
    ├── ChildFailed              a child run has failed or was canceled
    ├── WaitTimeout              a signal or a child did not come in time  (also a TimeoutError)
    ├── MailboxFull              a run has so many signals that it takes no more
    ├── NotInStep                the body of a workflow does what belongs into a step
    ├── OutsideRun               a step is called where no run can record it
    ├── DeadlineExceeded         the run took longer than the workflow's `timeout`
    ├── StepTimeout              an attempt took longer than the step's `timeout`  (also a TimeoutError)
    ├── WorkerCrashed            the run took its worker process down too often
    ├── NonRetryable             raise it to fail at once
    ├── RetryAfter               raise it to say when to try again  (in core/retry.py, beside the durations it takes)
    ├── NonDeterminism           the code no longer fits what is recorded
    ├── Stuck                    the body waits for something that nothing will ever bring
    ├── TooSlow                  what was asked for an overview would take too long
    ├── DatabaseTooNew           the database was written by a newer Stepwell
    └── DatabaseUnavailable      the database cannot be reached, or did not answer
    ContinueAsNew (BaseException)  raise it to go on under the same id with an empty history
    BadValue (ValueError)          what a caller has said cannot be; a ValueError like any other, but for edges, which tell its text

An exception says in its message what, which one, and what to do about it; the data are attributes.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """An exception as data, the way it is stored. It is never rebuilt by importing what it names.

    Attributes:
        type: the name of the exception's class, `CardDeclined`.
        message: its text.
        traceback: as Python prints it, from the first frame that is not Stepwell's.
        kinds: the qualified names of its class and base classes, and of those of its causes, contexts and group members.
        steps: the keys of the failed steps found in it, its causes, contexts and group members.
    """

    type: str
    message: str
    traceback: str = ""
    kinds: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()

    def caused_by(self, kind: builtins.type[BaseException] | str) -> bool:
        """Whether the error, or one it was caused by, is of this class or of one derived from it.

        A string is a class name, bare or qualified: `"CardDeclined"`, `"shop.payment.CardDeclined"`.
        """
        if isinstance(kind, type):
            return qualified_name(kind) in self.kinds
        return any(name == kind or name.rpartition(".")[2] == kind for name in self.kinds)

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


def qualified_name(kind: type) -> str:
    """`shop.payment.CardDeclined`: by what a class is known in stored errors."""
    return f"{kind.__module__}.{kind.__qualname__}"


class BadValue(ValueError):
    """What a caller has said cannot be: a duration without a unit, a cursor of nowhere.

    By it those who answer strangers tell what these have done wrong from what is wrong with the program, of which they tell nothing.
    """


class StepwellError(Exception):
    """The root of all errors of Stepwell."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickling calls the class with `args` by default, which no constructor below takes.
        return (_rebuilt, (type(self), self.args, dict(self.__dict__)))


def _rebuilt(kind: type[StepwellError], args: tuple[Any, ...], attributes: dict[str, Any]) -> StepwellError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


class DefinitionError(StepwellError):
    """A workflow, step, schedule or option is declared wrongly."""


class _Misfit(StepwellError):
    """A value does not fit a workflow's schema.

    Attributes:
        workflow: the workflow's name.
        errors: what is wrong, one entry a field, as pydantic reports it.
    """

    def __init__(self, message: str, *, workflow: str, errors: list[dict[str, Any]] | None = None) -> None:
        super().__init__(message)
        self.workflow = workflow
        self.errors = errors or []


class InvalidInput(_Misfit):
    """The input does not fit the workflow's schema. Raised by a start, it says that nothing was stored.

    Attributes:
        workflow: the workflow's name.
        errors: what is wrong, one entry a field, as pydantic reports it.
        place: which of the inputs of `start_many` it is, from 0 on; None of any other start.
    """

    place: int | None = None


class InvalidOutput(_Misfit):
    """What the workflow returned does not fit its schema.

    Attributes:
        workflow: the workflow's name.
        errors: what is wrong, one entry a field, as pydantic reports it.
    """


class NotSerializable(StepwellError):
    """JSON does not give this value back unchanged.

    Attributes:
        what: what it is a value of, `step 'load'`.
        path: where in the value, `$.items[3].price`.
    """

    def __init__(self, message: str, *, what: str, path: str) -> None:
        super().__init__(message)
        self.what = what
        self.path = path


class PayloadTooLarge(StepwellError):
    """A value is larger than `max_payload`.

    Attributes:
        what: what it is a value of, `step 'load'`.
        size: of the encoded value, in bytes.
        limit: in bytes.
    """

    def __init__(self, *, what: str, size: int, limit: int) -> None:
        super().__init__(
            f"{what} gives {size:,} bytes of JSON, and max_payload is {limit:,}. "
            "Store large data elsewhere and return where it is, or raise max_payload."
        )
        self.what = what
        self.size = size
        self.limit = limit


class RunNotFound(StepwellError):
    """No run has this id."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"there is no run {run_id}; it may have been deleted")
        self.run_id = run_id


class ScheduleNotFound(StepwellError):
    """No workflow of this name has a schedule of this name, or no release declares it any more.

    Attributes:
        workflow: the workflow's name.
        schedule: the name of the schedule.
    """

    def __init__(self, workflow: str, schedule: str, known: Iterable[str] = (), *, ended: bool = False) -> None:
        names = ", ".join(repr(name) for name in sorted(known))
        advice = f"it has {names}" if names else "a worker that declares it makes it known"
        if ended:
            super().__init__(f"schedule {schedule!r} of workflow {workflow!r} has ended: no release declares it any more")
        else:
            super().__init__(f"workflow {workflow!r} has no schedule {schedule!r}; {advice}")
        self.workflow = workflow
        self.schedule = schedule


class WorkflowNotFound(StepwellError):
    """Nobody knows a workflow of this name and version."""

    def __init__(self, message: str, *, workflow: str, version: str | None = None) -> None:
        super().__init__(message)
        self.workflow = workflow
        self.version = version


class WorkerNotFound(StepwellError):
    """No worker of this id or name is registered; it may have left.

    Attributes:
        worker: what was looked for.
    """

    def __init__(self, worker: str, known: Iterable[str] = ()) -> None:
        names = ", ".join(sorted(set(known))) or "none at all"
        super().__init__(f"there is no worker {worker!r}; it may have left. There are: {names}")
        self.worker = worker


class IllegalTransition(StepwellError):
    """The run's status does not allow this action."""

    def __init__(self, *, run_id: str, status: str, action: str) -> None:
        super().__init__(f"run {run_id} is {status}; it cannot {action} from there")
        self.run_id = run_id
        self.status = status
        self.action = action


class _Caused(StepwellError):
    """An error that carries another one as data."""

    error: ErrorInfo

    def caused_by(self, kind: type[BaseException] | str) -> bool:
        """Whether the recorded error, or one it was caused by, is of this class or of one derived from it."""
        return self.error.caused_by(kind)


class RunFailed(_Caused):
    """The run has failed. `error` says how."""

    def __init__(self, *, run_id: str, workflow: str, error: ErrorInfo) -> None:
        super().__init__(f"run {run_id} of {workflow} failed: {error}")
        self.run_id = run_id
        self.workflow = workflow
        self.error = error


class RunCanceled(StepwellError):
    """The run was canceled."""

    def __init__(self, *, run_id: str, workflow: str) -> None:
        super().__init__(f"run {run_id} of {workflow} was canceled")
        self.run_id = run_id
        self.workflow = workflow


class StepFailed(_Caused):
    """A step has used up its retries. Raised at its `await`, now and on every replay.

    Attributes:
        step: the step's name.
        key: which of the run's steps: the name, with its branch and number where there are several.
        attempts: how often it was tried.
        error: the last attempt's error.
    """

    def __init__(self, *, step: str, key: str, attempts: int, error: ErrorInfo) -> None:
        times = "1 attempt" if attempts == 1 else f"{attempts} attempts"
        super().__init__(f'step "{step}" failed after {times}: {error}')
        self.step = step
        self.key = key
        self.attempts = attempts
        self.error = error


class ChildFailed(_Caused):
    """A child run has failed, or was canceled."""

    def __init__(self, *, step: str, key: str, run_id: str, workflow: str, error: ErrorInfo) -> None:
        super().__init__(f"child run {run_id} of {workflow} failed: {error}")
        self.step = step
        self.key = key
        self.run_id = run_id
        self.workflow = workflow
        self.error = error


class MailboxFull(StepwellError):
    """The run has so many signals that it takes no more.

    Attributes:
        run_id: the run's id.
        limit: how many signals it may have, read or not.
    """

    def __init__(self, *, run_id: str, limit: int) -> None:
        super().__init__(
            f"run {run_id} has {limit:,} signals, the most that a run may have. "
            "Let it go on as new now and then (ContinueAsNew), which clears away those that it has read."
        )
        self.run_id = run_id
        self.limit = limit


class WaitTimeout(StepwellError, TimeoutError):
    """What a body awaited did not come in time: a signal, or the end of a child. Raised at its `await`, now and on every replay.

    Attributes:
        step: the name under which it was awaited.
        key: which of the run's steps that was.
    """

    def __init__(self, message: str, *, step: str, key: str) -> None:
        super().__init__(message)
        self.step = step
        self.key = key


class NotInStep(StepwellError):
    """The body of a workflow does what belongs into a step, where it runs once and is remembered."""


class OutsideRun(StepwellError):
    """A step is called where no run can record it: in another step, outside of its run, or after its end."""


class DeadlineExceeded(StepwellError):
    """The run took longer than the workflow's `timeout`."""


class StepTimeout(StepwellError, TimeoutError):
    """An attempt of a step took longer than the step's `timeout`. The next attempt may be faster: it is retried."""


class WorkerCrashed(StepwellError):
    """The run took its worker process down too often in a row."""


class NonRetryable(StepwellError):
    """Raise it in a step or a body to fail at once, whatever the retry policy says.

    Example:
        raise NonRetryable("the card number is wrong")
    """


class NonDeterminism(StepwellError):
    """The code no longer fits what is recorded. The run is paused, nothing has been done twice.

    Attributes:
        key: the recorded step that the code does not account for.
    """

    def __init__(self, message: str, *, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key


class Stuck(StepwellError):
    """The body waits for something that nothing will ever bring."""


class TooSlow(StepwellError):
    """What was asked for an overview would take too long. Ask for less: a shorter time, one status, one workflow."""


class DatabaseTooNew(StepwellError):
    """The database was written by a newer Stepwell than this one."""


class DatabaseUnavailable(StepwellError):
    """The database cannot be reached, or did not answer: what was asked may or may not have been done.

    Attributes:
        permanent: whether waiting will not help: the file is no database, say.
    """

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


class ContinueAsNew(BaseException):
    """Raise it in a body to end the run and go on under the same id, with this input and an empty history.

    It is no Exception, so that `except Exception` in a body lets it pass.

    Example:
        if step_count > 5_000:
            raise ContinueAsNew(cursor)
    """

    def __init__(self, input: Any = None) -> None:
        super().__init__("the run goes on as new")
        self.input = input
