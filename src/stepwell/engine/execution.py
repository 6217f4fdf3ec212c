"""One run in the memory of its worker: steps its body, and brings outcomes to it through the gate.

`pump` is the heart: run the body until it is quiescent, deliver the next outcome, again. Then start what the body has asked for, and
see whether the run has ended, diverged, waits for time, or waits for nothing at all. The decisions are made by `core.history`; how
steps are executed is another module's, and so is what is written to the database.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import sys
from contextlib import suppress
from contextvars import copy_context
from itertools import count
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, Protocol

from stepwell.core import definition
from stepwell.core.codec import codec_of, input_text, input_value, output_text, result_annotation
from stepwell.core.ending import Complete, Diverge, Ending, Fail, GoOnAsNew, LetGo, RetryLater
from stepwell.core.failure import describe, error_text
from stepwell.core.history import Diverged, History
from stepwell.core.mark import mark_of
from stepwell.core.definition import StepFunction
from stepwell.core.naming import BODY, function_name, key_name
from stepwell.core.records import Attempt, Kind, LogEntry, Move, Outcome, Progress, RunInfo, instant
from stepwell.core.retry import DEFAULT_RETRY
from stepwell.core.status import Action, RunStatus, after
from stepwell.engine.attempts import is_async
from stepwell.engine.body_thread import BodyThread
from stepwell.engine.explain import explain
from stepwell.engine.logger import Logger
from stepwell.engine.requests import SleepRequest, StepRequest, ValueRequest
from stepwell.engine.runloop import RunLoop, Timer, Unwind
from stepwell.engine.step import MAX_EXECUTING, Step
from stepwell.errors import (
    ContinueAsNew,
    NonDeterminism,
    NonRetryable,
    NotSerializable,
    OutsideRun,
    StepwellError,
    Stuck,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from stepwell.core.codec import Codec
    from stepwell.core.definition import Workflow
    from stepwell.core.history import Finding
    from stepwell.core.records import Claimed
    from stepwell.core.retry import Retry
    from stepwell.engine.alarms import Alarms
    from stepwell.engine.attempts import StepRunner
    from stepwell.engine.clock import Clock
    from stepwell.engine.committer import Committer
    from stepwell.engine.requests import Request

log = logging.getLogger(__name__)

MAX_REFUSALS: Final = 1_000
"""How often a body that is being left is told so."""

_LINES: Final = count(1)
"""Numbers the lines that steps log, from whatever thread."""

_PYTHON: Final = sys.version_info.major * 100 + sys.version_info.minor
_BUSY_SECONDS: Final = 1.0
_OWNED: Final = (RunStatus.RUNNING, RunStatus.SLEEPING)
_WOKEN: Final = (*_OWNED, RunStatus.PENDING)

Due = Timer | SleepRequest | StepRequest


class Host(Protocol):
    """The worker, as a run sees it."""

    loop: asyncio.AbstractEventLoop
    thread: int
    """In which the loop runs."""
    clock: Clock
    committer: Committer
    alarms: Alarms
    steps: StepRunner
    max_payload: int
    park_after: float
    """Seconds; a run that waits shorter keeps its slot."""

    def parked(self, execution: Execution) -> None:
        """It waits, and gives up its slot."""

    def woken(self, execution: Execution) -> bool:
        """It wants a slot again; False: it gets one later, by `ring`."""

    def left(self, execution: Execution, ending: Ending | None) -> None:
        """It has left memory. None: it was taken away, or canceled."""


class Execution:
    """One run, from its claim until it ends, is let go of, or is taken away."""

    __slots__ = (
        "_asked", "_busy_since", "_closing", "_due", "_due_count", "_ending", "_held", "_log_count", "_log_place", "_main",
        "_pump_scheduled", "_refusals", "_resuming", "_step", "_stopping", "_workflow", "alarm_at", "body_thread", "claimed", "computing", "executing", "history",
        "host", "id", "loop", "over", "parked",
    )  # fmt: skip

    def __init__(self, claimed: Claimed, workflow: Workflow[Any, Any], host: Host) -> None:
        self.id = claimed.id
        self.claimed = claimed
        self.host = host
        self.history = History(claimed.outcomes, claimed.tried, claimed.started_at)
        # Where a retry has taken outcomes back, lines of log still stand at their numbers: those are not given again.
        self.history.last_seq = self.history.durable = max(self.history.last_seq, claimed.logged[0])
        self.loop = RunLoop(self, claimed.started_at)
        self.executing: dict[str, StepRequest] = {}
        self.alarm_at: float | None = None
        self.parked = False
        self.over = False
        """The body has been left; what still comes in is ignored."""
        self.computing = False
        """The thread of a `def` body is at work: the run is not quiescent."""
        self._workflow = workflow
        self._step: Any = None
        self._main: asyncio.Task[Any] | None = None
        self.body_thread: BodyThread | None = None
        self._asked = 0  # steps, and timers that have fired
        self._held: list[StepRequest | ValueRequest] = []  # asked for, not yet started
        self._due: list[tuple[float, int, Due]] = []
        self._due_count = 0
        self._stopping = False  # paused: nothing is delivered or started any more
        self._resuming = False
        self._ending: Ending | None = None
        self._closing: Move | None = None  # the write of the ending, until it is answered
        self._pump_scheduled = False
        self._busy_since: float | None = None
        self._refusals = 0
        self._log_place = -1
        self._log_count = 0

    @property
    def busy(self) -> bool:
        """Whether something goes on in it, other than waiting for time or for an operator."""
        return self.computing or self._pump_scheduled or bool(self.executing)

    @property
    def generation(self) -> int:
        """How often the run has gone on as new."""
        return self.claimed.generation

    # -- the heart

    def begin(self) -> None:
        """Call the user's function with its input. From a plain callback of the worker's loop."""
        try:
            body = self._body()
        except StepwellError as refused:  # the input does not fit, or its type cannot be told
            self._finish(Fail(describe(refused)))
            return
        context = copy_context()
        context.run(definition.body.set, self)
        self.loop.thread = get_ident()
        self._main = self.loop.start(body, context)
        self.pump()

    def _body(self) -> Any:
        workflow, claimed = self._workflow, self.claimed
        value = self._input()
        if not workflow.is_async:
            self.body_thread = thread = BodyThread(self)
            self._step = thread.step
        else:
            thread = None
            self._step = Step(self)
        wanted = workflow.parameters
        arguments = workflow.arguments(
            value,
            step=self._step,
            logger=Logger(self) if "logger" in wanted else None,
            version=claimed.version,
            run=self._info() if "run" in wanted else None,
        )
        if thread is not None:
            return thread.drive(workflow.function, arguments)
        if is_async(workflow.function):
            return workflow.function(**arguments)
        return _awaited(workflow.function, arguments)

    def _input(self) -> Any:
        workflow, text = self._workflow, self.claimed.input
        if text == "null" and workflow.input_optional:
            return None
        return input_value(codec_of(workflow.input_annotation), text, workflow=workflow.name)

    def _info(self) -> RunInfo:
        run = self.claimed
        return RunInfo(
            id=run.id,
            workflow=run.workflow,
            version=run.version,
            attempt=run.attempt,
            created_at=instant(run.created_at),
            started_at=instant(run.started_at),
            scheduled_at=None if run.scheduled_at is None else instant(run.scheduled_at),
            tags=run.tags,
        )

    def pump(self) -> None:
        """Take the run as far as it goes. From plain callbacks of the worker's loop only."""
        if self.over:
            return
        loop, history = self.loop, self.history
        loop.thread = get_ident()
        try:
            while True:
                if not loop.run_ready():
                    if self._stopping:
                        self._stop()
                    if not self.over:
                        self._yield_turn()
                    return
                if self.computing:
                    return
                if self._main.done():  # type: ignore[union-attr]
                    self._end(self._main)  # type: ignore[arg-type]
                    return
                if self._stopping:
                    self._stop()
                    return
                met = history.next()
                if met is None:
                    break
                request, outcome = met
                loop.now = outcome.at
                if outcome.kind == Kind.TIMER:
                    self._asked += 1
                request.deliver(outcome)
            if history.replaying and not self._caught_up():
                return
            if history.changed_arguments:
                self._warn_of_changed_arguments()
        except Diverged as divergence:
            self._diverge(divergence.finding)
            return
        finally:
            loop.thread = 0
        self._busy_since = None
        if self._held:
            self._start_held()
        if self._due or not self.executing:
            self._wait()

    def _yield_turn(self) -> None:
        """The body has run long without waiting for anything: let other runs have their turn."""
        now = self.host.loop.time()
        if self._busy_since is None:
            self._busy_since = now
        elif now - self._busy_since > _BUSY_SECONDS:
            self._busy_since = now
            places = "\n  ".join(self.loop.places()) or "unknown"
            log.warning("run %s of %s has been computing for over a second without a step; it is at\n  %s", self.id, self._workflow.name, places)
        self.schedule_pump()

    def schedule_pump(self) -> None:
        """Pump in the next turn of the worker's loop."""
        if not self._pump_scheduled:
            self._pump_scheduled = True
            self.host.loop.call_soon(self._scheduled_pump)

    def _scheduled_pump(self) -> None:
        self._pump_scheduled = False
        self.pump()

    def _caught_up(self) -> bool:
        """All that is recorded has been delivered. What came due meanwhile goes first: it may cancel what the body has asked for."""
        history = self.history
        if history.waiting:
            return False
        history.caught_up()
        if self._admit_due():
            return False
        history.live()
        return True

    def _start_held(self) -> None:
        held, self._held = self._held, []
        for place, request in enumerate(held):
            if len(self.executing) >= MAX_EXECUTING:
                self._held = held[place:]
                return
            if request.done():
                continue  # canceled while it was held
            if isinstance(request, StepRequest):
                self._start(request)
            else:
                now = self.host.clock.now()
                self.admit(request, request.kind, True, request.make(), now, 0, 1)

    # -- what the body asks for

    def ask_step(  # noqa: PLR0913
        self, name: str | None, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], retry: Retry | None = None,
        timeout: float | None = None, codec: Codec | None = None, key: str | None = None,
    ) -> StepRequest:  # fmt: skip
        """The body calls a step. It is started when the body is quiescent, unless its outcome is recorded."""
        loop = self._asked_in_body(name or function)
        if self.over or loop.closing:
            return self._left()  # type: ignore[no-any-return]
        if type(function) is StepFunction:
            name = name or function.name
            retry = retry or function.retry
            if timeout is None and function.timeout is not None:
                timeout = function.timeout.total_seconds()
            function = function.function
        elif name is None:
            name = function_name(function, "step")
        if codec is None:
            codec = codec_of(result_annotation(function))
        if key is None:
            key = loop.branch().key(key_name(name))
        history = self.history
        mark = mark_of(name, args, kwargs) if args or kwargs else 0
        request = StepRequest(
            self, loop, key, history.delivered, function, args, kwargs, retry or self._workflow.retry or DEFAULT_RETRY, timeout, codec,
            copy_context() if self.body_thread is None else self.body_thread.context, mark,
        )  # fmt: skip
        tried = history.tried(key)
        request.attempt = tried.attempts
        request.failures = tried.failures
        request.due = tried.due
        history.meet(key, request, mark)
        self._limit_steps()
        self._held.append(request)
        return request

    def ask_sleep(self, name: str, until: float | None, seconds: float | None) -> SleepRequest:
        """The body sleeps: until an instant, or for a time."""
        loop = self._asked_in_body(name)
        if self.over or loop.closing:
            return self._left()  # type: ignore[no-any-return]
        key = loop.branch().key(key_name(name))
        due = loop.now + seconds if seconds is not None else until
        request = SleepRequest(self, loop, key, self.history.delivered, due, loop.now)  # type: ignore[arg-type]
        self.history.meet(key, request)
        self._limit_steps()
        self._remember(request.due, request)
        return request

    def ask_value(self, name: str, make: Callable[[Clock], str], decode: Callable[[str], Any]) -> ValueRequest:
        """The body wants to know the time, or a random number."""
        loop = self._asked_in_body(name)
        if self.over or loop.closing:
            return self._left()  # type: ignore[no-any-return]
        key = loop.branch().key(name)
        clock = self.host.clock
        request = ValueRequest(self, loop, key, self.history.delivered, lambda: make(clock), decode)
        self.history.meet(key, request)
        self._limit_steps()
        self._held.append(request)
        return request

    def reserve_keys(self, name: str, count: int) -> list[str]:
        """The next `count` keys of this name on the branch of the caller."""
        loop = self._asked_in_body(name)
        if self.over or loop.closing:
            raise Unwind
        branch = loop.branch()
        escaped = key_name(name)
        return [branch.key(escaped) for _ in range(count)]

    def call(self, step_function: StepFunction[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A `@step` function is called in the body."""
        if self._step is None:  # the thread of a `def` body that has been left
            raise Unwind
        return self._step.run(step_function, *args, **kwargs)

    def _asked_in_body(self, what: object) -> RunLoop:
        loop = self.loop
        if loop.thread != get_ident():
            raise OutsideRun(self._outside(what))
        return loop

    def _left(self) -> Any:
        """What a body gets that is being left: `Unwind`. One that catches even this for ever waits for ever, and is closed by force."""
        self._refusals += 1
        if self._refusals <= MAX_REFUSALS:
            raise Unwind
        return self.loop.create_future()

    def _outside(self, what: object) -> str:
        name = what if isinstance(what, str) else getattr(what, "__name__", repr(what))
        asker = definition.body.get()
        if isinstance(asker, StepRequest):
            return (
                f"step {name!r} is called inside step {asker.name!r}. A step is one unit: it runs again as a whole. "
                "Call the function itself, or return from the step and call the other one in the body."
            )
        return (
            f"step {name!r} is called outside of the body of run {self.id}, from another thread, loop or task. "
            "Only the body, and the tasks that it makes, can call steps."
        )

    def _limit_steps(self, counted: int = 1) -> None:
        self._asked += counted
        if self._asked > self._workflow.max_steps:
            raise NonRetryable(
                f"this run has asked for more than max_steps={self._workflow.max_steps:,} steps and timers. "
                "Go on with an empty history by `raise ContinueAsNew(input)`, split the work into child runs, or raise max_steps."
            )

    def timer_set(self, timer: Timer) -> None:
        """asyncio sets a timer in the body."""
        if self.over or self.loop.closing:
            self._left()
            return
        self._limit_steps(counted=0)
        timer.asked = self.history.delivered
        self.history.meet(timer.key, timer)
        self._remember(timer.deadline, timer)

    def timer_canceled(self, timer: Timer) -> None:
        """asyncio cancels it."""
        if not self.over:
            self.history.withdraw(timer.key)

    def withdrawn(self, request: Request) -> None:
        """The body has canceled what it awaited."""
        if self.over:
            return
        self.history.withdraw(request.key)
        if isinstance(request, StepRequest) and request.task is not None:
            self.host.steps.cancel(self, request)

    def stray_error(self, error: BaseException, message: str) -> None:
        """An error in the body that nobody awaited."""
        if not self.over and not isinstance(error, Unwind):
            log.warning("run %s of %s: an error that nobody awaited (%s)", self.id, self._workflow.name, message, exc_info=error)

    def hand_over(self, future: asyncio.Future[Any], message: Any) -> None:
        """The thread of a `def` body says something: the body is at the next step, or at its end."""
        if self.over:
            return
        self.loop.thread = get_ident()
        future.set_result(message)
        self.pump()

    # -- outcomes

    def admit(self, request: Request | Timer, kind: Kind, ok: bool, value: str | None, now: float, mark: int, attempt: int, started_at: float | None = None) -> None:  # noqa: E501, PLR0913
        """Something has come to pass: number it, and let it be written. The body sees it when it is durable."""
        claimed = self.claimed
        outcome = self.history.admit(
            self.id, claimed.claim, request.key, request.asked, kind, ok, value, now, mark, attempt, now if started_at is None else started_at, _PYTHON
        )  # fmt: skip
        self.host.committer.put(outcome, self)

    def _start(self, request: StepRequest) -> None:
        if request.due > self.host.clock.now():
            self._remember(request.due, request)
            return
        self.executing[request.key] = request
        self.host.steps.start(self, request)

    def step_ended(self, request: StepRequest, ok: bool, value: str, now: float) -> None:
        """The last attempt of a step has ended."""
        del self.executing[request.key]
        self.admit(request, Kind.FUNCTION, ok, value, now, request.mark, request.attempt, request.started_at)

    def attempt_failed(self, request: StepRequest, error: str, now: float) -> None:
        """An attempt has failed; the next is due at `request.due`."""
        self._put_attempt(request, error, now, request.due, canceled=False)
        self._remember(request.due, request)
        self._attempt_over(request)

    def attempt_canceled(self, request: StepRequest, now: float) -> None:
        """An attempt that the body did not wait for has ended: its result counts for nothing."""
        if not self.over:
            self._put_attempt(request, None, now, None, canceled=True)
        self._attempt_over(request)

    def attempt_not_begun(self, request: StepRequest) -> None:
        """An attempt was canceled before its first line."""
        self._attempt_over(request)

    def _put_attempt(self, request: StepRequest, error: str | None, now: float, due: float | None, *, canceled: bool) -> None:
        self.host.committer.put(
            Attempt(self.id, self.claimed.claim, request.key, request.attempt, request.asked, canceled, error, request.started_at, now, due), self
        )

    def _attempt_over(self, request: StepRequest) -> None:
        self.executing.pop(request.key, None)
        if not self.over:
            self.schedule_pump()  # it may have been what kept the run from waiting

    def refused(self, write: Any, error: Exception) -> None:
        """The database will not take a write."""
        if self.over:
            if write is self._closing:
                failure = NotSerializable(f"the run's output cannot be stored: {error}", what="the output", path="$")
                self._write_ending(Fail(describe(failure)))
            return
        if not isinstance(write, Outcome):
            log.error("run %s: not recorded: %s", self.id, write)
            return
        if not write.ok or write.kind != Kind.FUNCTION:
            raise RuntimeError(f"run {self.id}: the database refuses outcome {write.seq} of {write.key!r}") from error
        self.history.retract(write.seq)
        what = f"the result of step {write.key!r}"
        failure = NotSerializable(f"{what} cannot be stored: {error}", what=what, path="$")
        request = self.history.request(write.key)
        if request is not None:
            self.admit(request, Kind.FUNCTION, False, error_text(describe(failure)), self.host.clock.now(), write.mark, write.attempt, write.started_at)  # type: ignore[arg-type]  # noqa: E501

    # -- what the database says

    def written(self, write: Any, status: RunStatus | None) -> None:
        """A write is durable; this is how the run stood when it was applied."""
        if self.over:
            if write is self._closing:
                self._ending_written(status)
            return
        if type(write) is Outcome:
            self.history.durable = write.seq
            if status is RunStatus.RUNNING:
                self.pump()
                return
        elif type(write) is Move and write.action is Action.WAKE:
            self._resuming = False
            if status in _WOKEN:
                self._stopping = False
                self.pump()
                return
        self.stands(status)

    def stands(self, status: RunStatus | None) -> None:
        """An operator has acted on the run, or another worker has it."""
        if self.over:
            return
        if status is RunStatus.PAUSED:
            self._stopping = True
            self.pump()
        elif status is RunStatus.PENDING:
            self._resumed()
        elif status not in _OWNED:
            self._drop()

    def _resumed(self) -> None:
        """Resumed before it could be let go of: it goes on where it is."""
        if not self._resuming:
            self._resuming = True
            self._move(Action.WAKE, keep=True)

    def _move(self, action: Action, *, keep: bool = False, due: float | None = None) -> Move:
        move = Move(self.id, self.claimed.claim, action, due=due, keep=keep)
        self.host.committer.put(move, self)
        return move

    # -- time

    def _remember(self, due: float, what: Due) -> None:
        self._due_count += 1
        heapq.heappush(self._due, (due, self._due_count, what))
        if self._due_count % 256 == 0:  # timers that were canceled (a timeout that was not needed) would pile up
            self._due = [entry for entry in self._due if self._awaited(entry[2])]
            heapq.heapify(self._due)

    def _awaited(self, what: Due) -> bool:
        """Neither canceled by the body nor delivered from the record: a replayed timer is in the heap as well."""
        return self.history.awaits(what.key, what)

    def _next_due(self) -> float | None:
        due = self._due
        while due and not self._awaited(due[0][2]):
            heapq.heappop(due)
        return due[0][0] if due else None

    def ring(self) -> None:
        """Something is due, or the run may have the slot that it waits for."""
        if self.over or self._stopping or self.computing:
            return
        if self.parked:
            if not self.host.woken(self):
                return
            self.parked = False
            self._move(Action.WAKE, keep=True)
        if not self._admit_due():
            self.schedule_pump()
        self.host.alarms.set(self, self._next_due())

    def _admit_due(self) -> bool:
        """Number the timers that are due, by due time and creation, and hold the attempts that are; whether there was a timer."""
        now, due, admitted = self.host.clock.now(), self._due, False
        while due and (due[0][0] <= now or not self._awaited(due[0][2])):
            what = heapq.heappop(due)[2]
            if not self._awaited(what):
                continue
            if isinstance(what, StepRequest):
                self._held.append(what)  # begun after the timers, which may cancel it
            else:
                started_at = what.started_at if isinstance(what, SleepRequest) else None
                self.admit(what, what.kind, True, None, now, 0, 1, started_at)
                admitted = True
        return admitted

    def _wait(self) -> None:
        when = self._next_due()
        host = self.host
        if self.executing or self._held or self.history.waiting:
            host.alarms.set(self, when)
            return
        if when is None:
            self._finish(Fail(describe(Stuck("the body waits for something that nothing will ever bring: " + self._whereabouts()))))
            return
        if not self.parked and when - host.clock.now() >= host.park_after:
            if self.body_thread is not None:
                self._finish(LetGo(when))  # a thread that only waits would cost more than the replay
                return
            self.parked = True
            self._move(Action.PARK, keep=True, due=when)
            host.parked(self)
            if self.over:
                return  # there are too many
        host.alarms.set(self, when)

    def _whereabouts(self) -> str:
        return "; ".join(self.loop.places()) or "no task of it is left"

    # -- how it leaves

    def _end(self, main: asyncio.Task[Any]) -> None:
        """The body is done."""
        if main.cancelled():
            self._finish(self._after(asyncio.CancelledError("the body was canceled, and not by Stepwell")))
        elif (error := main.exception()) is not None:
            self._finish(self._after(error))
        else:
            self.history.ended()
            try:
                output = self._output_text(main.result())
            except StepwellError as refused:
                self._finish(Fail(describe(refused)))
            else:
                self._finish(Complete(output))

    def _after(self, error: BaseException) -> Ending:
        """What becomes of a run whose body has raised."""
        if isinstance(error, ContinueAsNew):
            self.history.ended()  # like a return: what is recorded is about to go
            try:
                return GoOnAsNew(self._input_text(error.input))
            except StepwellError as refused:
                return Fail(describe(refused))
        attempt, clock = self.claimed.attempt, self.host.clock
        delay = (self._workflow.retry or DEFAULT_RETRY).next(error, attempt, clock.random())
        if delay is None:
            return Fail(describe(error))
        return RetryLater(clock.now() + delay.total_seconds(), attempt + 1, describe(error))

    def _output_text(self, value: Any) -> str:
        workflow = self._workflow
        return output_text(codec_of(workflow.output_annotation), value, workflow=workflow.name, limit=self.host.max_payload)

    def _input_text(self, value: Any) -> str:
        workflow = self._workflow
        if value is None and workflow.input_optional:
            return "null"
        return input_text(codec_of(workflow.input_annotation), value, workflow=workflow.name, limit=self.host.max_payload)

    def _diverge(self, finding: Finding) -> None:
        message = explain(finding, self._workflow, self.claimed.version, self.loop.places(), _PYTHON)
        log.warning("run %s of %s is paused: %s", self.id, self._workflow.name, finding.what)
        self._finish(Diverge(describe(NonDeterminism(message, key=finding.key))))

    def _stop(self) -> None:
        """Paused: what is executing ends and is written, then any worker may go on after a resume."""
        if self.executing or self._resuming or self.history.durable < self.history.last_seq:
            return
        self._finish(LetGo(None))

    def release(self) -> None:
        """Let go of a run that waits, or that the worker has no more time for; any worker goes on with it, by replay."""
        if not self.over:
            self._finish(LetGo(self._next_due() if self.parked else None))

    def _finish(self, ending: Ending) -> None:
        self._unwind()
        self._write_ending(ending)

    def _write_ending(self, ending: Ending) -> None:
        self._ending = ending
        claim = self.claimed.claim
        match ending:
            case Complete(output):
                move = Move(self.id, claim, Action.COMPLETE, output=output)
            case Fail(error):
                move = Move(self.id, claim, Action.FAIL, error=error_text(error))
            case RetryLater(due, attempt, error):
                self._put_failed_body(attempt - 1, error_text(error), due)
                move = Move(self.id, claim, Action.RETRY_LATER, due=due, attempt=attempt)
            case GoOnAsNew(input):
                move = Move(self.id, claim, Action.CONTINUE_AS_NEW, input=input)
            case Diverge(error):
                move = Move(self.id, claim, Action.DIVERGE, error=error_text(error))
            case LetGo(None):
                move = Move(self.id, claim, Action.RELEASE)
            case LetGo(due):
                move = Move(self.id, claim, Action.PARK, due=due)
        self._closing = move
        self.host.committer.put(move, self)

    def _put_failed_body(self, attempt: int, error: str, due: float) -> None:
        begun, now = self.claimed.started_at, self.host.clock.now()
        write = Attempt(self.id, self.claimed.claim, BODY, attempt, self.history.delivered, False, error, begun, now, due)
        self.host.committer.put(write, self)

    def _ending_written(self, status: RunStatus | None) -> None:
        """The ending was applied, unless an operator was faster."""
        closing, ending = self._closing, self._ending
        if closing is None or ending is None:
            return
        if closing.action is Action.WAKE and status in _WOKEN:
            self._write_ending(ending)  # resumed: the ending that was not allowed before is allowed now
        elif status is not None and after(status, closing.action) is not None:
            self._forget(ending)
        elif status is RunStatus.PAUSED:
            self._write_ending(LetGo(None))  # it ends after it is resumed, by replay
        elif status is RunStatus.PENDING:
            self._closing = self._move(Action.WAKE, keep=True)
        else:
            self._forget(None)

    def _drop(self) -> None:
        """Canceled, or another worker has it: nothing is written any more."""
        self._unwind()
        self._forget(None)

    def abandon(self) -> None:
        """Leave at once and write nothing, as if the process had died."""
        self._unwind()
        self._closing = None

    def _unwind(self) -> None:
        """Leave the body. From here on it can do nothing: its steps raise Unwind, its result counts for nothing."""
        if self.over:
            return
        self.over = True
        self.host.alarms.set(self, None)
        for request in list(self.executing.values()):
            if request.task is not None:
                self.host.steps.cancel(self, request)
        if self.body_thread is not None:
            self.body_thread.close()
        self.loop.unwind()

    def _forget(self, ending: Ending | None) -> None:
        self.host.left(self, ending)
        # Cut the cycles of a run that has left. To leave them to the garbage collector costs a third of the engine's speed.
        self._closing = None
        self._main = None
        self._step = None
        self.body_thread = None
        self._held.clear()
        self._due.clear()
        self.loop.dispose()
        self.history.dispose()

    # -- what the body says

    def log(self, level: str, message: str, fields: str) -> bool:
        """Store a line of log; False when it was stored by an earlier life of the run, or the body is being left."""
        now, claim = self.host.clock.now(), self.claimed.claim
        if not self._in_body():
            asker = definition.body.get()
            step, scope = (asker.key, f"{asker.key}#{asker.attempt}.{claim}") if isinstance(asker, StepRequest) else (None, f"~{claim}")
            self._put_log(LogEntry(self.id, claim, -1, scope, next(_LINES), now, level, message, fields, step))
            return True
        if self.over or self.loop.closing:
            return False
        place = self.history.delivered
        if place != self._log_place:
            self._log_place, self._log_count = place, 0
        self._log_count += 1
        if (place, self._log_count) <= self.claimed.logged:
            return False
        self._put_log(LogEntry(self.id, claim, place, "", self._log_count, now, level, message, fields, None))
        return True

    def _in_body(self) -> bool:
        """Whether it is the body that speaks now, and not a step, or a thread that a step has made."""
        if self.body_thread is not None:
            return self.body_thread.is_body_speaking()
        return self.loop.thread == get_ident()

    def _put_log(self, entry: LogEntry) -> None:
        if get_ident() == self.host.thread:
            self.host.committer.put(entry, self)
            return
        with suppress(RuntimeError):  # the worker's loop has been closed, and this thread left behind
            self.host.loop.call_soon_threadsafe(self.host.committer.put, entry, self)

    def progress(self, done: float, total: float | None, message: str | None) -> None:
        """How far the run has come; nothing while it only repeats what it did."""
        self._asked_in_body("progress")
        if not (self.history.replaying and self.history.waiting):
            self.host.committer.put(Progress(self.id, self.claimed.claim, done, total, message), self)

    def _warn_of_changed_arguments(self) -> None:
        changed, self.history.changed_arguments = self.history.changed_arguments, []
        claim, now = self.claimed.claim, self.host.clock.now()
        for key in changed:
            message = f"step {key!r} is called with other arguments than those its recorded result came from; the result stays"
            log.warning("run %s of %s: %s", self.id, self._workflow.name, message)
            self._put_log(LogEntry(self.id, claim, -1, f"~{key}", 0, now, "warning", message, "{}", key))


async def _awaited(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """A body behind a decorator of the user's that is no `async def` itself."""
    return await function(**arguments)
