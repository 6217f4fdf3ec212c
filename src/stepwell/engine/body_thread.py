"""A `def` body, in a thread of its own.

On the run's loop it is played by a coroutine that does what the thread asks for, one call at a time. So a `def` body has the same
gate, the same rule of replay and the same timers as an `async` one. While the thread computes, the run is not quiescent.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NoReturn

from stepwell.core import definition
from stepwell.engine.asking import MAX_REFUSALS
from stepwell.engine.runloop import Unwind
from stepwell.engine.step import Step, SyncStep
from stepwell.errors import OutsideRun

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from stepwell.engine.execution import Execution


@dataclass(frozen=True, slots=True)
class _Call:
    """The thread waits for what this gives on the run's loop."""

    begin: Callable[[], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class _Ended:
    """The body has returned or raised."""

    value: Any
    error: BaseException | None


@dataclass(frozen=True, slots=True)
class _Work:
    """The thread is to call this, while it waits."""

    function: Callable[[], Any]
    future: asyncio.Future[Any]


@dataclass(frozen=True, slots=True)
class _Reply:
    """What the thread has waited for."""

    value: Any
    error: BaseException | None


class BodyThread:
    """The thread of one run's `def` body, and the wire to it."""

    def __init__(self, run: Execution, step: Step) -> None:
        self.step = SyncStep(step, self.call)
        self._run = run
        self._outer = run.host.loop
        self._inbox: SimpleQueue[_Work | _Reply] = SimpleQueue()
        self._message: asyncio.Future[Any] | None = None
        self._closed = False
        self._working = False
        self._refusals = 0
        self.context = copy_context()
        """Of the body, where it waits."""
        self._thread: threading.Thread | None = None

    # -- on the loop

    async def drive(self, function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        """The body, as the run's loop sees it."""
        name = f"stepwell-body-{self._run.id}"
        self._thread = threading.Thread(target=self._live, args=(function, arguments), name=name, daemon=True)
        message = await self._next(self._thread.start)
        while isinstance(message, _Call):
            value, error = None, None
            try:
                value = await message.begin()
            except Unwind:
                raise
            except Exception as caught:  # noqa: BLE001  # it is the body's to deal with
                error = caught
            message = await self._next(lambda reply=_Reply(value, error): self._inbox.put(reply))  # type: ignore[misc]
        if message.error is not None:
            raise message.error
        return message.value

    async def _next(self, go_on: Callable[[], None]) -> Any:
        self._message = self._run.loop.create_future()
        go_on()
        self._run.computing = True
        return await self._message

    def _arrived(self, message: _Call | _Ended) -> None:
        if not self._closed and self._message is not None:
            self._run.hand_over(self._message, message)

    def execute(self, function: Callable[[], Any]) -> asyncio.Future[Any]:
        """Call a `def` step in the body's thread, which waits for it."""
        future: asyncio.Future[Any] = self._outer.create_future()
        self._inbox.put(_Work(function, future))
        return future

    def close(self) -> None:
        """Leave the body: where it waits, and at each further step, `Unwind` is raised. What it computes between steps runs out."""
        self._closed = True
        self._inbox.put(_Reply(None, Unwind()))

    # -- in the thread

    def is_body_speaking(self) -> bool:
        """Whether this is called by the body: in its thread, and not by a step that is executed there."""
        return threading.current_thread() is self._thread and not self._working

    def call(self, begin: Callable[[], Awaitable[Any]]) -> Any:
        """Have something done on the run's loop, and wait for it."""
        if threading.current_thread() is not self._thread:
            raise OutsideRun("a step of a `def` body is called from another thread than the body's; only the body itself can call steps")
        self.context = copy_context()
        self._post(_Call(begin))
        while True:
            message = self._inbox.get()
            if isinstance(message, _Reply):
                if message.error is not None:
                    raise message.error
                return message.value
            self._work(message)

    def _post(self, message: _Call | _Ended) -> None:
        if self._closed:
            self._refuse()
        try:
            self._outer.call_soon_threadsafe(self._arrived, message)
        except RuntimeError:  # the worker's loop has been closed
            raise Unwind from None

    def _work(self, work: _Work) -> None:
        if self._closed or work.future.cancelled():
            return  # the run was left while this waited for the thread: nothing new is begun
        value, error = None, None
        self._working = True
        try:
            value = work.function()
        except BaseException as caught:  # noqa: BLE001  # whatever the user's step raises is its outcome
            error = caught
        self._working = False
        with suppress(RuntimeError):  # the worker's loop has been closed
            self._outer.call_soon_threadsafe(_resolve, work.future, value, error)

    def _refuse(self) -> NoReturn:
        """Raise `Unwind`. A body that catches even this for ever is stopped here: it must not take the processor from others."""
        self._refusals += 1
        while self._refusals > MAX_REFUSALS:
            threading.Event().wait()
        raise Unwind

    def _live(self, function: Callable[..., Any], arguments: dict[str, Any]) -> None:
        definition.body.set(self._run)
        value, error = None, None
        try:
            value = function(**arguments)
        except Unwind:
            return
        except BaseException as caught:  # noqa: BLE001  # whatever the user's body raises is its end
            error = caught
        try:
            self._post(_Ended(value, error))
        except Unwind:
            return


def _resolve(future: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if isinstance(error, StopIteration):  # a future refuses to hold one
        error = RuntimeError("a step raised StopIteration")
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(value)
