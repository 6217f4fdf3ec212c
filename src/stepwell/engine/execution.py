"""One run in the memory of its worker: steps its body, and brings outcomes to it through the gate.

`pump` is the heart: run the body until it is quiescent, deliver the next outcome, again. Then start what the body has asked for, and
see whether the run has ended, diverged, waits for time, or waits for nothing at all. The decisions are made by `core.history`; what the
body may ask for, how steps are executed, and how the run leaves are the business of other modules.
"""

from __future__ import annotations

import logging
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final, Protocol

from pydantic_core import from_json, to_json

from stepwell.core import definition
from stepwell.core.children import heard
from stepwell.core.ending import Diverge, Ending, Fail, LetGo, Sleep
from stepwell.core.failure import describe, error_text
from stepwell.core.history import Diverged, History
from stepwell.core.records import Attempt, CancelChild, Kind, Move, Outcome, StartChild
from stepwell.core.status import Action, RunStatus
from stepwell.engine.asking import Asking
from stepwell.engine.body import body_of
from stepwell.engine.body_thread import BodyThread
from stepwell.engine.due import DueTimes
from stepwell.engine.explain import explain
from stepwell.engine.leaving import WOKEN, Leaving, ending_of
from stepwell.engine.logger import warn_of_changed_arguments
from stepwell.engine.mailbox import Mailbox
from stepwell.engine.requests import PYTHON, ChildRequest, SignalRequest, SleepRequest, StepRequest, TransactionRequest, ValueRequest
from stepwell.engine.runloop import RunLoop, Unwind
from stepwell.engine.step import MAX_EXECUTING, Step, SyncStep
from stepwell.engine.tasks import Timer
from stepwell.errors import NonDeterminism, NotSerializable, StepwellError, Stuck

if TYPE_CHECKING:
    import asyncio

    from stepwell.core import history
    from stepwell.core.definition import StepFunction, Workflow
    from stepwell.core.history import Finding
    from stepwell.core.records import Claimed, News
    from stepwell.core.registry import Registry
    from stepwell.engine.alarms import Alarms
    from stepwell.engine.attempts import StepRunner
    from stepwell.engine.clock import Clock
    from stepwell.engine.committer import Committer
    from stepwell.engine.requests import Request

log = logging.getLogger(__name__)

_BUSY_SECONDS: Final = 1.0

SUSPECT: Final = 2
"""Workers that died with a run in a row, from which on no second such run is executed beside it."""

_TIMER: Final = Kind.TIMER  # looked up once: an attribute of an enum is slow to find
_FUNCTION: Final = Kind.FUNCTION
_RUNNING: Final = RunStatus.RUNNING


class Host(Protocol):
    """The worker, as a run sees it."""

    loop: asyncio.AbstractEventLoop
    thread: int
    """In which the loop runs."""
    clock: Clock
    committer: Committer
    alarms: Alarms
    steps: StepRunner
    registry: Registry
    max_payload: int

    async def send_signal(self, run_id: str, name: str, payload: str) -> None:
        """Send a signal to a run, as the step that runs now. Sent again, it changes nothing."""

    park_after: float
    """Seconds; a run that waits shorter keeps its slot."""
    may_start: bool
    """Whether steps may begin: the worker's lease holds, and it does not stop."""

    def parked(self, execution: Execution) -> None:
        """It waits, and gives up its slot."""

    def woken(self, execution: Execution) -> bool:
        """It wants a slot again; False: it gets one later, by `ring`."""

    def left(self, execution: Execution, ending: Ending | None) -> None:
        """It has left memory. None: it was taken away, or canceled."""


class Execution:
    """One run, from its claim until it ends, is let go of, or is taken away."""

    __slots__ = (
        "_asking",
        "_busy_since",
        "_draining",
        "_leaving",
        "_main",
        "_pump_scheduled",
        "_recording",
        "_starting",
        "_step",
        "_stopping",
        "_waking",
        "_workflow",
        "alarm_at",
        "body_thread",
        "claimed",
        "computing",
        "due",
        "executing",
        "held",
        "history",
        "host",
        "id",
        "loop",
        "mailbox",
        "over",
        "parked",
        "suspect",
    )

    def __init__(self, claimed: Claimed, workflow: Workflow[Any, Any], host: Host) -> None:
        self.id = claimed.id
        self.claimed = claimed
        self.host = host
        # Where a retry has taken outcomes back, lines of log still stand at their numbers: those are not given again.
        self.history = History(claimed.outcomes, claimed.tried, claimed.started_at, at_least=claimed.logged[0])
        self.loop = RunLoop(self, claimed.started_at)  # type: ignore[abstract]  # its I/O is refused, method by method
        self.due = DueTimes(self.history)
        self.mailbox = Mailbox(claimed.signals, claimed.news, self.history)
        self.held: list[StepRequest | ValueRequest | ChildRequest] = []
        """Asked for, and not yet started."""
        self.executing: dict[str, StepRequest] = {}
        self._recording: dict[str, StepRequest] = {}  # their failed attempts are on the way to the database
        self.alarm_at: float | None = None
        self.parked = False
        self.suspect = claimed.crashes >= SUSPECT
        """Its last workers died with it, and no step of it was recorded since."""
        self.over = False
        """The body has been left; what still comes in is ignored."""
        self.computing = False
        """The thread of a `def` body is at work: the run is not quiescent."""
        self._workflow = workflow
        self._asking: Asking | None = Asking(self, workflow.retry, workflow.max_steps)
        step = Step(self._asking)
        self.body_thread: BodyThread | None = None if workflow.is_async else BodyThread(self, step)
        self._step: Step | SyncStep | None = step if self.body_thread is None else self.body_thread.step
        self._main: asyncio.Task[Any] | None = None
        self._draining = False  # the worker stops: a resume does not change that
        self._stopping = False  # paused: nothing is delivered or started any more
        self._waking = False  # a move to running is on its way: nothing is begun before it is answered
        self._leaving: Leaving | None = None
        self._pump_scheduled = False
        self._starting = 0  # children that are on their way to the database
        self._busy_since: float | None = None

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
            body = body_of(self, self._workflow, self._step)
        except StepwellError as refused:  # the input does not fit, or its type cannot be told
            self._finish(Fail(describe(refused)))
            return
        context = copy_context()
        context.run(definition.body.set, self)
        outer = self.loop.enter()
        self._main = self.loop.start(body, context)
        self.loop.leave(outer)
        self.pump()

    def call(self, step_function: StepFunction[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A `@step` function is called in the body."""
        if self._step is None:  # the thread of a `def` body that has been left
            raise Unwind
        return self._step.run(step_function, *args, **kwargs)

    def pump(self) -> None:
        """Take the run as far as it goes. From plain callbacks of the worker's loop only."""
        if self.over:
            return
        outer = self.loop.enter()
        try:
            is_waiting = self._step_body()
        except Diverged as divergence:
            self._diverge(divergence.finding)
            return
        finally:
            self.loop.leave(outer)
        if is_waiting:
            self._busy_since = None
            if self.held:
                self._start_held()
            if self.mailbox.unread:
                self._answer_waits()
            if self.due or not self.executing:
                self._wait()

    def _step_body(self) -> bool:
        """Run the body and hand it its outcomes, until all that is recorded is delivered and it waits for something new: True."""
        loop, history = self.loop, self.history
        while True:
            if not loop.run_ready():
                self._interrupt()
                return False
            if self.computing:
                return False
            if self._main.done():  # type: ignore[union-attr]  # there is one since `begin`
                self._finish(ending_of(self._main, self, self._workflow))  # type: ignore[arg-type]
                return False
            if self._stopping:
                self._stop()
                return False
            met = history.next()
            if met is None:
                break
            request, outcome = met
            loop.now = outcome.at
            if outcome.kind >= _TIMER:
                self._note(outcome, request)
            request.deliver(outcome)
        if history.replaying and not self._is_caught_up():
            return False
        if history.changed_arguments:
            warn_of_changed_arguments(self, history.changed_arguments)
            history.changed_arguments = []
        return True

    def _note(self, outcome: Outcome, request: history.Request) -> None:
        """What is delivered counts for more than the request that gets it."""
        if outcome.kind == _TIMER:
            self._asking.timer_fired()  # type: ignore[union-attr]  # there is one until it has left
        else:
            self.mailbox.delivered(outcome, was_awaited=isinstance(request, SignalRequest))

    def _interrupt(self) -> None:
        """The body has run long without waiting for anything: let other runs have their turn."""
        if self._stopping:
            self._stop()
        if self.over:
            return
        now = self.host.loop.time()
        if self._busy_since is None:
            self._busy_since = now
        elif now - self._busy_since > _BUSY_SECONDS:
            self._busy_since = now
            places = "\n  ".join(self.loop.places()) or "unknown"
            log.warning(
                "run %s of %s has been computing for over a second without a step; it is at\n  %s", self.id, self._workflow.name, places
            )
        self.schedule_pump()

    def schedule_pump(self) -> None:
        """Pump in the next turn of the worker's loop."""
        if not self._pump_scheduled:
            self._pump_scheduled = True
            self.host.loop.call_soon(self._scheduled_pump)

    def _scheduled_pump(self) -> None:
        self._pump_scheduled = False
        self.pump()

    def _is_caught_up(self) -> bool:
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
        if self._waking or not self.host.may_start or len(self.executing) >= MAX_EXECUTING:
            return
        held, self.held = self.held, []
        for place, request in enumerate(held):
            if len(self.executing) >= MAX_EXECUTING:
                self.held = held[place:]
                return
            if request.done():
                continue  # canceled while it was held
            if isinstance(request, StepRequest):
                self._start(request)
            elif isinstance(request, ChildRequest):
                self._begin_child(request)
            else:
                self.admit(request, request.kind, True, request.make(), self.host.clock.now(), 0, 1)

    def _answer_waits(self, sent_by: float | None = None) -> bool:
        """Number the signals that the body waits for, those sent by then; whether there was one."""
        answered = False
        for request, signal in self.mailbox.take(sent_by):
            now, started_at = self.host.clock.now(), request.started_at
            if isinstance(request, ChildRequest):
                ok, value = heard(signal.payload)
                child = request.child if request.awaited else from_json(value)
                self.admit(request, request.kind, ok, value, now, signal.number, request.attempt, started_at, child)
            else:
                self.admit(request, request.kind, True, signal.payload, now, signal.number, 1, started_at)
            answered = True
        return answered

    def hear(self, news: News) -> None:
        """Signals have come. From a plain callback of the worker's loop."""
        if not self.over:
            self.mailbox.bring(news.signals, news.last)
            if self.mailbox.can_answer and not self.history.replaying:
                self.ring()

    # -- children

    def _begin_child(self, request: ChildRequest) -> None:
        """Let the child be stored; that it is there already changes nothing."""
        if request.answered or self.mailbox.has(request.signal):
            return  # it has ended already, before this worker had the run
        request.begun = True
        self._starting += 1
        self.host.committer.put(request.start, self)
        if not request.awaited and request.start.new.key is None:
            request.answered = True  # by which run, is known at once
            value, now = to_json(request.child).decode(), self.host.clock.now()
            self.admit(request, request.kind, True, value, now, 0, request.attempt, request.started_at, request.child)

    def _withdraw_child(self, request: ChildRequest) -> None:
        """Nobody awaits the child any more. What an earlier life of the run had begun, it may not have come to cancel."""
        replaying = self.history.replaying
        if request.answered or request.tried or not (request.begun or replaying) or (replaying and self.history.has(request.key)):
            return
        self._cancel_child(request)
        now = self.host.clock.now()
        attempt = Attempt(
            self.id, self.claimed.claim, request.key, request.attempt, request.asked, True, None, request.started_at, now, None
        )  # fmt: skip
        self.host.committer.put(attempt, self)

    def _cancel_child(self, request: ChildRequest) -> None:
        if request.awaited:
            self.host.committer.put(CancelChild(self.id, self.claimed.claim, request.child), self)

    # -- as owner of the loop, and for requests

    def timer_set(self, timer: Timer) -> None:
        """See `Owner.timer_set`."""
        if self._asking is not None:
            self._asking.timer(timer)

    def timer_canceled(self, timer: Timer) -> None:
        """See `Owner.timer_canceled`."""
        if not self.over:
            self.history.withdraw(timer.key)

    def withdrawn(self, request: Request) -> None:
        """The body has canceled what it awaited."""
        if self.over:
            return
        self.history.withdraw(request.key)
        if isinstance(request, StepRequest) and request.task is not None:
            self.host.steps.cancel(self, request)
        elif isinstance(request, ChildRequest):
            self._withdraw_child(request)

    def stray_error(self, error: BaseException, message: str) -> None:
        """See `Owner.stray_error`."""
        if not self.over and not isinstance(error, Unwind):
            log.warning("run %s of %s: an error that nobody awaited (%s)", self.id, self._workflow.name, message, exc_info=error)

    def hand_over(self, future: asyncio.Future[Any], message: Any) -> None:
        """The thread of a `def` body says something: the body is at the next step, or at its end."""
        self.computing = False
        if self.over:
            return
        outer = self.loop.enter()
        future.set_result(message)
        self.loop.leave(outer)
        self.pump()

    # -- outcomes

    def admit(
        self,
        request: Request | Timer,
        kind: Kind,
        ok: bool,
        value: str | None,
        now: float,
        mark: int,
        attempt: int,
        started_at: float | None = None,
        child: str | None = None,
    ) -> None:
        """Something has come to pass: number it, and let it be written. The body sees it when it is durable."""
        if started_at is None:
            started_at = now
        outcome = self.history.admit(
            self.id, self.claimed.claim, request.key, request.asked, kind, ok, value, now, mark, attempt, started_at, PYTHON, child
        )  # fmt: skip
        self.host.committer.put(outcome, self)

    def _start(self, request: StepRequest) -> None:
        if request.due > self.host.clock.now():
            self.due.add(request.due, request)
            return
        self.executing[request.key] = request
        self.host.steps.start(self, request)

    def step_ended(self, request: StepRequest, ok: bool, value: str, now: float) -> None:
        """The last attempt of a step has ended."""
        del self.executing[request.key]
        self.admit(request, _FUNCTION, ok, value, now, request.mark, request.attempt, request.started_at)

    def transacted(self, request: TransactionRequest, status: RunStatus | None) -> None:
        """The store has answered: it has written the outcome of a transaction with what that did, unless the run is not ours any more.

        From a plain callback of the worker's loop.
        """
        if self.over:
            return
        del self.executing[request.key]
        if status is None or status.ended:
            self.drop()
            return
        self.history.recorded(request.effect.written)  # type: ignore[arg-type]  # the store has it
        self.suspect = False
        if status is _RUNNING:
            self.pump()
        else:
            self.stands(status)

    def attempt_failed(self, request: StepRequest, error: str, now: float) -> None:
        """An attempt has failed; the next is due at `request.due`, and not before this one is recorded: a crash must not lose both."""
        self._recording[request.key] = request
        self._put_attempt(request, error, now, request.due, canceled=False)
        self._attempt_over(request)

    def _attempt_recorded(self, key: str) -> None:
        request = self._recording.pop(key, None)
        if request is not None:
            self.due.add(request.due, request)
            self.schedule_pump()

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
            Attempt(
                self.id, self.claimed.claim, request.key, request.attempt, request.asked, canceled, error, request.started_at, now, due
            ),
            self,
        )

    def _attempt_over(self, request: StepRequest) -> None:
        self.executing.pop(request.key, None)
        if not self.over:
            self.schedule_pump()  # it may have been what kept the run from waiting

    def refused(self, write: Any, error: Exception) -> None:
        """The database will not take a write."""
        if self._leaving is not None:
            self._leaving.refused(write, error)
        elif isinstance(write, StartChild):
            raise RuntimeError(f"run {self.id}: the database refuses the child of step {write.key!r}") from error
        elif not isinstance(write, Outcome):
            log.error("run %s: not recorded: %s", self.id, write)
            if isinstance(write, Attempt):
                self._attempt_recorded(write.key)
        elif not write.ok or write.kind != Kind.FUNCTION:
            raise RuntimeError(f"run {self.id}: the database refuses outcome {write.seq} of {write.key!r}") from error
        else:
            self._fail_instead(write, error)

    def _fail_instead(self, write: Outcome, error: Exception) -> None:
        """The step has failed: its result cannot be kept."""
        self.history.retract(write.seq)
        what = f"the result of step {write.key!r}"
        failure = NotSerializable(f"{what} cannot be stored: {error}", what=what, path="$")
        request = self.history.request(write.key)
        if isinstance(request, StepRequest):
            now = self.host.clock.now()
            self.admit(request, Kind.FUNCTION, False, error_text(describe(failure)), now, write.mark, write.attempt, write.started_at)

    # -- what the database says

    def written(self, write: Any, status: RunStatus | None) -> None:
        """A write is durable; this is how the run stood when it was applied."""
        if self._leaving is not None:
            self._leaving.written(write, status)
        elif self.over:
            return
        elif type(write) is Outcome:
            self.history.durable = write.seq
            self.suspect = False
            if status is _RUNNING:
                self.pump()
            else:
                self.stands(status)
        elif type(write) is StartChild:
            self._starting -= 1
            if status is _RUNNING:
                self.schedule_pump()
            else:
                self.stands(status)
        elif type(write) is Move and write.action is Action.WAKE:
            self._woken(status)
        else:
            if type(write) is Attempt:
                self._attempt_recorded(write.key)
            self.stands(status)

    def _woken(self, status: RunStatus | None) -> None:
        self._waking = False
        if status in WOKEN:
            self._stopping = self._draining
            self.pump()
        else:
            self.stands(status)

    def stands(self, status: RunStatus | None) -> None:
        """An operator has acted on the run, or another worker has it."""
        if self.over or status is RunStatus.RUNNING or status is RunStatus.SLEEPING:
            return
        if status is RunStatus.PAUSED:
            self._stopping = True
            self.pump()
        elif status is not RunStatus.PENDING:
            self.drop()
        elif not self._waking:
            self._wake()  # resumed before it could be let go of: it goes on where it is

    def _wake(self) -> None:
        self._waking = True
        self._move(Action.WAKE)

    def _move(self, action: Action, due: float | None = None, seen: int | None = None) -> None:
        self.host.committer.put(Move(self.id, self.claimed.claim, action, due=due, keep=True, seen=seen), self)

    # -- time

    def ring(self) -> None:
        """Something is due, or the run may have the slot that it waits for."""
        if self.over or self._stopping or self.computing:
            return
        if self.parked:
            if not self.host.woken(self):
                return
            self.parked = False
            self._wake()
        if not self._admit_due():
            self.schedule_pump()
        self.host.alarms.set(self, self.due.next())

    def _admit_due(self) -> bool:
        """Number the timers that are due, by due time and creation, and hold the attempts that are; whether there was a timer."""
        now, admitted = self.host.clock.now(), False
        for what in self.due.take(now):
            admitted |= self._answer_waits(
                what.deadline if isinstance(what, Timer) else what.due
            )  # what was sent before the time was up is there before it
            if isinstance(what, StepRequest):
                self.held.append(what)  # begun after the timers, which may cancel it
            elif isinstance(what, SignalRequest):
                if not what.answered:
                    what.answered = True
                    self._admit_late(what, now)
                    admitted = True
            else:
                started_at = what.started_at if isinstance(what, SleepRequest) else None
                self.admit(what, what.kind, True, None, now, 0, 1, started_at)
                admitted = True
        return admitted

    def _admit_late(self, request: SignalRequest, now: float) -> None:
        """What the body waits for has not come in time."""
        error = error_text(describe(request.late()))
        if isinstance(request, ChildRequest):
            self.admit(request, request.kind, False, error, now, 0, request.attempt, request.started_at, request.child)
            self._cancel_child(request)
        else:
            self.admit(request, request.kind, False, error, now, 0, 1, request.started_at)

    def _wait(self) -> None:
        when, host = self.due.next(), self.host
        if self.executing or self.held or self._recording or self.history.waiting or self._starting:
            host.alarms.set(self, when)
        elif when is None and not self.mailbox.awaited:
            places = "; ".join(self.loop.places()) or "no task of it is left"
            self._finish(Fail(describe(Stuck(f"the body waits for something that nothing will ever bring: {places}"))))
        elif self.parked or (when is not None and when - host.clock.now() < host.park_after):
            host.alarms.set(self, when)
        elif self.body_thread is not None:
            self._finish(Sleep(when))  # a thread that only waits would cost more than the replay
        else:
            self._park(when)

    def _park(self, when: float | None) -> None:
        self.parked = True
        self._move(Action.PARK, when, self.mailbox.seen)
        self.host.parked(self)
        if not self.over:  # let go of, where there are too many
            self.host.alarms.set(self, when)

    # -- how it leaves

    def _diverge(self, finding: Finding) -> None:
        message = explain(finding, self._workflow, self.claimed.version, self.loop.places(), PYTHON)
        log.warning("run %s of %s is paused: %s", self.id, self._workflow.name, finding.what)
        self._finish(Diverge(describe(NonDeterminism(message, key=finding.key))))

    def _stop(self) -> None:
        """Paused: what is executing ends and is written, then any worker may go on after a resume."""
        if not (self.executing or self._waking or self.history.writing):
            self._finish(LetGo())

    def drain(self) -> None:
        """The worker stops: what is executing ends and is written, and nothing more is begun. A run that only waits is let go of."""
        if self.executing:
            self._stopping = self._draining = True
        else:
            self.release()

    def release(self) -> None:
        """Let go of a run that waits, or that the worker has no more time for; any worker goes on with it, by replay."""
        if not self.over:
            self._finish(Sleep(self._due()) if self.parked else LetGo())

    def _due(self) -> float | None:
        """When it goes on at the latest; at once, when what it waits for is there already."""
        return self.host.clock.now() if self.mailbox.can_answer else self.due.next()

    def abandon(self) -> None:
        """Leave at once and write nothing, as if the process had died."""
        self._unwind()
        self._leaving = None

    def _finish(self, ending: Ending) -> None:
        now = self.host.clock.now()
        for request in self.executing.values():
            # Canceled by the body; the attempt has not noticed yet, and when it does it is too late to write. A transaction may be done.
            if request.cancelled() and not isinstance(request, TransactionRequest):
                self._put_attempt(request, None, now, None, canceled=True)
        self._unwind()
        self._leaving = Leaving(self, ending)

    def drop(self) -> None:
        """Canceled, or another worker has it: nothing is written any more, also if it is about to leave."""
        self._unwind()
        self.left(None)

    def _unwind(self) -> None:
        """Leave the body. From here on it can do nothing: its steps raise Unwind, its result counts for nothing."""
        if self.over:
            return
        self.over = True
        self.host.alarms.set(self, None)
        for request in list(self.executing.values()):
            self.host.steps.cancel(self, request)
        if self.body_thread is not None:
            self.body_thread.close()
        self.loop.unwind()

    def left(self, ending: Ending | None) -> None:
        """It is out of the worker's hands."""
        self.host.left(self, ending)
        # Cut the cycles of a run that has left. To leave them to the garbage collector costs a third of the engine's speed.
        self._leaving = None
        self._main = None
        self._asking = None
        self._step = None
        self.body_thread = None
        self.held.clear()
        self._recording.clear()
        self.due.clear()
        self.mailbox.clear()
        self.loop.dispose()
        self.history.dispose()
