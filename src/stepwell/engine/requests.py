"""What a body waits for. Each request is the future that the body awaits, so that no cycle is left for the garbage collector."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from stepwell.core.children import mail_from
from stepwell.core.codec import payload_value
from stepwell.core.failure import error_from
from stepwell.core.history import Diverged, Finding
from stepwell.core.naming import name_of
from stepwell.core.records import Kind
from stepwell.errors import ChildFailed, DefinitionError, NotSerializable, StepFailed, StepwellError, WaitTimeout

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from stepwell.core.codec import Codec
    from stepwell.core.definition import StepFunction
    from stepwell.core.records import Outcome, StartChild, Tried
    from stepwell.core.retry import Retry
    from stepwell.engine.effects import Effect
    from stepwell.engine.runloop import RunLoop

NOTHING: Final[Any] = object()
"""Where None is a value."""

PYTHON: Final = sys.version_info.major * 100 + sys.version_info.minor
"""This interpreter, as outcomes keep it."""


class Asker(Protocol):
    """The run that the requests are of."""

    @property
    def id(self) -> str: ...  # noqa: D102  # the run's
    @property
    def generation(self) -> int: ...  # noqa: D102  # how often it has gone on as new

    def withdrawn(self, request: Request) -> None:
        """The body has canceled it."""


class Request(asyncio.Future[Any]):
    """Something that the body has asked for, under a key."""

    __slots__ = ("asked", "key", "run")

    kind: ClassVar[Kind]

    def __init__(self, run: Asker, loop: RunLoop, key: str, asked: int) -> None:
        super().__init__(loop=loop)
        self.run = run
        self.key = key
        self.asked = asked

    def cancel(self, msg: Any | None = None) -> bool:
        """The body waits no longer: a consequence of what was delivered to it, which therefore needs no record."""
        canceled = super().cancel(msg)
        if canceled:
            self.run.withdrawn(self)
        return canceled

    def deliver(self, outcome: Outcome) -> None:
        """Hand the outcome to the body."""
        raise NotImplementedError


class SleepRequest(Request):
    """`step.sleep`: a timer that operators see as a step."""

    __slots__ = ("due", "started_at")

    kind = Kind.SLEEP

    def __init__(self, run: Asker, loop: RunLoop, key: str, asked: int, due: float, started_at: float) -> None:
        super().__init__(run, loop, key, asked)
        self.due = due
        self.started_at = started_at

    def deliver(self, outcome: Outcome) -> None:  # noqa: ARG002  # that it has fired is all there is to it
        """It has fired."""
        self.set_result(None)


class ValueRequest(Request):
    """`step.now`, `step.uuid`, `step.random`: chance, recorded."""

    __slots__ = ("decode", "make")

    kind = Kind.VALUE

    def __init__(self, run: Asker, loop: RunLoop, key: str, asked: int, make: Callable[[], str], decode: Callable[[str], Any]) -> None:
        super().__init__(run, loop, key, asked)
        self.make = make
        self.decode = decode

    def deliver(self, outcome: Outcome) -> None:
        """The value that was recorded."""
        self.set_result(self.decode(outcome.value or ""))


class SignalRequest(Request):
    """`step.wait_for_signal`: the next signal of a name."""

    __slots__ = ("answered", "codec", "due", "signal", "started_at")

    kind = Kind.SIGNAL

    def __init__(
        self, run: Asker, loop: RunLoop, key: str, asked: int, signal: str, due: float | None, started_at: float, codec: Codec
    ) -> None:
        super().__init__(run, loop, key, asked)
        self.signal = signal
        self.due = due
        self.started_at = started_at
        self.codec = codec
        self.answered = False
        """Its outcome is on its way: there is no other."""

    def late(self) -> WaitTimeout:
        """What is raised when time is up."""
        return WaitTimeout(f"no signal {self.signal!r} came in time", step=self.signal, key=self.key)

    def deliver(self, outcome: Outcome) -> None:
        """The signal's payload, or that none came in time."""
        if not outcome.ok:
            self.set_exception(self.late())
            return
        try:
            self.set_result(payload_value(self.codec, outcome.value or "null", signal=self.signal))
        except StepwellError as error:
            self.set_exception(error)


class ChildRequest(SignalRequest):
    """`step.execute` and `step.start`: a run that the body starts. What it waits for comes into the mailbox, under a name of its own."""

    __slots__ = ("attempt", "awaited", "begun", "start", "tried")

    kind = Kind.CHILD

    def __init__(
        self, run: Asker, loop: RunLoop, key: str, asked: int, start: StartChild, due: float | None, codec: Codec, attempt: int, tried: bool
    ) -> None:
        super().__init__(run, loop, key, asked, mail_from(start.new.id), due, loop.now, codec)
        self.start = start
        self.awaited = start.new.awaited_as is not None
        self.attempt = attempt
        self.tried = tried
        """Whether an earlier life of the run has canceled it."""
        self.begun = False

    @property
    def child(self) -> str:
        """The id of the run; another one where a key is given and taken."""
        return self.start.new.id

    def late(self) -> WaitTimeout:
        """What is raised when time is up."""
        new = self.start.new
        return WaitTimeout(
            f"child run {new.id} of {new.workflow} has not ended in time, and is canceled", step=name_of(self.key), key=self.key
        )

    def deliver(self, outcome: Outcome) -> None:
        """The child's output, or its failure; of one that is not awaited, its id."""
        if outcome.ok:
            try:
                self.set_result(self.codec.decode(outcome.value or "null", f"the output of child run {outcome.child}"))
            except StepwellError as error:
                self.set_exception(error)
        elif outcome.mark:
            self.set_exception(
                ChildFailed(
                    step=name_of(self.key), key=self.key, run_id=outcome.child or self.child, workflow=self.start.new.workflow,
                    error=error_from(outcome.value or "{}"),
                )
            )  # fmt: skip
        else:
            self.set_exception(self.late())


class StepRequest(Request):
    """A call of a step, and all that is known of its attempts."""

    __slots__ = (
        "args",
        "attempt",
        "cause",
        "codec",
        "context",
        "due",
        "failures",
        "function",
        "kwargs",
        "mark",
        "retry",
        "started_at",
        "task",
        "timeout",
        "value",
    )

    kind = Kind.FUNCTION

    def __init__(
        self, run: Asker, loop: RunLoop, key: str, asked: int, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any],
        retry: Retry, timeout: float | None, codec: Codec, context: Context, mark: int, tried: Tried,
    ) -> None:  # fmt: skip
        asyncio.Future.__init__(self, loop=loop)  # not by way of Request: this is made for every step
        self.run = run
        self.key = key
        self.asked = asked
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.retry = retry
        self.timeout = timeout
        self.codec = codec
        self.context = context
        self.mark = mark
        self.attempt, self.failures, self.due, _ = tried
        self.started_at = 0.0
        self.task: asyncio.Task[None] | None = None
        self.value: Any = NOTHING  # of the last attempt, decoded from what is being stored; on replay it comes from the record
        self.cause: BaseException | None = None

    @property
    def name(self) -> str:
        """The step's name."""
        return name_of(self.key)

    @property
    def idempotency_key(self) -> str:
        """The same on every attempt and replay, and for no other step of any run."""
        generation = self.run.generation
        return f"{self.run.id}:{generation}:{self.key}" if generation else f"{self.run.id}:{self.key}"

    def call(self, step_function: StepFunction[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A `@step` function called within this step is the plain function."""
        return step_function.function(*args, **kwargs)

    def deliver(self, outcome: Outcome) -> None:
        """The result, or the failure that the step ended with."""
        if not outcome.ok:
            failure = StepFailed(step=self.name, key=self.key, attempts=outcome.attempt, error=error_from(outcome.value or ""))
            failure.__cause__ = self.cause
            self.set_exception(failure)
        elif self.value is not NOTHING:
            self.set_result(self.value)
        else:
            self.set_result(self._decoded(outcome))

    def _decoded(self, outcome: Outcome) -> Any:
        try:
            return self.codec.decode(outcome.value or "")
        except (NotSerializable, DefinitionError) as error:
            what = f"the result recorded for step {self.key!r} does not fit the type that the step returns now: {error}"
            raise Diverged(Finding(what, self.key, (), (), (), outcome.python)) from error


class TransactionRequest(StepRequest):
    """A call of `step.transaction`."""

    __slots__ = ("effect",)

    effect: Effect
    """Of the attempt under way, or the last one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepInfo:
    """The step that runs now, from within: `stepwell.current_step()`."""

    run_id: str
    key: str
    name: str
    attempt: int
    """1 for the first."""
    idempotency_key: str
    """The same on every attempt and replay. Hand it to whoever must not do the thing twice."""
