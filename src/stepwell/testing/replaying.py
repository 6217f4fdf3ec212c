"""Replays a history against code, without running a step and without writing anything: does the code still fit?"""

from __future__ import annotations

import asyncio
import json
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import get_ident
from typing import Any, Final, Literal, TypeAlias, cast

from stepwell.core.definition import Workflow
from stepwell.core.ending import Complete, Ending, Fail, GoOnAsNew, RetryLater
from stepwell.core.history import Diverged, Finding
from stepwell.core.records import Claimed, Kind, LogEntry, version_label
from stepwell.core.registry import Registry
from stepwell.engine.alarms import Alarms
from stepwell.engine.attempts import StepRunner
from stepwell.engine.clock import Alarm, Clock
from stepwell.engine.committer import Committer
from stepwell.engine.counters import Counters
from stepwell.engine.effects import Effects
from stepwell.engine.execution import Execution
from stepwell.engine.explain import explain
from stepwell.engine.generators import adopt_generators
from stepwell.engine.requests import PYTHON
from stepwell.engine.threads import Threads
from stepwell.errors import DefinitionError, ErrorInfo, NonDeterminism
from stepwell.testing.histories import from_json

End: TypeAlias = Literal["waiting", "completed", "failed", "retried", "continued"]

MAX_PAYLOAD: Final = sys.maxsize
"""Whether an output is too large is not asked here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What a replay has met.

    Attributes:
        matched: keys of the recorded steps that the code has asked for and was given, in order. Timers of asyncio are not among them.
        end: how far the code comes with what is recorded. `waiting`: for what is not recorded yet. `completed`, `failed`: it returns, or
            raises for good. `retried`: it raises, and is to be tried again. `continued`: it goes on as new.
        waiting_for: what it asks for then, and is not recorded: `step 'charge'`, `sleep 'trial'`, `timer`.
        output: what it returns, as JSON knows it.
        error: what it raises.
        changed_arguments: keys of steps that are called with other arguments than those their recorded results came from.
    """

    matched: tuple[str, ...]
    end: End
    waiting_for: tuple[str, ...] = ()
    output: Any = None
    error: ErrorInfo | None = None
    changed_arguments: tuple[str, ...] = ()


async def replay(workflow: Workflow[Any, Any], history: Mapping[str, Any]) -> Replayed:
    """Replay a history against this code. No step function is called, and nothing is written.

    Where the record ends, the replay ends, too: what comes after it may be any code. A `def` body does again what it does outside of
    steps, as it does on any replay.

    Args:
        workflow: the code as it is now, of whatever version.
        history: what `export_history` gave, or what was read from its JSON.

    Raises:
        NonDeterminism: the code does not fit. The message is the one with which a worker would pause the run; or it says what the code
            raises before it has asked for all that is recorded.
        ValueError: it is no history, or one of a later format.
        DefinitionError: `workflow` is no Workflow, or one of another name.

    Example:
        async def test_runs_that_are_under_way_go_on() -> None:
            await replay(pay, json.loads(Path("tests/pay.json").read_text()))
    """
    if not isinstance(workflow, Workflow):
        raise DefinitionError(f"replay takes a Workflow, not {workflow!r}; is the function decorated with @workflow?")
    claimed = from_json(history)
    if claimed.workflow != workflow.name:
        raise DefinitionError(
            f"this is a history of workflow {claimed.workflow!r}, and {workflow.name!r} is another; "
            f'code that takes its place is named like it: @workflow(name="{claimed.workflow}")'
        )
    return await replay_claimed(workflow, claimed)


async def replay_claimed(workflow: Workflow[Any, Any], claimed: Claimed) -> Replayed:
    """As `replay`, of a history as stores give it. Raises NonDeterminism."""
    adopt_generators()
    stage = _Stage()
    execution = _Replay(claimed, workflow, stage)
    stage.do(execution.begin)
    try:
        return await stage.met
    finally:
        stage.do(execution.abandon)
        await asyncio.sleep(0)  # until that is done
        stage.threads.close()


class _Replay(Execution):
    """A run that goes as far as its record, and no further."""

    __slots__ = ()

    host: _Stage

    def _diverge(self, finding: Finding) -> None:
        message = explain(finding, self._workflow, self.claimed.version, self.loop.places(), PYTHON)
        self.host.refuse(NonDeterminism(message, key=finding.key), self._error())

    def _finish(self, ending: Ending) -> None:
        left_over = self._left_over(ending.error) if isinstance(ending, Fail | RetryLater) else None
        if left_over is None:
            self.host.accept(self._met(**_shown(ending)))
        else:
            self.host.refuse(left_over, self._error())

    def _left_over(self, raised: ErrorInfo) -> NonDeterminism | None:
        """A worker would take the error for the run's own; here it shows that the code does not come as far as it did."""
        try:
            self.history.ended()
        except Diverged as early:
            name, key = version_label(self._workflow.name, self.claimed.version), early.finding.key
            return NonDeterminism(
                f"the code of {name} raises {raised} before it has asked for {key!r}, which this run has recorded", key=key
            )
        return None

    def _wait(self) -> None:
        held = [f"{request.kind.word} {request.key!r}" for request in self.held if not request.done()]
        due = ["timer" if what.kind is Kind.TIMER else f"{what.kind.word} {what.key!r}" for what in self.due.take(math.inf)]
        waits = [f"{request.kind.word} {request.key!r}" for request in self.mailbox.waiting()]
        if held or due or waits:
            self.host.accept(self._met(end="waiting", waiting_for=tuple(dict.fromkeys([*held, *due, *waits]))))
        else:
            self.held.clear()
            super()._wait()  # it is stuck, which is an end

    def _answer_waits(self, sent_by: float | None = None) -> bool:  # noqa: ARG002  # as an Execution
        """A signal that was read in vain is not read again: that would be after the record."""
        return False

    def _met(self, **what: Any) -> Replayed:
        history = self.history
        matched = (outcome for outcome in self.claimed.outcomes if outcome.seq <= history.delivered and outcome.kind != Kind.TIMER)
        changed = dict.fromkeys([*self.host.changed_arguments, *history.changed_arguments])
        return Replayed(matched=tuple(outcome.key for outcome in matched), changed_arguments=tuple(changed), **what)

    def _error(self) -> BaseException | None:
        """What the body has raised, if it has."""
        main = self._main
        return main.exception() if main is not None and main.done() and not main.cancelled() else None


def _shown(ending: Ending) -> dict[str, Any]:
    match ending:
        case Complete(output):
            return {"end": "completed", "output": json.loads(output)}
        case Fail(error):
            return {"end": "failed", "error": error}
        case RetryLater(_, _, error):
            return {"end": "retried", "error": error}
        case GoOnAsNew():
            return {"end": "continued"}
        case _:
            raise RuntimeError(f"a replay does not end by {ending}")


class _Stage:
    """The worker that a replay takes place in: it begins no step, knows no time, and writes nothing."""

    park_after = math.inf
    may_start = False
    max_payload = MAX_PAYLOAD

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.thread = get_ident()
        self.clock: Clock = _NoTime()
        self.alarms = Alarms(self.clock)
        self.committer = cast("Committer", self)  # of which a run uses nothing but `put`
        self.threads = Threads(self.loop, "stepwell-replay")
        self.steps = StepRunner(self.loop, self.clock, self.threads, cast("Effects", self), MAX_PAYLOAD, Counters())  # nor of that anything
        self.registry = Registry()
        self.changed_arguments: list[str] = []
        self.met: asyncio.Future[Replayed] = self.loop.create_future()

    def accept(self, replayed: Replayed) -> None:
        """The code fits."""
        if not self.met.done():
            self.met.set_result(replayed)

    def refuse(self, error: Exception, cause: BaseException | None = None) -> None:
        """It does not, or it could not be tried."""
        if not self.met.done():
            error.__cause__ = cause
            self.met.set_exception(error)

    async def send_signal(self, run_id: str, name: str, payload: str) -> None:
        """No step is run."""

    def do(self, action: Callable[[], None]) -> None:
        """Do this from a plain callback of the loop: bodies are stepped from nowhere else."""
        self.loop.call_soon(self._do, action)

    def _do(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001  # raised by `replay`: the event loop would only log it
            self.refuse(error)

    def put(self, write: object, writer: object) -> None:  # noqa: ARG002  # as the committer's
        """Nothing is written. Of arguments that have changed, a run tells in its log."""
        if isinstance(write, LogEntry) and write.step is not None and write.scope == f"~{write.step}":
            self.changed_arguments.append(write.step)

    def parked(self, execution: Execution) -> None:
        """See `Host.parked`. Nothing waits here."""

    def woken(self, execution: Execution) -> bool:  # noqa: ARG002  # as a Host
        """See `Host.woken`."""
        return False

    def left(self, execution: Execution, ending: Ending | None) -> None:
        """See `Host.left`. It is abandoned where it is."""


class _NoTime:
    """A clock by which nothing is ever due: a timer that has not fired in the record does not fire in a replay."""

    def now(self) -> float:
        """Before everything."""
        return -math.inf

    def call_at(self, when: float, callback: Callable[[], None]) -> Alarm:  # noqa: ARG002  # as a Clock
        """Never."""
        return _NO_ALARM

    def random(self) -> float:
        """What comes of it is not recorded."""
        return 0.5

    def random_bits(self, count: int) -> int:  # noqa: ARG002  # as a Clock
        """Likewise."""
        return 0


class _NoAlarm:
    def cancel(self) -> None:
        """It never rings."""


_NO_ALARM: Final = _NoAlarm()
