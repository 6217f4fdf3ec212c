"""`TestApp`: runs workflows in memory, on a clock that moves by itself whenever everything waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, overload

from stepwell.core.codec import codec_of, input_text
from stepwell.core.definition import Workflow
from stepwell.core.duration import Duration, parse_duration
from stepwell.core.records import NewRun
from stepwell.core.registry import Registry, check_version
from stepwell.core.starting import checked_key, checked_queue, checked_start_priority, checked_tags
from stepwell.engine.clock import RunIds
from stepwell.engine.runloop import refuse_in_body
from stepwell.engine.worker import MAX_PAYLOAD, Worker
from stepwell.errors import DefinitionError
from stepwell.handle import Handle
from stepwell.store.memory import MemoryStore
from stepwell.testing.clock import MovedClock

if TYPE_CHECKING:
    from types import ModuleType

In = TypeVar("In")
Out = TypeVar("Out")

_TURNS: Final = 3
"""How often everything must be found waiting, in turns of the loop, before the clock is moved."""

_TICK: Final = 0.001
"""Seconds between two looks at steps that take real time."""


class TestApp:
    """An app with a worker, in memory, for tests. A sleep of 30 days takes milliseconds.

    Args:
        workflows: what it can run; modules stand for all workflows in them.
        concurrency: runs that execute at the same time.
        seed: of the chance in it: jitter, ids, `step.random`.
        self_moving: whether the clock moves by itself; else by `advance`.

    Example:
        async with TestApp(trial_reminder) as app:
            handle = await app.start(trial_reminder, Trial(days=30))
            assert await handle.result() == "reminded"
    """

    __test__ = False  # pytest takes classes named Test… for test cases

    def __init__(
        self, *workflows: Workflow[Any, Any] | ModuleType, concurrency: int = 100, seed: int = 0, self_moving: bool = True
    ) -> None:
        self.clock = MovedClock(seed)
        self.store = MemoryStore()
        self._registry = Registry(workflows)
        self._ids = RunIds(self.clock)
        self._concurrency = concurrency
        self._self_moving = self_moving
        self._worker: Worker | None = None
        self._mover: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Start the worker on the running loop."""
        self._worker = Worker(
            self.store, self._registry, self.clock, name="test", concurrency=self._concurrency, on_failure=self.store.tell
        )
        await self._worker.__aenter__()
        if self._self_moving:
            self._mover = asyncio.get_running_loop().create_task(self._move_by_itself(), name="stepwell-test-clock")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the worker. Raises the error that has ended it, if one has."""
        if self._mover is not None:
            self._mover.cancel()
            await asyncio.gather(self._mover, return_exceptions=True)
        if self._worker is not None:
            failure = self._worker.failure
            await self._worker.stop()
            self._worker = None
            self.store.tell()  # whoever waits for a change now waits in vain, and is told so
            if failure is not None:
                raise failure

    # -- runs

    @overload
    async def start(
        self, workflow: Workflow[None, Out], input: None = None, /, *, version: str | None = None, key: str | None = None,
        delay: Duration | None = None, priority: int | None = None, queue: str | None = None, tags: Iterable[str] = (),
    ) -> Handle[Out]: ...  # fmt: skip
    @overload
    async def start(
        self, workflow: Workflow[In, Out], input: In, /, *, version: str | None = None, key: str | None = None,
        delay: Duration | None = None, priority: int | None = None, queue: str | None = None, tags: Iterable[str] = (),
    ) -> Handle[Out]: ...  # fmt: skip
    @overload
    async def start(
        self, workflow: str, input: Any = None, /, *, version: str | None = None, key: str | None = None,
        delay: Duration | None = None, priority: int | None = None, queue: str | None = None, tags: Iterable[str] = (),
    ) -> Handle[Any]: ...  # fmt: skip
    async def start(
        self, workflow: Workflow[Any, Any] | str, input: Any = None, /, *, version: str | None = None, key: str | None = None,
        delay: Duration | None = None, priority: int | None = None, queue: str | None = None, tags: Iterable[str] = (),
    ) -> Handle[Any]:  # fmt: skip
        """Start a run; it executes in the background.

        Args:
            workflow: a workflow, or the name of one.
            input: what its body gets.
            version: with a name: which one; left out, the one without a version, else the newest.
            key: an idempotency key of the workflow: a second start with it gives the first run.
            delay: not before this time is over.
            priority: instead of the workflow's.
            queue: instead of the workflow's.
            tags: to find it by.

        Raises:
            InvalidInput: the input does not fit the workflow's schema; nothing is started.
            WorkflowNotFound: this app has none of this name and version. (A worker of an app with a database leaves such a run waiting.)
            DefinitionError: an option is none.
            NotInStep: the body of a workflow calls it.
        """
        refuse_in_body("starts a run", "start it in a step")
        definition = self._definition(workflow, version)
        now = self.clock.now()
        run = NewRun(
            id=self._ids.new(),
            workflow=definition.name,
            version=version if isinstance(workflow, str) and version is not None else definition.version,
            input=self._input_text(definition, input),
            created_at=now,
            available_at=now if delay is None else now + parse_duration(delay).total_seconds(),
            queue=checked_queue(queue, definition.name, definition.queue),
            priority=checked_start_priority(priority, definition.name, definition.priority),
            tags=checked_tags(tags),
            key=checked_key(key),
        )
        (run_id,) = await self.store.enqueue([run])
        self.acted()
        return Handle(self, run_id, output=definition.output_annotation, created=run_id == run.id)

    @overload
    async def execute(self, workflow: Workflow[None, Out], input: None = None, /, **options: Any) -> Out: ...
    @overload
    async def execute(self, workflow: Workflow[In, Out], input: In, /, **options: Any) -> Out: ...
    @overload
    async def execute(self, workflow: str, input: Any = None, /, **options: Any) -> Any: ...
    async def execute(self, workflow: Any, input: Any = None, /, **options: Any) -> Any:
        """Start a run and wait for its result: `start`, then `Handle.result`."""
        handle: Handle[Any] = await self.start(workflow, input, **options)
        return await handle.result()

    def handle(self, run_id: str) -> Handle[Any]:
        """A handle to a run that exists."""
        return Handle(self, run_id)

    def _definition(self, workflow: Workflow[Any, Any] | str, version: str | None) -> Workflow[Any, Any]:
        if isinstance(workflow, Workflow):
            check_version(workflow, version)
            return workflow
        if not isinstance(workflow, str):
            raise DefinitionError(f"start takes a Workflow or its name, not {workflow!r}; is it decorated with @workflow?")
        return self._registry.get(workflow, version if version is not None else self._registry.resolve_version(workflow))

    @staticmethod
    def _input_text(workflow: Workflow[Any, Any], value: Any) -> str:
        if value is None and workflow.input_optional:
            return "null"
        return input_text(codec_of(workflow.input_annotation), value, workflow=workflow.name, limit=MAX_PAYLOAD)

    # -- time

    async def advance(self, duration: Duration) -> None:
        """Move the clock by hand, and let everything happen that is due by then, in order."""
        end = self.clock.now() + parse_duration(duration).total_seconds()
        while True:
            await self._all_waits()
            when = self._next_due()
            if when is None or when > end:
                break
            self.clock.move_to(when)
        self.clock.move_to(end)
        await self._all_waits()

    async def _move_by_itself(self) -> None:
        while self._worker is not None and self._worker.failure is None:
            await self._all_waits()
            when = self._next_due()
            if when is None:
                await self.store.changed()
            else:
                self.clock.move_to(when)
            self._worker.hint()

    async def _all_waits(self) -> None:
        """Until nothing goes on that does not wait for the clock. While steps run, a self-moving one goes at the speed of the real one."""
        loop, quiet = asyncio.get_running_loop(), 0
        while quiet < _TURNS and self._worker is not None and self._worker.failure is None:
            quiet = quiet + 1 if self._worker.quiet else 0
            if not self._worker.steps.running:
                await asyncio.sleep(0)
                continue
            began = loop.time()
            await asyncio.sleep(_TICK)
            if self._self_moving:
                self.clock.move_to(self.clock.now() + loop.time() - began)

    def _next_due(self) -> float | None:
        """When a run goes on next. The worker's own looks at the database are no reason to move the clock."""
        alarm = self._worker.alarms.next() if self._worker is not None else None
        due = self.store.next_due()
        return min((when for when in (alarm, due) if when is not None), default=None)

    # -- as handles see it

    def now(self) -> float:
        """The time of the clock, in seconds since 1970."""
        return self.clock.now()

    def acted(self) -> None:
        """Something may be claimed, or have been canceled: let the worker look."""
        if self._worker is not None:
            self._worker.hint()
            self._worker.look()

    async def changed(self) -> None:
        """Wait until something was written. Raises the error that has ended the worker, if one has."""
        if self._worker is None:
            raise RuntimeError("this TestApp is not running, so nothing will change; wait within `async with TestApp(...) as app`")
        if self._worker.failure is not None:
            raise self._worker.failure
        await self.store.changed()
