"""What a body asks for: every request gets its key here, is made known to the history, and is held until its time has come."""

from __future__ import annotations

from contextvars import copy_context
from math import isfinite
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final

from stepwell.core import definition
from stepwell.core.codec import codec_of, payload_text, result_annotation
from stepwell.core.definition import StepFunction
from stepwell.core.mark import mark_of
from stepwell.core.naming import function_name, key_name
from stepwell.core.records import Progress
from stepwell.core.retry import DEFAULT_RETRY, Retry
from stepwell.engine.children import child_of, start_of
from stepwell.engine.requests import ChildRequest, SignalRequest, SleepRequest, StepRequest, ValueRequest
from stepwell.engine.runloop import Unwind
from stepwell.errors import DatabaseUnavailable, NonRetryable, OutsideRun

if TYPE_CHECKING:
    from collections.abc import Callable

    from stepwell.core.codec import Codec
    from stepwell.engine.children import Options
    from stepwell.engine.clock import Clock
    from stepwell.engine.execution import Execution
    from stepwell.engine.runloop import RunLoop
    from stepwell.engine.tasks import Timer

MAX_REFUSALS: Final = 1_000
"""How often a body that is being left is told so."""


SENDING: Final = Retry(None, max_interval="10s", should_retry=lambda error, _: isinstance(error, DatabaseUnavailable))
"""Of steps that only write to the database: what it refuses is refused for good, and while it is away they wait for it."""


class Asking:
    """Takes the requests of one run's body."""

    __slots__ = ("_count", "_limit", "_refusals", "_retry", "_run")

    def __init__(self, run: Execution, retry: Retry | None, max_steps: int) -> None:
        self._run = run
        self._retry = retry or DEFAULT_RETRY
        self._limit = max_steps
        self._count = 0  # steps, and timers that have fired
        self._refusals = 0

    @property
    def loop(self) -> RunLoop:
        """The run's."""
        return self._run.loop

    def step(
        self, name: str | None, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], retry: Retry | None = None,
        timeout: float | None = None, codec: Codec | None = None, key: str | None = None, form: type[StepRequest] = StepRequest,
    ) -> StepRequest:  # fmt: skip
        """A call of a step."""
        run = self._run
        loop = run.loop
        if loop.thread != get_ident():  # as `_loop_of_body`, spelled out where there is one a step
            raise OutsideRun(self._outside(name or function))
        if run.over or loop.closing:
            return self._refuse()  # type: ignore[no-any-return]
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
        history = run.history
        mark = mark_of(name, args, kwargs) if args or kwargs else 0
        context = copy_context() if run.body_thread is None else run.body_thread.context
        tried, retry = history.tried(key), retry or self._retry
        request = form(
            run, loop, key, history.delivered, function, args, kwargs, retry, timeout, codec, context, mark, tried
        )  # fmt: skip
        history.meet(key, request, mark)
        self._count += 1
        if self._count > self._limit:
            self._limit_steps(counted=0)
        run.held.append(request)
        return request

    def sleep(self, name: str, until: float | None, seconds: float | None) -> SleepRequest:
        """A sleep: until an instant, or for a time."""
        loop = self._loop_of_body(name)
        run = self._run
        if run.over or loop.closing:
            return self._refuse()  # type: ignore[no-any-return]
        key = loop.branch().key(key_name(name))
        due = loop.now + seconds if seconds is not None else until
        request = SleepRequest(run, loop, key, run.history.delivered, due, loop.now)  # type: ignore[arg-type]  # one of the two is given
        run.history.meet(key, request)
        self._limit_steps()
        run.due.add(request.due, request)
        return request

    def signal(self, name: str, seconds: float | None, codec: Codec) -> SignalRequest:
        """A wait for the next signal of this name."""
        loop = self._loop_of_body(name)
        run = self._run
        if run.over or loop.closing:
            return self._refuse()  # type: ignore[no-any-return]
        key = loop.branch().key(key_name(name))
        # Of a wait that was in vain, and begins anew after a retry of this run, the time counts from now.
        due = None if seconds is None else (run.host.clock.now() if run.history.tried(key).attempts else loop.now) + seconds
        request = SignalRequest(run, loop, key, run.history.delivered, name, due, loop.now, codec)
        run.history.meet(key, request)
        self._limit_steps()
        run.mailbox.wait(request)
        if due is not None:
            run.due.add(due, request)
        return request

    def child(
        self, workflow: object, value: Any, name: str | None, seconds: float | None, version: str | None, options: Options, *, awaited: bool
    ) -> ChildRequest:
        """A run that the body starts, and waits for where that is `awaited`."""
        loop = self._loop_of_body(name or workflow)
        run = self._run
        if run.over or loop.closing:
            return self._refuse()  # type: ignore[no-any-return]
        child = child_of(run, workflow, version, value)
        key = loop.branch().key(key_name(name or child.target.name))
        tried = run.history.tried(key)
        start = start_of(run, child, key, tried.attempts + 1, options, awaited=awaited)
        # Of one that is started again, after a retry of this run, the time counts from now.
        due = None if seconds is None else (run.host.clock.now() if tried.attempts else loop.now) + seconds
        codec = codec_of(child.output if awaited else str)
        request = ChildRequest(run, loop, key, run.history.delivered, start, due, codec, tried.attempts + 1, tried.evidence)
        run.history.meet(key, request)
        self._limit_steps()
        run.mailbox.wait(request)
        if due is not None:
            run.due.add(due, request)
        run.held.append(request)
        return request

    def send_signal(self, run_id: str, name: str, payload: Any) -> StepRequest:
        """A signal to another run, sent in a step."""
        text = payload_text(payload, signal=name, limit=self._run.host.max_payload)
        return self.step("send_signal", self._run.host.send_signal, (run_id, name, text), {}, SENDING)

    def value(self, name: str, make: Callable[[Clock], str], decode: Callable[[str], Any]) -> ValueRequest:
        """The time, or a random number."""
        loop = self._loop_of_body(name)
        run = self._run
        if run.over or loop.closing:
            return self._refuse()  # type: ignore[no-any-return]
        key = loop.branch().key(name)
        clock = run.host.clock
        request = ValueRequest(run, loop, key, run.history.delivered, lambda: make(clock), decode)
        run.history.meet(key, request)
        self._limit_steps()
        run.held.append(request)
        return request

    def timer(self, timer: Timer) -> None:
        """A timer of asyncio's."""
        run = self._run
        if run.over or run.loop.closing:
            self._refuse()
            return
        self._limit_steps(counted=0)
        timer.asked = run.history.delivered
        run.history.meet(timer.key, timer)
        run.due.add(timer.deadline, timer)

    def timer_fired(self) -> None:
        """Count it: a body that only sleeps has no end otherwise."""
        self._count += 1

    def keys(self, name: str, count: int) -> list[str]:
        """The next `count` keys of this name on the branch of the caller."""
        loop = self._loop_of_body(name)
        if self._run.over or loop.closing:
            raise Unwind
        branch = loop.branch()
        escaped = key_name(name)
        return [branch.key(escaped) for _ in range(count)]

    def progress(self, done: float, total: float | None, message: str | None) -> None:
        """How far the run has come; nothing while it only repeats what it did."""
        self._loop_of_body("progress")
        for number in (done,) if total is None else (done, total):
            if not isfinite(number):
                raise ValueError(f"progress is counted in numbers, such as 3 of 10; not {number!r}")
        run = self._run
        if not (run.history.replaying and run.history.waiting):
            run.host.committer.put(Progress(run.id, run.claimed.claim, done, total, message), run)

    def _loop_of_body(self, what: object) -> RunLoop:
        loop = self._run.loop
        if not loop.is_entered:
            raise OutsideRun(self._outside(what))
        return loop

    def _outside(self, what: object) -> str:
        name = what if isinstance(what, str) else getattr(what, "__name__", repr(what))
        asker = definition.body.get()
        if isinstance(asker, StepRequest):
            return (
                f"step {name!r} is called inside step {asker.name!r}. A step is one unit: it runs again as a whole. "
                "Call the function itself, or return from the step and call the other one in the body."
            )
        return (
            f"step {name!r} is called outside of the body of run {self._run.id}, from another thread, loop or task. "
            "Only the body, and the tasks that it makes, can call steps."
        )

    def _refuse(self) -> Any:
        """What a body gets that is being left: `Unwind`. One that catches even this for ever waits for ever, and is closed by force."""
        self._refusals += 1
        if self._refusals <= MAX_REFUSALS:
            raise Unwind
        return self._run.loop.create_future()

    def _limit_steps(self, counted: int = 1) -> None:
        self._count += counted
        if self._count > self._limit:
            raise NonRetryable(
                f"this run has asked for more than max_steps={self._limit:,} steps and timers. "
                "Go on with an empty history by `raise ContinueAsNew(input)`, or raise max_steps."
            )
