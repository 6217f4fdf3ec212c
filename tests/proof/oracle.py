"""What must come of a run whose outcomes came to pass in a given order: its body, undisturbed, without a database or an engine.

The body runs on the loop of a run, and each outcome of the recorded order is handed to it when it is quiescent. Nothing is replayed,
held, numbered or written here: what the engine did in any number of lives must equal this.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import copy_context
from datetime import UTC, datetime
from threading import get_ident
from typing import Any
from uuid import UUID

from stepwell import StepFailed
from stepwell.core.duration import parse_duration
from stepwell.core.failure import error_from
from stepwell.core.mark import mark_of
from stepwell.core.naming import Branch, key_name
from stepwell.core.records import Kind, Outcome
from stepwell.engine.runloop import RunLoop, Timer
from tests.proof.world import model


class Impossible(Exception):
    """The recorded order is not one that the body can have led to."""


class Asked:
    """A request of the body."""

    def __init__(self, kind: Kind, asked: int, mark: int, name: str, argument: int | None, future: asyncio.Future[Any] | Timer) -> None:
        self.kind = kind
        self.asked = asked
        self.mark = mark
        self.name = name
        self.argument = argument
        self.future = future


def result_of(outcome: Outcome, name: str, argument: int | None) -> Any:
    """What the outcome gives the body, computed from the request and not from what was stored, where that can be."""
    if outcome.kind == Kind.VALUE:
        text = outcome.value or ""
        return {"now": lambda: datetime.fromtimestamp(float(text), UTC), "uuid": lambda: UUID(text.strip('"')), "random": lambda: float(text)}[name]()
    if outcome.kind != Kind.FUNCTION:
        return None
    if not outcome.ok:
        return StepFailed(step=name, key=outcome.key, attempts=outcome.attempt, error=error_from(outcome.value or ""))
    if argument is None or outcome.value != str(model(argument)):
        raise Impossible(f"{outcome.key} has {outcome.value}, and was called with {argument}")
    return model(argument)


class Oracle:
    """One undisturbed run of an `async` body."""

    def __init__(self, body: Callable[..., Any], started_at: float) -> None:
        self.asked: dict[str, Asked] = {}
        self.delivered = 0
        self.loop = RunLoop(self, started_at)
        self.loop.thread = get_ident()
        self.main = self.loop.start(body(Script(self), 1), copy_context())
        self.loop.run_ready(10**6)

    def deliver(self, outcome: Outcome) -> None:
        request = self.asked.get(outcome.key)
        if request is None:
            raise Impossible(f"{outcome.key} is recorded as {outcome.seq}, and was not asked for")
        if (request.kind, request.asked, request.mark) != (outcome.kind, outcome.asked, outcome.mark):
            raise Impossible(f"{outcome.key} is recorded as {outcome}, and was asked for as {vars(request)}")
        self.delivered = outcome.seq
        self.loop.now = outcome.at
        future = request.future
        if isinstance(future, Timer):
            future.deliver(outcome)
        elif not future.done():
            result = result_of(outcome, request.name, request.argument)
            if isinstance(result, StepFailed):
                future.set_exception(result)
            else:
                future.set_result(result)
        self.loop.run_ready(10**6)

    def close(self) -> None:
        """Leave what the body left."""
        self.loop.unwind()
        self.loop.thread = 0

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

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle

    def _ask(self, kind: Kind, name: str, mark: int = 0, argument: int | None = None, branch: Branch | None = None) -> asyncio.Future[Any]:
        loop = self._oracle.loop
        if loop.closing:
            raise asyncio.CancelledError
        future: asyncio.Future[Any] = asyncio.Future(loop=loop)  # not numbered: it is in no set of the body's
        key = (branch or loop.branch()).key(key_name(name))
        self._oracle.asked[key] = Asked(kind, self._oracle.delivered, mark, name, argument, future)
        return future

    async def run(self, name: str, function: Any, argument: int) -> Any:
        return await self._ask(Kind.FUNCTION, name, mark_of(name, (argument,), {}), argument)

    def define(self, name: str, function: Any, retry: Any = None) -> Any:
        return _Defined(self, name, function)

    async def sleep(self, name: str, duration: str) -> None:
        parse_duration(duration)
        await self._ask(Kind.SLEEP, name)

    async def now(self) -> Any:
        return await self._ask(Kind.VALUE, "now")

    async def uuid(self) -> Any:
        return await self._ask(Kind.VALUE, "uuid")

    async def random(self) -> Any:
        return await self._ask(Kind.VALUE, "random")

    async def map(self, name: str, function: Any, items: list[int], concurrency: int | None = None) -> list[Any]:
        """As many at once as may be, the next when one has ended; keys by place."""
        loop = self._oracle.loop
        branch = loop.branch()
        keys = [branch.key(key_name(name)) for _ in items]
        results: list[Any] = [None] * len(items)
        left = iter(list(enumerate(items)))
        under_way: set[int] = set()
        over = loop.create_future()

        def ask() -> None:
            for place, item in left:
                future: asyncio.Future[Any] = asyncio.Future(loop=loop)
                self._oracle.asked[keys[place]] = Asked(
                    Kind.FUNCTION, self._oracle.delivered, mark_of(name, (item,), {}), name, item, future
                )
                under_way.add(place)
                future.add_done_callback(lambda future, place=place: ended(place, future))  # type: ignore[misc]
                futures.append(future)
                return

        def ended(place: int, future: asyncio.Future[Any]) -> None:
            under_way.discard(place)
            if future.cancelled():
                return
            results[place] = future.result()
            ask()
            if not under_way and not over.done():
                over.set_result(None)

        futures: list[asyncio.Future[Any]] = []
        for _ in range(concurrency or len(items)):
            ask()
        try:
            await over
        except asyncio.CancelledError:
            for future in futures:
                future.cancel()
            raise
        return results


class _Defined:
    def __init__(self, script: Script, name: str, function: Any) -> None:
        self._script = script
        self._name = name
        self._function = function

    async def run(self, argument: int) -> Any:
        return await self._script.run(self._name, self._function, argument)


class SyncOracle:
    """One undisturbed run of a `def` body: each call is answered by the next recorded outcome."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        self._outcomes = list(outcomes)
        self._branch = Branch()
        self._delivered = 0

    def _next(self, kind: Kind, name: str, argument: int | None = None) -> Any:
        return self._take({self._branch.key(key_name(name)): argument}, kind, name, self._delivered)[0]

    def _take(self, wanted: dict[str, int | None], kind: Kind, name: str, asked: int) -> tuple[Any, str]:
        if not self._outcomes:
            raise Impossible("the record is shorter than the body")
        outcome = self._outcomes.pop(0)
        argument = wanted.get(outcome.key, 0)
        mark = mark_of(name, (argument,), {}) if argument is not None else 0
        if outcome.key not in wanted or (outcome.kind, outcome.asked, outcome.mark) != (kind, asked, mark):
            raise Impossible(f"{outcome} is recorded, and {wanted} asked for, {kind!r}, after {asked}")
        self._delivered = outcome.seq
        result = result_of(outcome, name, argument)
        if isinstance(result, StepFailed):
            raise result
        return result, outcome.key

    def run(self, name: str, function: Any, argument: int) -> Any:
        return self._next(Kind.FUNCTION, name, argument)

    def define(self, name: str, function: Any, retry: Any = None) -> Any:
        return _SyncDefined(self, name)

    def sleep(self, name: str, duration: str) -> None:
        self._next(Kind.SLEEP, name)

    def now(self) -> Any:
        return self._next(Kind.VALUE, "now")

    def uuid(self) -> Any:
        return self._next(Kind.VALUE, "uuid")

    def random(self) -> Any:
        return self._next(Kind.VALUE, "random")

    def map(self, name: str, function: Any, items: list[int], concurrency: int | None = None) -> list[Any]:
        keys = [self._branch.key(key_name(name)) for _ in items]
        waiting: dict[str, int | None] = {}
        asked: dict[str, int] = {}
        results: dict[str, Any] = {}
        left = list(zip(keys, items, strict=True))
        room = concurrency or len(items)
        while len(results) < len(items):
            while left and len(waiting) < room:
                key, item = left.pop(0)
                waiting[key], asked[key] = item, self._delivered
            head = self._outcomes[0].key if self._outcomes else ""
            result, key = self._take(waiting, Kind.FUNCTION, name, asked.get(head, -1))
            results[key] = result
            del waiting[key]
        return [results[key] for key in keys]

    @property
    def left(self) -> list[Outcome]:
        """Recorded, and never asked for."""
        return self._outcomes


class _SyncDefined:
    def __init__(self, oracle: SyncOracle, name: str) -> None:
        self._oracle = oracle
        self._name = name

    def run(self, argument: int) -> Any:
        return self._oracle.run(self._name, None, argument)


