"""What must come of a run whose outcomes came to pass in a given order: its body, undisturbed, without a database or an engine.

The body runs on the loop of a run, and each outcome of the recorded order is handed to it when it is quiescent. Nothing is replayed,
held, numbered or written here: what the engine did in any number of lives must equal this.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from stepwell import ChildFailed, ContinueAsNew, StepFailed, WaitTimeout
from stepwell.core.duration import parse_duration
from stepwell.core.failure import error_from
from stepwell.core.mark import mark_of
from stepwell.core.naming import Branch, key_name
from stepwell.core.records import Kind, Outcome
from stepwell.engine.generators import adopt_generators
from stepwell.engine.runloop import RunLoop
from stepwell.engine.tasks import Timer
from tests.proof.world import model


class Impossible(Exception):
    """The recorded order is not one that the body can have led to."""


class Waits(BaseException):
    """A `def` body has come to the end of the record."""


@dataclass(slots=True)
class Asked:
    """A request of the body."""

    kind: Kind
    asked: int
    mark: int
    name: str
    argument: int | None
    future: asyncio.Future[Any] | Timer | None = None


Quiescent = Callable[[dict[str, Asked]], None]
"""Called with all that was asked for so far, each time that the body has nothing left to do. May raise `Impossible`."""


@dataclass
class Story:
    """An undisturbed run, as far as the record goes."""

    asked: dict[str, Asked] = field(default_factory=dict)
    left: list[Outcome] = field(default_factory=list)
    """Recorded, and not delivered because the body has ended."""
    read: list[int] = field(default_factory=list)
    """Numbers of the signals that were delivered to a wait."""
    ended: bool = False
    result: Any = None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Telling:
    """How strictly a record is read.

    `exact`: what is recorded of a request must be what the body asks now. Without it only the key and the kind must fit, which is what
    a body may rely on that was edited; results are then those that were recorded.
    """

    exact: bool = True
    quiescent: Quiescent = lambda asked: None

    def result(self, outcome: Outcome, request: Asked | None) -> Any:
        """What the outcome gives the body: computed from the request, where that can be, and not from what was stored."""
        if request is None:
            raise Impossible(f"{outcome.key} is recorded as {outcome.seq}, and was not asked for")
        if request.kind != outcome.kind:
            raise Impossible(f"{outcome.key} is recorded as {Kind(outcome.kind).word}, and was asked for as {request.kind.word}")
        mark = request.mark if request.kind not in (Kind.SIGNAL, Kind.CHILD) else outcome.mark  # which signal it was
        if self.exact and (request.asked, mark) != (outcome.asked, outcome.mark):
            raise Impossible(f"{outcome.key} is recorded as {outcome}, and was asked for as {request}")
        text = outcome.value or ""
        if request.kind == Kind.VALUE:
            return _VALUES[request.name](text)
        if request.kind == Kind.SIGNAL:
            return int(text) if outcome.ok else WaitTimeout("late", step=request.name, key=outcome.key)
        if request.kind == Kind.CHILD:
            return self._of_child(outcome, request)
        if request.kind != Kind.FUNCTION:
            return None
        if not outcome.ok:
            return StepFailed(step=request.name, key=outcome.key, attempts=outcome.attempt, error=error_from(text))
        if self.exact and (request.argument is None or text != str(model(request.argument))):
            raise Impossible(f"{outcome.key} has {text}, and was called with {request.argument}")
        return int(text)

    def _of_child(self, outcome: Outcome, request: Asked) -> Any:
        text = outcome.value or ""
        if not outcome.ok and not outcome.mark:
            return WaitTimeout("late", step=request.name, key=outcome.key)
        if not outcome.ok:
            error = error_from(text)
            return ChildFailed(step=request.name, key=outcome.key, run_id=outcome.child or "", workflow="c", error=error)
        if not outcome.mark:
            return Begun(text.strip('"'))
        if self.exact and (request.argument is None or text != str(model(request.argument))):
            raise Impossible(f"{outcome.key} has {text}, and was called with {request.argument}")
        return int(text)


@dataclass(frozen=True, slots=True)
class Begun:
    """A run that is not awaited."""

    run_id: str


_FAILURES = (StepFailed, WaitTimeout, ChildFailed)

_VALUES: dict[str, Callable[[str], Any]] = {
    "now": lambda text: datetime.fromtimestamp(float(text), UTC),
    "uuid": lambda text: UUID(text.strip('"')),
    "random": float,
}


def tell(body: Callable[..., Any], argument: int, started_at: float, outcomes: Iterable[Outcome], telling: Telling | None = None) -> Story:
    """Run the body, `async` or `def`, over these outcomes.

    Raises:
        Impossible: it cannot have led to them.
    """
    telling = telling or Telling()
    if not asyncio.iscoroutinefunction(body):
        running = asyncio._get_running_loop()
        asyncio._set_running_loop(None)  # as in the thread of a `def` body
        try:
            return _SyncOracle(outcomes, telling).tell(body, argument)
        finally:
            asyncio._set_running_loop(running)
    outer = sys.get_asyncgen_hooks()
    adopt_generators()
    oracle = _Oracle(body, argument, started_at, telling)
    try:
        return oracle.tell(list(outcomes))
    finally:
        oracle.close()
        sys.set_asyncgen_hooks(*outer)


class _Oracle:
    """One undisturbed run of an `async` body."""

    def __init__(self, body: Callable[..., Any], argument: int, started_at: float, telling: Telling) -> None:
        self.asked: dict[str, Asked] = {}
        self.read: list[int] = []
        self.delivered = 0
        self._telling = telling
        self.loop = RunLoop(self, started_at)  # type: ignore[abstract]  # it says itself that nothing is missing
        self._outer = self.loop.enter()
        self._main = self.loop.start(body(Script(self), argument), copy_context())
        self.loop.run_ready(10**6)

    def tell(self, outcomes: list[Outcome]) -> Story:
        main = self._main
        while not main.done():
            self._telling.quiescent(self.asked)
            if not outcomes:
                return Story(self.asked, read=self.read)
            self._deliver(outcomes.pop(0))
        error = asyncio.CancelledError() if main.cancelled() else main.exception()
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]  # a group of one says nothing more than what is in it
        if error is None or isinstance(error, ContinueAsNew):
            self._telling.quiescent(self.asked)
        return Story(dict(self.asked), outcomes, self.read, True, None if error else main.result(), error)

    def _deliver(self, outcome: Outcome) -> None:
        request = self.asked.get(outcome.key)
        result = self._telling.result(outcome, request)
        self.delivered = outcome.seq
        self.loop.now = outcome.at
        future = request.future if request is not None else None
        if isinstance(future, Timer):
            future.deliver(outcome)
        elif future is not None and not future.done():
            if outcome.kind == Kind.SIGNAL and outcome.ok:
                self.read.append(outcome.mark)
            if isinstance(result, _FAILURES):
                future.set_exception(result)
            else:
                future.set_result(result)
        self.loop.run_ready(10**6)

    def close(self) -> None:
        """Leave what the body left."""
        self.loop.unwind()
        self.loop.leave(self._outer)

    # -- as owner of the loop

    def timer_set(self, timer: Timer) -> None:
        if not self.loop.closing:
            self.asked[timer.key] = Asked(Kind.TIMER, self.delivered, 0, "", None, timer)

    def timer_canceled(self, timer: Timer) -> None:
        pass

    def stray_error(self, error: BaseException, message: str) -> None:
        pass


class Script:
    """`step`, as the body sees it."""

    def __init__(self, oracle: _Oracle) -> None:
        self._oracle = oracle

    def _ask(self, kind: Kind, name: str, argument: int | None = None, key: str | None = None) -> asyncio.Future[Any]:
        loop = self._oracle.loop
        if loop.closing:
            raise asyncio.CancelledError
        future: asyncio.Future[Any] = asyncio.Future(loop=loop)  # not numbered: it is in no set of the body's
        if key is None:
            key = loop.branch().key(key_name(name))
        mark = 0 if argument is None else mark_of(name, (argument,), {})
        self._oracle.asked[key] = Asked(kind, self._oracle.delivered, mark, name, argument, future)
        return future

    async def run(self, name: str, function: Any, argument: int) -> Any:
        return await self._ask(Kind.FUNCTION, name, argument)

    transaction = run

    def define(self, name: str, function: Any, retry: Any = None, timeout: Any = None) -> _Defined:
        return _Defined(self, name)

    async def sleep(self, name: str, duration: str) -> None:
        parse_duration(duration)
        await self._ask(Kind.SLEEP, name)

    async def wait_for_signal(self, name: str, type: Any, timeout: Any = None) -> Any:  # noqa: ASYNC109  # as that of `Step`
        return await self._ask(Kind.SIGNAL, name)

    async def execute(self, workflow: str, argument: int, name: str, timeout: Any = None) -> Any:  # noqa: ASYNC109  # as that of `Step`
        return await self._ask(Kind.CHILD, name, argument)

    async def start(self, workflow: str, argument: int, name: str) -> Any:
        return await self._ask(Kind.CHILD, name, argument)

    async def now(self) -> Any:
        return await self._ask(Kind.VALUE, "now")

    async def uuid(self) -> Any:
        return await self._ask(Kind.VALUE, "uuid")

    async def random(self) -> Any:
        return await self._ask(Kind.VALUE, "random")

    async def map(self, name: str, function: Any, items: list[int], concurrency: int | None = None) -> list[Any]:
        """As many at once as may be, the next when one has ended well; keys by place."""
        loop = self._oracle.loop
        if loop.closing:
            raise asyncio.CancelledError
        branch = loop.branch()
        left = [(place, branch.key(key_name(name)), item) for place, item in enumerate(items)]
        results: list[Any] = [None] * len(items)
        failures: list[BaseException] = []
        under_way: list[asyncio.Future[Any]] = []
        over = loop.create_future()

        def ask() -> None:
            if left and not failures:
                place, key, item = left.pop(0)
                future = self._ask(Kind.FUNCTION, name, item, key)
                under_way.append(future)
                future.add_done_callback(lambda future: ended(place, future))

        def ended(place: int, future: asyncio.Future[Any]) -> None:
            under_way.remove(future)
            if future.cancelled():
                return
            if (error := future.exception()) is None:
                results[place] = future.result()
            else:
                failures.append(error)
            ask()
            if not under_way and not over.done():
                over.set_result(None)

        for _ in range(concurrency or len(items)):
            ask()
        try:
            await over
        except asyncio.CancelledError:
            for future in under_way:
                future.cancel()
            raise
        if failures:
            raise failures[0]
        return results


class _Defined:
    def __init__(self, script: Script, name: str) -> None:
        self._script = script
        self._name = name

    async def run(self, argument: int) -> Any:
        return await self._script.run(self._name, None, argument)


class _SyncOracle:
    """One undisturbed run of a `def` body: each call is answered by the next recorded outcome."""

    def __init__(self, outcomes: Iterable[Outcome], telling: Telling) -> None:
        self.asked: dict[str, Asked] = {}
        self._outcomes = list(outcomes)
        self._telling = telling
        self._branch = Branch()
        self._read: list[int] = []
        self._delivered = 0

    def tell(self, body: Callable[..., Any], argument: int) -> Story:
        result, error = None, None
        try:
            result = body(self, argument)
        except Waits:
            return Story(self.asked, read=self._read)
        except Impossible:
            raise
        except (Exception, ContinueAsNew) as caught:  # noqa: BLE001  # the program's own
            error = caught
        if error is None or isinstance(error, ContinueAsNew):
            self._telling.quiescent(self.asked)
        return Story(self.asked, self._outcomes, self._read, True, result, error)

    def _ask(self, kind: Kind, name: str, argument: int | None = None, key: str | None = None) -> str:
        if key is None:
            key = self._branch.key(key_name(name))
        mark = 0 if argument is None else mark_of(name, (argument,), {})
        self.asked[key] = Asked(kind, self._delivered, mark, name, argument)
        return key

    def _take(self, waiting: set[str]) -> tuple[str, Any]:
        """The next outcome, which must be one of these."""
        self._telling.quiescent(self.asked)
        if not self._outcomes:
            raise Waits
        outcome = self._outcomes[0]
        result = self._telling.result(outcome, self.asked.get(outcome.key))
        if outcome.key not in waiting:
            raise Impossible(f"{outcome.key} is recorded, and {waiting} are waited for")
        self._delivered = self._outcomes.pop(0).seq
        if outcome.kind == Kind.SIGNAL and outcome.ok:
            self._read.append(outcome.mark)
        return outcome.key, result

    def _answer(self, kind: Kind, name: str, argument: int | None = None) -> Any:
        _, result = self._take({self._ask(kind, name, argument)})
        if isinstance(result, _FAILURES):
            raise result
        return result

    def run(self, name: str, function: Any, argument: int) -> Any:
        return self._answer(Kind.FUNCTION, name, argument)

    transaction = run

    def define(self, name: str, function: Any, retry: Any = None, timeout: Any = None) -> _SyncDefined:
        return _SyncDefined(self, name)

    def sleep(self, name: str, duration: str) -> None:
        self._answer(Kind.SLEEP, name)

    def wait_for_signal(self, name: str, type: Any, timeout: Any = None) -> Any:
        return self._answer(Kind.SIGNAL, name)

    def execute(self, workflow: str, argument: int, name: str, timeout: Any = None) -> Any:
        return self._answer(Kind.CHILD, name, argument)

    def start(self, workflow: str, argument: int, name: str) -> Any:
        return self._answer(Kind.CHILD, name, argument)

    def now(self) -> Any:
        return self._answer(Kind.VALUE, "now")

    def uuid(self) -> Any:
        return self._answer(Kind.VALUE, "uuid")

    def random(self) -> Any:
        return self._answer(Kind.VALUE, "random")

    def map(self, name: str, function: Any, items: list[int], concurrency: int | None = None) -> list[Any]:
        keys = [self._branch.key(key_name(name)) for _ in items]
        left = list(zip(keys, items, strict=True))
        waiting: set[str] = set()
        results: dict[str, Any] = {}
        failures: list[StepFailed] = []
        while waiting or (left and not failures):
            while left and not failures and len(waiting) < (concurrency or len(items)):
                key, item = left.pop(0)
                waiting.add(self._ask(Kind.FUNCTION, name, item, key))
            key, result = self._take(waiting)
            waiting.discard(key)
            results[key] = result
            if isinstance(result, StepFailed):
                failures.append(result)
        if failures:
            raise failures[0]
        return [results[key] for key in keys]


class _SyncDefined:
    def __init__(self, oracle: _SyncOracle, name: str) -> None:
        self._oracle = oracle
        self._name = name

    def run(self, argument: int) -> Any:
        return self._oracle.run(self._name, None, argument)
