"""`step.transaction`: what a step does in the database itself, written together with its outcome.

One attempt is one `Effect`, which the store calls within its transaction. Its writing may have to be asked for several times, until the
database has said whether it was done; that counts as one attempt. What becomes of the attempt is the business of `attempts`.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final, TypeVar

from stepwell.core.records import Outcome
from stepwell.engine.requests import NOTHING, PYTHON
from stepwell.engine.service import Waker
from stepwell.errors import DatabaseUnavailable, DefinitionError, NotSerializable
from stepwell.store.port import EffectFailed, WriteRefused

if TYPE_CHECKING:
    from collections.abc import Callable

    from stepwell.core.status import RunStatus
    from stepwell.engine.clock import Clock
    from stepwell.engine.committer import Committer
    from stepwell.engine.execution import Execution
    from stepwell.engine.requests import TransactionRequest
    from stepwell.engine.threads import Threads
    from stepwell.store.port import Store

T = TypeVar("T")

log = logging.getLogger(__name__)

_FIRST_RETRY: Final = 0.05
_LONGEST_RETRY: Final = 5.0


class Effect:
    """One attempt of a `step.transaction`: see `store.port.Effect`. Made in the context in which its function is to be called."""

    def __init__(
        self, execution: Execution, request: TransactionRequest, clock: Clock, threads: Threads, max_payload: int, *, is_async: bool
    ) -> None:
        self.run = execution.id
        self.claim = execution.claimed.claim
        self.key = request.key
        self.is_async = is_async
        self.error: BaseException | None = None
        """Why it has failed, where that is known better than by what the store raises."""
        self.written: Outcome | None = None
        """What was to be written last; once the store has said so, what is."""
        self.waker = Waker(clock)
        self._execution = execution
        self._request = request
        self._clock = clock
        self._threads = threads
        self._max_payload = max_payload
        self._context = copy_context()
        self._calling: asyncio.Task[Any] | None = None
        self._stop: Callable[[], None] | None = None
        self._number: tuple[int, float] | None = None
        self._given_up: BaseException | None = None

    # -- for the store

    @property
    def numbered(self) -> bool:
        """See `Effect.numbered`."""
        return self._number is not None

    def number(self) -> None:
        """See `Effect.number`."""
        if self._number is None:
            self._number = self._execution.history.reserve(self._clock.now())

    def void(self) -> None:
        """See `Effect.void`."""
        if self._number is not None:
            self._execution.history.free(self._number[0])
            self._execution.schedule_pump()  # others may have waited behind it
            self._number = None

    def call(self, connection: Any) -> Any:
        """See `Effect.call`."""
        self._check_wanted()
        request = self._request
        try:
            value = self._context.run(request.function, connection, *request.args, **request.kwargs)
            return _no_awaitable(value, self.key) if not self.is_async else value
        except BaseException as error:  # SystemExit, too, is the step's failure and not the thread's
            self.error = error
            raise EffectFailed from error

    async def awaited(self, connection: Any) -> Any:
        """See `Effect.awaited`."""
        self._check_wanted()
        self._calling = asyncio.get_running_loop().create_task(self._called(connection, self._request), context=self._context)
        try:
            value, error = await self._calling
        except asyncio.CancelledError as canceled:  # before its first turn, or with the store
            value, error = None, canceled
        finally:
            self._calling = None
        if error is not None:
            self.error = self._given_up or error
            raise EffectFailed from error
        return value

    @staticmethod
    async def _called(connection: Any, request: TransactionRequest) -> tuple[Any, BaseException | None]:
        try:
            return await request.function(connection, *request.args, **request.kwargs), None
        except BaseException as error:  # noqa: BLE001  # as in `call`; out of a task, some would end the loop
            return None, error

    async def in_thread(self, function: Callable[[], T], stop: Callable[[], None]) -> T:
        """See `Effect.in_thread`."""
        self._check_wanted()
        self._stop = stop
        try:
            result: T = await self._threads.run(function)
        except EffectFailed:
            self.error = self._given_up or self.error
            raise
        finally:
            self._stop = None
        return result

    def outcome(self, value: Any) -> Outcome:
        """See `Effect.outcome`."""
        request, number = self._request, self._number
        if number is None:
            raise RuntimeError(f"step {self.key!r} of run {self.run} has no number yet")
        try:
            text, request.value = request.codec.round_trip(value, f"step {self.key!r}", self._max_payload)
        except Exception as error:
            self.error = error
            raise EffectFailed from error
        self._check_wanted()
        seq, at = number
        self.written = Outcome(
            self.run, self.claim, self.key, seq, request.asked, request.kind, True, text, at, request.mark, request.attempt,
            request.started_at, PYTHON,
        )  # fmt: skip
        return self.written

    def found(self, outcome: Outcome) -> None:
        """See `Effect.found`."""
        if self.written is None or self.written.value != outcome.value:
            self._request.value = NOTHING  # to be decoded from what is there
        self.written = outcome

    def blame(self, error: Exception | None) -> None:
        """See `Effect.blame`."""
        if error is not None:
            error.__cause__ = self.error
        self.error = error

    # -- for the engine

    @property
    def over(self) -> bool:
        """Whether its run has left: nobody wants to know any more."""
        return self._execution.over

    def give_up(self, error: BaseException) -> None:
        """Do not do it, if it is not done yet. What becomes of it is known only when the store has answered."""
        if self._given_up is None:
            self._given_up = error
            if self._calling is not None:
                self._calling.cancel()
            if self._stop is not None:
                self._stop()
        self.waker.set()

    def _check_wanted(self) -> None:
        if self._given_up is not None:
            self.error = self._given_up
            raise EffectFailed


class Effects:
    """Has effects done, by a store that may be away."""

    def __init__(self, store: Store, committer: Committer, clock: Clock, failed: Callable[[BaseException], None]) -> None:
        self._store = store
        self._committer = committer  # by which the worker's id is known, which may change
        self._clock = clock
        self._failed = failed

    async def perform(self, effect: Effect) -> RunStatus | None:
        """How the run stands once the effect is written; None, or how it has ended: it was not.

        Raises whatever has kept it from being written. An error of the engine is the end of the worker besides.
        """
        delay = _FIRST_RETRY
        while True:
            try:
                return await self._store.transact(self._committer.worker, effect, self._clock.now())
            except DatabaseUnavailable as error:
                if effect.error is not None or effect.over:
                    raise
                seconds = delay * (0.5 + self._clock.random())
                log.warning("run %s: step %s waits for the database, the next try is in %.2f s: %s", effect.run, effect.key, seconds, error)
            except (EffectFailed, DefinitionError):
                raise
            except WriteRefused as error:
                what = f"the result of step {effect.key!r}"
                raise NotSerializable(f"{what} cannot be stored: {error}", what=what, path="$") from error
            except Exception as error:
                self._failed(error)
                raise
            await effect.waker.wait_for(seconds)
            if effect.over:
                raise EffectFailed
            delay = min(delay * 2, _LONGEST_RETRY)


def _no_awaitable(value: Any, key: str) -> Any:
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()  # it will never be awaited
        raise DefinitionError(f"the function of transaction {key!r} is a `def` that returns an awaitable; it has to return its result")
    return value
