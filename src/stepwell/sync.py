"""The app for code without an event loop: Flask, Django, scripts, notebooks. Each call blocks until it is done.

One small wrapper does it for everything: whatever is a coroutine is awaited on the event loop of a `Portal`. Only starts are written out,
since their types depend on the workflow; all else is `Any` to type checkers, and documented where it is made: `Stepwell`, `Handle`, `Runs`.
"""

from __future__ import annotations

import inspect
import signal
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import ModuleType
from typing import TYPE_CHECKING, Any, Generic, Self, TypedDict, TypeVar, Unpack, overload

from stepwell.app import Stepwell
from stepwell.core.definition import Workflow
from stepwell.core.retention import Retention
from stepwell.engine.clock import Clock
from stepwell.engine.runloop import refuse_in_body
from stepwell.errors import DefinitionError
from stepwell.handle import Handle
from stepwell.namespaces import Queues, Runs, Workers, Workflows
from stepwell.overview import Overview
from stepwell.portal import Portal
from stepwell.runner import AppWorker
from stepwell.schedules import Schedules
from stepwell.starting import ExecuteOptions, ManyOptions, StartOptions

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

In = TypeVar("In")
Out = TypeVar("Out")
Out_co = TypeVar("Out_co", covariant=True)
T = TypeVar("T")


class AppOptions(TypedDict, total=False):
    """The options of `Stepwell`, which explains them."""

    workflows: Iterable[Workflow[Any, Any] | ModuleType]
    timezone: str | None
    namespace: str | None
    migrate: bool
    max_payload: str | int
    max_crashes: int
    retention: Retention | None
    codec: Any
    clock: Clock | None


class Blocking:
    """A part of the app, whose coroutines block: for each `await part.do(…)` there is a `part.do(…)`."""

    def __init__(self, target: Any, portal: Portal) -> None:
        self._target = target
        self._portal = portal

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__} has no {name!r}")
        return self._blocking(getattr(self._target, name))

    def _blocking(self, value: Any) -> Any:
        """The same for those who block: coroutines become plain methods, async iterators plain ones."""
        if isinstance(value, Handle):
            return SyncHandle(value, self._portal)
        if isinstance(value, Runs | Workers | Workflows | Queues | Schedules | Overview):
            return Blocking(value, self._portal)
        if isinstance(value, list):
            return [self._blocking(item) if isinstance(item, Handle) else item for item in value]
        if isinstance(value, AsyncIterator):
            return self._each(value)
        return self._method(value) if inspect.ismethod(value) else value

    def _method(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def blocking(*args: Any, **kwargs: Any) -> Any:
            return self._blocking(self._portal.call(method, *args, **kwargs))

        return blocking

    def _each(self, items: AsyncIterator[T]) -> Iterator[T]:
        end: Any = object()
        try:
            while (item := self._portal.call(anext, items, end)) is not end:
                yield item
        finally:
            if self._portal.is_open and inspect.isasyncgen(items):
                self._portal.call(items.aclose)

    def __repr__(self) -> str:
        return f"<blocking {self._target!r}>"


class SyncHandle(Blocking, Generic[Out_co]):
    """A `Handle` whose methods block."""

    run_id: str
    created: bool

    def result(self, timeout: float | None = None) -> Out_co:
        """See `Handle.result`."""
        output: Out_co = self._portal.call(self._target.result, timeout)
        return output


class SyncWorker(Blocking):
    """An `AppWorker` for code without an event loop: `with app.worker():` works in the background, `run` in the foreground."""

    _target: AppWorker

    def __init__(self, app: SyncStepwell, target: AppWorker, portal: Portal) -> None:
        super().__init__(target, portal)
        self._app = app

    def __enter__(self) -> Self:
        self._app.open()
        try:
            self._portal.call(self._target.__aenter__)
        except BaseException:
            self._app.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._portal.call(self._target.__aexit__, None, None, None)
        finally:
            self._app.close()

    def run(self) -> None:
        """See `AppWorker.run`. In the main thread, SIGTERM and SIGINT stop it; elsewhere, only an operator does."""
        with self._app, _sigterm_interrupts():
            work = self._portal.begin(self._target.run)
            try:
                work.wait()
            except KeyboardInterrupt:
                try:
                    self._portal.call(self._target.stop)
                finally:  # a second one leaves at once
                    work.result()

    def run_until_idle(self) -> None:
        """See `AppWorker.run_until_idle`."""
        with self._app:
            self._portal.call(self._target.run_until_idle)


class SyncStepwell(Blocking):
    """`Stepwell` for code without an event loop: the same methods, without `await`. It may be used by many threads at once.

    Within a running event loop it works, and blocks that loop: use `Stepwell` there.

    Args:
        database_url: see `Stepwell`.
        options: likewise.

    Example:
        with SyncStepwell("sqlite:///stepwell.db", workflows=[send_welcome_email]) as app, app.worker():
            print(app.start(send_welcome_email, Welcome(email="user@example.com")).result())
    """

    _target: Stepwell

    def __init__(self, database_url: str | Engine | AsyncEngine | None = None, **options: Unpack[AppOptions]) -> None:
        super().__init__(Stepwell(database_url, **options), Portal())

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """See `Stepwell.open`."""
        self._portal.open()
        try:
            self._portal.call(self._target.open)
        except BaseException:
            self._portal.close()
            raise

    def close(self) -> None:
        """See `Stepwell.close`. Closing more often than opening changes nothing."""
        if self._portal.is_open:
            try:
                self._portal.call(self._target.close)
            finally:
                self._portal.close()

    @overload
    def start(self, workflow: Workflow[None, Out], input: None = None, /, **options: Unpack[StartOptions]) -> SyncHandle[Out]: ...
    @overload
    def start(self, workflow: Workflow[In, Out], input: In, /, **options: Unpack[StartOptions]) -> SyncHandle[Out]: ...
    @overload
    def start(self, workflow: str, input: Any = None, /, **options: Unpack[StartOptions]) -> SyncHandle[Any]: ...
    def start(self, workflow: Any, input: Any = None, /, *, connection: Any = None, **options: Any) -> SyncHandle[Any]:
        """See `Stepwell.start`. A connection is used in the thread that calls this, and must be one that blocks."""
        if connection is None:
            handle = self._portal.call(self._target.start, workflow, input, **options)
        else:
            refuse_in_body("starts a run", "start it in a step")
            prepared = self._portal.call(self._target._prepare, workflow, input, **options)
            run_id = _at_once(self._target._home.enqueue_within(connection, prepared.run))
            handle = self._portal.call(self._target._started_within, prepared, run_id)
        return SyncHandle(handle, self._portal)

    @overload
    def start_many(self, workflow: Workflow[In, Out], inputs: Iterable[In], /, **options: Unpack[ManyOptions]) -> list[SyncHandle[Out]]: ...
    @overload
    def start_many(self, workflow: str, inputs: Iterable[Any], /, **options: Unpack[ManyOptions]) -> list[SyncHandle[Any]]: ...
    def start_many(self, workflow: Any, inputs: Iterable[Any], /, **options: Any) -> list[SyncHandle[Any]]:
        """See `Stepwell.start_many`."""
        handles = self._portal.call(self._target.start_many, workflow, inputs, **options)
        return [SyncHandle(handle, self._portal) for handle in handles]

    @overload
    def execute(self, workflow: Workflow[None, Out], input: None = None, /, **options: Unpack[ExecuteOptions]) -> Out: ...
    @overload
    def execute(self, workflow: Workflow[In, Out], input: In, /, **options: Unpack[ExecuteOptions]) -> Out: ...
    @overload
    def execute(self, workflow: str, input: Any = None, /, **options: Unpack[ExecuteOptions]) -> Any: ...
    def execute(self, workflow: Any, input: Any = None, /, **options: Any) -> Any:
        """See `Stepwell.execute`."""
        return self._portal.call(self._target.execute, workflow, input, **options)

    def handle(self, run_id: str) -> SyncHandle[Any]:
        """See `Stepwell.handle`."""
        return SyncHandle(self._target.handle(run_id), self._portal)

    def worker(self, **options: Any) -> SyncWorker:
        """See `Stepwell.worker`, which explains the options."""
        return SyncWorker(self, self._target.worker(**options), self._portal)


def _at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns that waits for nothing, since all it does blocks. In this thread, where its connection is at home."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    coroutine.close()
    raise DefinitionError(
        "connection is one for async code, which a SyncStepwell cannot use; give one that blocks, or start the run with Stepwell"
    )


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """As Ctrl-C does. In any thread but the main one signals are none of our business."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
