"""Executes steps: on the worker's event loop, in a thread, or in the thread of a `def` body; one attempt after the other.

Knows nothing of replay. What comes of an attempt is handed to the run, which numbers and records it.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
from contextvars import copy_context
from functools import partial
from inspect import CO_COROUTINE
from typing import TYPE_CHECKING, Any, Final

from stepwell.core import definition
from stepwell.core.failure import describe, error_text
from stepwell.engine.effects import Effect
from stepwell.engine.requests import StepInfo, StepRequest, TransactionRequest
from stepwell.errors import OutsideRun, StepTimeout

if TYPE_CHECKING:
    from collections.abc import Callable

    from stepwell.engine.clock import Clock
    from stepwell.engine.counters import Counters
    from stepwell.engine.effects import Effects
    from stepwell.engine.execution import Execution
    from stepwell.engine.threads import Threads

log = logging.getLogger(__name__)

_EAGER: Final[dict[str, Any]] = {"eager_start": True} if sys.version_info >= (3, 12) else {}


class StepRunner:
    """Begins attempts, and tells the run how each has ended."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, clock: Clock, threads: Threads, effects: Effects, max_payload: int, counters: Counters
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._counters = counters
        self._took = counters.steps.add
        self._threads = threads
        self._effects = effects
        self._max_payload = max_payload
        self.running = 0
        """Attempts under way."""
        self.stand_in: Callable[[StepRequest], Callable[..., Any]] | None = None
        """For tests: what an attempt that begins is to call, in the place of the step's own function."""

    def start(self, run: Execution, request: StepRequest) -> None:
        """Begin the next attempt of this step."""
        self.running += 1
        request.attempt += 1
        request.started_at = self._clock.now()
        function = request.function if self.stand_in is None else self.stand_in(request)
        if isinstance(request, TransactionRequest) and function is request.function:  # a mock of it gets no connection, and writes nothing
            attempt = self._transaction(run, request)
        else:
            attempt = self._attempt(run, request, function)
        # A step that never waits is done before this returns, where Python can do that (3.12): it saves a turn of the loop.
        task = asyncio.Task(attempt, loop=self._loop, context=request.context.copy(), **_EAGER)
        if not task.done():
            request.task = task

    def cancel(self, run: Execution, request: StepRequest) -> None:
        """Cancel the attempt under way. A thread runs out, and its result is dropped. A transaction is not written, if it is not yet."""
        task = request.task
        if task is None:
            return
        if inspect.getcoroutinestate(task.get_coro()) == inspect.CORO_CREATED:  # type: ignore[arg-type]  # it is a coroutine
            # It has not had its first turn, so nothing in it will notice: it was never begun.
            self.running -= 1
            request.task = None
            run.attempt_not_begun(request)
        elif isinstance(request, TransactionRequest):
            request.effect.give_up(asyncio.CancelledError())
            if not run.over:
                return  # it has to learn whether the transaction was written
        task.cancel()

    async def _attempt(self, run: Execution, request: StepRequest, function: Callable[..., Any]) -> None:
        definition.body.set(request)
        try:
            if request.timeout is not None:
                value = await self._within_timeout(run, request, function)
            elif is_async(function):
                value = await function(*request.args, **request.kwargs)
            else:
                value = await self._in_thread(run, request, function)
            text, request.value = request.codec.round_trip(value, f"step {request.key!r}", self._max_payload)
        except BaseException as error:  # noqa: BLE001  # SystemExit, too, is the step's failure and not the worker's
            self._failed(run, request, error)
        else:
            request.task = None
            if run.over or request.done():
                run.attempt_canceled(request, self._clock.now())  # canceled by the body, and it took no notice
            else:
                now = self._clock.now()
                self._took(now - request.started_at)
                run.step_ended(request, True, text, now)
        finally:
            self.running -= 1

    async def _transaction(self, run: Execution, request: TransactionRequest) -> None:
        definition.body.set(request)
        effect = Effect(run, request, self._clock, self._threads, self._max_payload, is_async=is_async(request.function))
        request.effect = effect
        limit = None if request.timeout is None else self._loop.call_later(request.timeout, effect.give_up, _too_long(request))
        try:
            status = await self._effects.perform(effect)
        except BaseException as error:  # noqa: BLE001  # as in `_attempt`
            effect.void()
            self._failed(run, request, effect.error or error)
        else:
            request.task = None
            self._took(self._clock.now() - request.started_at)
            self._loop.call_soon(run.transacted, request, status)  # out of this task: bodies are stepped from plain callbacks
        finally:
            self.running -= 1
            if limit is not None:
                limit.cancel()

    async def _within_timeout(self, run: Execution, request: StepRequest, function: Callable[..., Any]) -> Any:
        limit = asyncio.timeout(request.timeout)
        try:
            async with limit:
                if is_async(function):
                    return await function(*request.args, **request.kwargs)
                return await self._in_thread(run, request, function)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise _too_long(request) from error

    async def _in_thread(self, run: Execution, request: StepRequest, function: Callable[..., Any]) -> Any:
        call: Callable[[], Any] = partial(function, *request.args, **request.kwargs)
        body_thread = run.body_thread
        if body_thread is not None and request.timeout is None:
            value = await body_thread.execute(partial(copy_context().run, call))
        else:
            value = await self._threads.run(partial(copy_context().run, call))
        if inspect.isawaitable(value):
            value = await value
        return value

    def _failed(self, run: Execution, request: StepRequest, error: BaseException) -> None:
        request.task = None
        now = self._clock.now()
        if run.over or request.done():
            run.attempt_canceled(request, now)
            return
        self._took(now - request.started_at)
        self._counters.attempts_failed += 1
        request.failures += 1
        delay = request.retry.next(error, request.failures, self._clock.random())
        info = describe(error)  # after that: a `should_retry` that raises leaves a note
        if delay is None:
            request.cause = error
            run.step_ended(request, False, error_text(info), now)
        else:
            request.due = now + delay.total_seconds()
            log.warning(
                "run %s: attempt %d of step %s failed, the next is in %.3g s: %s",
                run.id,
                request.attempt,
                request.key,
                delay.total_seconds(),
                info,
            )
            run.attempt_failed(request, error_text(info), now)


def _too_long(request: StepRequest) -> StepTimeout:
    return StepTimeout(f"step {request.name!r} took longer than its timeout of {request.timeout:g} s")


def is_async(function: Any) -> bool:
    """Whether calling it gives a coroutine."""
    code = getattr(function, "__code__", None)
    if code is not None:  # a hundred times faster than inspect
        return bool(code.co_flags & CO_COROUTINE)
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(type(function), "__call__", None))  # noqa: B004


def current_step() -> StepInfo:
    """What step runs here and now: for its idempotency key, its attempt, its run.

    Raises:
        OutsideRun: the caller is not within a step.

    Example:
        async def charge(amount: int) -> str:
            return await bank.charge(amount, idempotency_key=stepwell.current_step().idempotency_key)
    """
    request = definition.body.get()
    if not isinstance(request, StepRequest):
        raise OutsideRun("current_step() is called outside of a step; only what runs as a step has one")
    return StepInfo(
        run_id=request.run.id, key=request.key, name=request.name, attempt=request.attempt, idempotency_key=request.idempotency_key
    )
