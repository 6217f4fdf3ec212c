"""What user code holds: `Step` in an `async` body, `SyncStep` in a `def` body."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, Final, Generic, ParamSpec, TypedDict, TypeVar, Unpack, cast, overload

from stepwell.core.codec import codec_of
from stepwell.core.definition import Workflow
from stepwell.core.duration import Duration, parse_duration
from stepwell.core.naming import checked_name, checked_signal
from stepwell.core.retry import Retry
from stepwell.core.starting import checked_run_id
from stepwell.engine.children import Options, StartedRun
from stepwell.engine.requests import NOTHING, TransactionRequest
from stepwell.errors import DefinitionError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine

    from stepwell.core.codec import Codec
    from stepwell.engine.asking import Asking
    from stepwell.engine.requests import StepRequest

P = ParamSpec("P")
T = TypeVar("T")
Item = TypeVar("Item")

MAX_EXECUTING: Final = 1_000
"""Steps of one run that are executed at the same time; further ones wait for their turn."""


In = TypeVar("In")
Out = TypeVar("Out")


class ChildOptions(TypedDict, total=False):
    """What may be said of a run that a body starts: see `Stepwell.start`."""

    version: str | None
    key: str | None
    delay: Duration | None
    at: datetime | None
    timeout: Duration | None
    priority: int | None
    queue: str | None
    tags: Iterable[str]


class DefinedStep(Generic[P, T]):
    """A step with options, made by `step.define`. It can be run any number of times."""

    __slots__ = ("_call", "_codec", "_function", "_name", "_retry", "_timeout")

    def __init__(
        self,
        call: Callable[..., Coroutine[Any, Any, Any]],
        name: str | None,
        function: Any,
        retry: Retry | None,
        timeout: float | None,
        codec: Codec | None,
    ) -> None:
        self._call = call
        self._name = name
        self._function = function
        self._retry = retry
        self._timeout = timeout
        self._codec = codec

    async def run(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run it once, and remember its result."""
        return cast("T", await self._call(self._name, self._function, args, kwargs, self._retry, self._timeout, self._codec))


class Step:
    """Runs steps in an `async` body. What is finished is not run again when the body starts anew after a crash, a sleep or a deploy."""

    __slots__ = ("_asking",)

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    @overload
    async def run(self, name: str, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    async def run(self, name: str, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    async def run(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    async def run(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    async def run(self, name: Any, fn: Any = NOTHING, /, *args: Any, **kwargs: Any) -> Any:
        """Run a function once and remember its result, under a name or under the function's own.

        An `async def` function runs on the worker's event loop, a `def` function in a thread. It is tried again by its retry policy.
        What it returns comes back decoded from JSON by its return annotation, the first time as on every replay.
        The name may be used again: the second one is another step.

        Raises:
            StepFailed: it has used up its attempts; now and on every replay.
            DefinitionError: what is given is no function, or has no name.

        Example:
            receipt = await step.run("charge", charge, order.id, amount=order.total)
        """
        if type(name) is not str:
            if isinstance(name, str):
                name = str.__str__(name)  # of an enum of names
            else:
                if fn is not NOTHING:
                    args = (fn, *args)
                name, fn = None, name
        if not callable(fn) or type(fn) is Workflow:
            raise _no_step(name, fn)
        return await self._asking.step(name, fn, args, kwargs)

    @overload
    def define(
        self,
        name: str,
        fn: Callable[P, Awaitable[T]],
        /,
        *,
        retry: Retry | None = None,
        timeout: Duration | None = None,
        result: Any = None,
    ) -> DefinedStep[P, T]: ...
    @overload
    def define(
        self, name: str, fn: Callable[P, T], /, *, retry: Retry | None = None, timeout: Duration | None = None, result: Any = None
    ) -> DefinedStep[P, T]: ...
    @overload
    def define(
        self, fn: Callable[P, Awaitable[T]], /, *, retry: Retry | None = None, timeout: Duration | None = None, result: Any = None
    ) -> DefinedStep[P, T]: ...
    @overload
    def define(
        self, fn: Callable[P, T], /, *, retry: Retry | None = None, timeout: Duration | None = None, result: Any = None
    ) -> DefinedStep[P, T]: ...
    def define(
        self, name: Any, fn: Any = NOTHING, /, *, retry: Retry | None = None, timeout: Duration | None = None, result: Any = None
    ) -> DefinedStep[Any, Any]:
        """A step with options: `.run(*args, **kwargs)` runs it.

        Args:
            name: left out, it is the function's.
            fn: what to run.
            retry: instead of the function's or the workflow's policy.
            timeout: of one attempt; a longer one fails with `StepTimeout` and is retried.
            result: the type of the result, instead of the function's return annotation.

        Example:
            answer = await step.define("ask", ask, retry=Retry.never(), timeout="5s").run(question)
        """
        return DefinedStep(self._call, *_defined(name, fn, retry, timeout, result))

    async def _call(
        self, name: str | None, fn: Any, args: Any, kwargs: Any, retry: Retry | None, limit: float | None, codec: Codec | None
    ) -> Any:
        return await self._asking.step(name, fn, args, kwargs, retry, limit, codec)

    @overload
    async def map(
        self, name: str, fn: Callable[[Item], Awaitable[T]], items: Iterable[Item], *, concurrency: int | None = None
    ) -> list[T]: ...
    @overload
    async def map(self, name: str, fn: Callable[[Item], T], items: Iterable[Item], *, concurrency: int | None = None) -> list[T]: ...
    async def map(self, name: Any, fn: Any, items: Any, *, concurrency: int | None = None) -> list[Any]:
        """Run a step for each item, side by side; the results in the order of the items.

        Each item is a checkpoint of its own: after a crash, only those that are not done are run. At the first failure no further item
        is started; those under way end, then the failure is raised.

        Args:
            name: of the steps; the second is `name:1`, and so on.
            fn: called with one item.
            items: read at once.
            concurrency: how many at the same time; None: as many as a run may have under way, 1,000.

        Raises:
            StepFailed: the first failure.
        """
        name = str.__str__(checked_name(name, "step"))
        if not callable(fn) or type(fn) is Workflow:
            raise _no_step(name, fn)
        if concurrency is not None and (type(concurrency) is not int or concurrency < 1):
            raise DefinitionError(f"concurrency is a number of at least 1, or None; not {concurrency!r}")
        return await _Mapping(self._asking, name, fn, list(items), concurrency).results()

    async def sleep(self, name: str, duration: Duration) -> None:
        """Sleep durably: through crashes and deploys, and without a slot of a worker.

        Raises:
            ValueError, TypeError: it is no duration.
        """
        await self._asking.sleep(
            checked_name(name, "sleep"), None, parse_duration(duration, f"the duration of sleep {name!r}").total_seconds()
        )

    async def sleep_until(self, name: str, when: datetime) -> None:
        """Sleep until an instant; not at all, when it has passed.

        Raises:
            ValueError: it has no time zone.
            TypeError: it is no datetime.
        """
        if not isinstance(when, datetime):
            raise TypeError(f"sleep_until takes a datetime, not {type(when).__name__}")
        if when.utcoffset() is None:
            raise ValueError(f"{when!r} has no time zone, so it is not clear when that is; use datetime(..., tzinfo=UTC)")
        await self._asking.sleep(checked_name(name, "sleep"), when.timestamp(), None)

    @overload
    async def execute(
        self,
        workflow: Workflow[None, Out],
        input: None = None,
        *,
        name: str | None = None,
        timeout: Duration | None = None,  # noqa: ASYNC109
    ) -> Out: ...
    @overload
    async def execute(
        self,
        workflow: Workflow[In, Out],
        input: In,
        *,
        name: str | None = None,
        timeout: Duration | None = None,  # noqa: ASYNC109
    ) -> Out: ...
    @overload
    async def execute(
        self,
        workflow: str,
        input: Any = None,
        *,
        name: str | None = None,
        timeout: Duration | None = None,  # noqa: ASYNC109
    ) -> Any: ...
    async def execute(
        self,
        workflow: Any,
        input: Any = None,
        *,
        name: str | None = None,
        timeout: Duration | None = None,  # noqa: ASYNC109  # the contract's
    ) -> Any:
        """Run another workflow as a child, and wait for its output. It takes no slot meanwhile, and any worker may have the child.

        Canceling this run cancels the child, and so does canceling this call. Pausing this run leaves the child alone.

        Args:
            workflow: a workflow, or the name of one.
            input: what its body gets.
            name: of the step; left out, the workflow's.
            timeout: how long to wait; then the child is canceled.

        Raises:
            ChildFailed: it has failed, or was canceled; now and on every replay. When this run is retried, it has another child.
            WaitTimeout: it has not ended in time; it is a `TimeoutError`.
            InvalidInput: the input does not fit the workflow's schema; nothing is started.
            DefinitionError: there can be no such workflow.

        Example:
            receipt = await step.execute(charge, Order(id=42), timeout="1h")
        """
        seconds = None if timeout is None else parse_duration(timeout, "the timeout of a child").total_seconds()
        return await self._asking.child(workflow, input, _child_name(name), seconds, None, Options(), awaited=True)

    @overload
    async def start(
        self, workflow: Workflow[None, Any], input: None = None, *, name: str | None = None, **options: Unpack[ChildOptions]
    ) -> StartedRun: ...
    @overload
    async def start(
        self, workflow: Workflow[In, Any], input: In, *, name: str | None = None, **options: Unpack[ChildOptions]
    ) -> StartedRun: ...
    @overload
    async def start(self, workflow: str, input: Any = None, *, name: str | None = None, **options: Unpack[ChildOptions]) -> StartedRun: ...
    async def start(self, workflow: Any, input: Any = None, *, name: str | None = None, **options: Unpack[ChildOptions]) -> StartedRun:
        """Start another run, and do not wait for it: exactly one, however often this run replays. Nothing becomes of it with this run.

        Args:
            workflow: a workflow, or the name of one.
            input: what its body gets.
            name: of the step; left out, the workflow's.
            options: as `Stepwell.start` takes them: version, key, delay, at, timeout, priority, queue, tags.

        Returns:
            What has the run's id, as `run_id`. It can be sent signals; all else is for steps, by the id.

        Raises:
            InvalidInput: the input does not fit the workflow's schema; nothing is started.
            DefinitionError: there can be no such workflow, or an option is none.
        """
        given: dict[str, Any] = dict(options)
        version = given.pop("version", None)
        return StartedRun(await self._asking.child(workflow, input, _child_name(name), None, version, _options(given), awaited=False))

    @overload
    async def wait_for_signal(self, name: str, *, type: type[T], timeout: Duration | None = None) -> T: ...  # noqa: ASYNC109
    @overload
    async def wait_for_signal(self, name: str, *, type: Any = Any, timeout: Duration | None = None) -> Any: ...  # noqa: ASYNC109
    async def wait_for_signal(self, name: str, *, type: Any = Any, timeout: Duration | None = None) -> Any:  # noqa: ASYNC109  # the contract's
        """Wait for the next signal of this name that is sent to this run; one sent before the wait counts, too. It takes no slot.

        Args:
            name: the signal's.
            type: what its payload is read as; left out, plain JSON values.
            timeout: how long to wait; None: as long as it takes.

        Raises:
            WaitTimeout: none came in time; it is a `TimeoutError`. Now and on every replay.
            InvalidInput: the payload does not fit `type`. That signal is used up.
            ValueError, TypeError: the timeout is no duration.

        Example:
            approval = await step.wait_for_signal("approval", type=Approval, timeout="3 days")
        """
        seconds = None if timeout is None else parse_duration(timeout, f"the timeout of signal {name!r}").total_seconds()
        return await self._asking.signal(checked_signal(name), seconds, codec_of(type))

    async def send_signal(self, run_id: str, name: str, payload: Any = None) -> None:
        """Send a signal to another run: exactly one, however often this run replays. It is a step, `send_signal`.

        Raises:
            StepFailed: there is no such run, or it has ended; `caused_by(RunNotFound)`, `caused_by(IllegalTransition)` tell.
            NotSerializable, PayloadTooLarge: the payload cannot be stored.
        """
        await self._asking.send_signal(checked_run_id(run_id), checked_signal(name), payload)

    @overload
    async def transaction(self, name: str, fn: Callable[Concatenate[Any, P], Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    async def transaction(self, name: str, fn: Callable[Concatenate[Any, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    async def transaction(self, name: Any, fn: Any = NOTHING, /, *args: Any, **kwargs: Any) -> Any:
        """Run `fn(connection, *args, **kwargs)` in Stepwell's own database: what it writes and the step's record commit together.

        So its effect happens exactly once, whatever crashes. Else it is a step as any other: it is tried again by its retry policy, and
        what a failed or canceled attempt has written is rolled back. It cannot commit or roll back, which the step does; savepoints of its
        own it may use. On SQLite, `fn` is a `def` that gets the `sqlite3.Connection` by which this process writes. All others wait for it,
        so let it do its SQL and nothing else, least of all call the app; and leave the connection's settings and Stepwell's tables alone.
        On PostgreSQL, an `async def` gets a `psycopg.AsyncConnection`, and a `def`, in a thread, a `psycopg.Connection`, each in a
        transaction of its own. After a deadlock or a serialization failure it is called again within the same attempt.

        Raises:
            StepFailed: it has used up its attempts, or has tried to end the transaction; now and on every replay.
            DefinitionError: what is given is no function.

        Example:
            def book(connection: sqlite3.Connection, account: int, amount: int) -> None:
                connection.execute("UPDATE accounts SET balance = balance - ? WHERE id = ?", (amount, account))

            await step.transaction("book", book, order.account, order.total)
        """
        name = str.__str__(checked_name(name, "step"))
        if not callable(fn) or type(fn) is Workflow:
            raise _no_step(name, fn)
        return await self._asking.step(name, fn, args, kwargs, form=TransactionRequest)

    async def now(self) -> datetime:
        """The time, in UTC: recorded, so equal on every replay."""
        return cast("datetime", await self._asking.value("now", lambda clock: repr(clock.now()), _instant))

    async def uuid(self) -> uuid.UUID:
        """A random UUID: recorded, so equal on every replay."""
        return cast(
            "uuid.UUID", await self._asking.value("uuid", lambda clock: f'"{uuid.UUID(int=clock.random_bits(128), version=4)}"', _uuid)
        )

    async def random(self) -> float:
        """A random number in [0, 1): recorded, so equal on every replay."""
        return cast("float", await self._asking.value("random", lambda clock: repr(clock.random()), float))

    async def progress(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Show operators how far the run has come. No checkpoint: it costs no commit of its own."""
        self._asking.progress(done, total, message)


class SyncDefinedStep(Generic[P, T]):
    """A step with options, in a `def` body."""

    __slots__ = ("_defined", "_wait")

    def __init__(self, defined: DefinedStep[P, T], wait: Callable[[Callable[[], Awaitable[Any]]], Any]) -> None:
        self._defined = defined
        self._wait = wait

    def run(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run it once, and remember its result."""
        return cast("T", self._wait(lambda: self._defined.run(*args, **kwargs)))


class SyncStep:
    """Runs steps in a `def` body: the methods of `Step`, which block until the result is there.

    What a `def` body does outside of steps is done again on every replay. Nothing can guard that, as the loop of an `async` body does.
    """

    __slots__ = ("_step", "_wait")

    def __init__(self, step: Step, wait: Callable[[Callable[[], Awaitable[Any]]], Any]) -> None:
        self._step = step
        self._wait = wait

    @overload
    def run(self, name: str, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    def run(self, name: str, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    def run(self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    def run(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    def run(self, name: Any, fn: Any = NOTHING, /, *args: Any, **kwargs: Any) -> Any:
        """Run a function once and remember its result: `Step.run`. A `def` function runs in the body's own thread."""
        return self._wait(lambda: self._step.run(name, fn, *args, **kwargs))

    @overload
    def define(
        self,
        name: str,
        fn: Callable[P, Awaitable[T]],
        /,
        *,
        retry: Retry | None = None,
        timeout: Duration | None = None,
        result: Any = None,
    ) -> SyncDefinedStep[P, T]: ...
    @overload
    def define(
        self, name: str, fn: Callable[P, T], /, *, retry: Retry | None = None, timeout: Duration | None = None, result: Any = None
    ) -> SyncDefinedStep[P, T]: ...
    @overload
    def define(
        self, fn: Callable[P, Awaitable[T]], /, *, retry: Retry | None = None, timeout: Duration | None = None, result: Any = None
    ) -> SyncDefinedStep[P, T]: ...
    @overload
    def define(
        self, fn: Callable[P, T], /, *, retry: Retry | None = None, timeout: Duration | None = None, result: Any = None
    ) -> SyncDefinedStep[P, T]: ...
    def define(
        self, name: Any, fn: Any = NOTHING, /, *, retry: Retry | None = None, timeout: Duration | None = None, result: Any = None
    ) -> SyncDefinedStep[Any, Any]:
        """A step with options: `Step.define`."""
        return SyncDefinedStep(self._step.define(name, fn, retry=retry, timeout=timeout, result=result), self._wait)

    @overload
    def map(self, name: str, fn: Callable[[Item], Awaitable[T]], items: Iterable[Item], *, concurrency: int | None = None) -> list[T]: ...
    @overload
    def map(self, name: str, fn: Callable[[Item], T], items: Iterable[Item], *, concurrency: int | None = None) -> list[T]: ...
    def map(self, name: Any, fn: Any, items: Any, *, concurrency: int | None = None) -> list[Any]:
        """Run a step for each item: `Step.map`. Several `def` items take turns in the body's thread."""
        return cast("list[Any]", self._wait(lambda: self._step.map(name, fn, items, concurrency=concurrency)))

    def sleep(self, name: str, duration: Duration) -> None:
        """Sleep durably: `Step.sleep`."""
        self._wait(lambda: self._step.sleep(name, duration))

    def sleep_until(self, name: str, when: datetime) -> None:
        """Sleep until an instant: `Step.sleep_until`."""
        self._wait(lambda: self._step.sleep_until(name, when))

    @overload
    def execute(
        self, workflow: Workflow[None, Out], input: None = None, *, name: str | None = None, timeout: Duration | None = None
    ) -> Out: ...
    @overload
    def execute(self, workflow: Workflow[In, Out], input: In, *, name: str | None = None, timeout: Duration | None = None) -> Out: ...
    @overload
    def execute(self, workflow: str, input: Any = None, *, name: str | None = None, timeout: Duration | None = None) -> Any: ...
    def execute(self, workflow: Any, input: Any = None, *, name: str | None = None, timeout: Duration | None = None) -> Any:
        """Run another workflow as a child, and wait for its output: `Step.execute`."""
        return self._wait(lambda: self._step.execute(workflow, input, name=name, timeout=timeout))

    @overload
    def start(
        self, workflow: Workflow[None, Any], input: None = None, *, name: str | None = None, **options: Unpack[ChildOptions]
    ) -> StartedRun: ...
    @overload
    def start(self, workflow: Workflow[In, Any], input: In, *, name: str | None = None, **options: Unpack[ChildOptions]) -> StartedRun: ...
    @overload
    def start(self, workflow: str, input: Any = None, *, name: str | None = None, **options: Unpack[ChildOptions]) -> StartedRun: ...
    def start(self, workflow: Any, input: Any = None, *, name: str | None = None, **options: Unpack[ChildOptions]) -> StartedRun:
        """Start another run, and do not wait for it: `Step.start`."""
        return cast("StartedRun", self._wait(lambda: self._step.start(workflow, input, name=name, **options)))

    @overload
    def wait_for_signal(self, name: str, *, type: type[T], timeout: Duration | None = None) -> T: ...
    @overload
    def wait_for_signal(self, name: str, *, type: Any = Any, timeout: Duration | None = None) -> Any: ...
    def wait_for_signal(self, name: str, *, type: Any = Any, timeout: Duration | None = None) -> Any:
        """Wait for the next signal of this name: `Step.wait_for_signal`."""
        return self._wait(lambda: self._step.wait_for_signal(name, type=type, timeout=timeout))

    def send_signal(self, run_id: str, name: str, payload: Any = None) -> None:
        """Send a signal to another run: `Step.send_signal`."""
        self._wait(lambda: self._step.send_signal(run_id, name, payload))

    @overload
    def transaction(self, name: str, fn: Callable[Concatenate[Any, P], Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    def transaction(self, name: str, fn: Callable[Concatenate[Any, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    def transaction(self, name: Any, fn: Any = NOTHING, /, *args: Any, **kwargs: Any) -> Any:
        """Write to Stepwell's own database, together with the step's record: `Step.transaction`. It does not run in the body's thread."""
        return self._wait(lambda: self._step.transaction(name, fn, *args, **kwargs))

    def now(self) -> datetime:
        """The time, recorded: `Step.now`."""
        return cast("datetime", self._wait(self._step.now))

    def uuid(self) -> uuid.UUID:
        """A random UUID, recorded: `Step.uuid`."""
        return cast("uuid.UUID", self._wait(self._step.uuid))

    def random(self) -> float:
        """A random number, recorded: `Step.random`."""
        return cast("float", self._wait(self._step.random))

    def progress(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Show operators how far the run has come: `Step.progress`."""
        self._wait(partial(self._step.progress, done, total, message))


class _Mapping:
    """One call of `step.map`: asks for as many items as may run at once, and for the next when one has ended."""

    __slots__ = ("_asking", "_failure", "_function", "_name", "_next", "_outputs", "_over", "_room", "_under_way")

    def __init__(self, asking: Asking, name: str, function: Any, items: list[Any], concurrency: int | None) -> None:
        self._asking = asking
        self._name = name
        self._function = function
        self._next = iter(list(zip(range(len(items)), asking.keys(name, len(items)), items, strict=True)))
        self._outputs: list[Any] = [None] * len(items)
        self._under_way: dict[StepRequest, int] = {}
        self._room = min(concurrency or len(items), MAX_EXECUTING)  # more would only be held, and could not be called off
        self._failure: BaseException | None = None
        self._over: asyncio.Future[None] = asking.loop.create_future()

    async def results(self) -> list[Any]:
        for _ in range(self._room):
            self._ask()
        if self._under_way:
            try:
                await self._over
            except BaseException:
                for request in list(self._under_way):
                    request.cancel()
                raise
        if self._failure is not None:
            raise self._failure
        return self._outputs

    def _ask(self) -> None:
        entry = next(self._next, None)
        if entry is None or self._failure is not None:
            return
        place, key, item = entry
        try:
            request = self._asking.step(self._name, self._function, (item,), {}, key=key)
        except Exception as refused:  # noqa: BLE001  # raised by `results`: this may be a callback
            self._failure = refused
            return
        self._under_way[request] = place
        request.add_done_callback(self._ended)

    def _ended(self, request: asyncio.Future[Any]) -> None:
        place = self._under_way.pop(cast("StepRequest", request))
        if request.cancelled():
            return
        error = request.exception()
        if error is None:
            self._outputs[place] = request.result()
        elif self._failure is None:
            self._failure = error
        if self._failure is None:
            self._ask()
        if not self._under_way and not self._over.done():
            self._over.set_result(None)


def _defined(
    name: Any, fn: Any, retry: Retry | None, timeout: Duration | None, result: Any
) -> tuple[str | None, Any, Retry | None, float | None, Codec | None]:
    if isinstance(name, str):
        name = str.__str__(checked_name(name, "step"))
    else:
        name, fn = None, name
    if not callable(fn) or type(fn) is Workflow:
        raise _no_step(name, fn)
    if retry is not None and not isinstance(retry, Retry):
        raise DefinitionError(f"retry is a Retry, not {type(retry).__name__}")
    seconds = None if timeout is None else parse_duration(timeout, "a step's timeout").total_seconds()
    return name, fn, retry, seconds, None if result is None else codec_of(result)


def _child_name(name: object) -> str | None:
    return None if name is None else str.__str__(checked_name(name, "step"))


def _options(given: dict[str, Any]) -> Options:
    unknown = sorted(given.keys() - set(Options._fields))
    if unknown:
        raise DefinitionError(f"step.start takes no {', '.join(unknown)}; it takes version, {', '.join(Options._fields)}")
    return Options(**given)


def _no_step(name: str | None, fn: Any) -> DefinitionError:
    of = f" of step {name!r}" if name else ""
    if isinstance(fn, Workflow):
        return DefinitionError(f"the function{of} is workflow {fn}, which has steps of its own; a step is a plain function")
    if fn is NOTHING:
        return DefinitionError(f"the function{of} is missing: step.run(name, fn, *args)")
    if hasattr(fn, "close") and hasattr(fn, "cr_code"):
        fn.close()  # it will never be awaited
        return DefinitionError(f"the function{of} was called, and its coroutine given; give the function itself: step.run(name, fn, *args)")
    return DefinitionError(f"the function{of} cannot be called: {fn!r}")


def _instant(text: str) -> datetime:
    return datetime.fromtimestamp(float(text), UTC)


def _uuid(text: str) -> uuid.UUID:
    return uuid.UUID(text[1:-1])
