"""Starting runs: what `Stepwell` and `TestApp` have in common, with the types that a start gives its handle.

Owns the way from what a user says to a `NewRun` that is stored. What may be said is checked in `core.starting`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final, NamedTuple, TypedDict, TypeVar, Unpack, overload

from stepwell.core.codec import codec_of, input_text
from stepwell.core.definition import Workflow, checked_version
from stepwell.core.duration import Duration
from stepwell.core.records import NewRun
from stepwell.core.registry import Registry, check_version, refuse_unsupported
from stepwell.core.shards import shard_of, shard_of_key
from stepwell.core.starting import (
    Target,
    checked_actor,
    checked_inputs,
    checked_key,
    checked_queue,
    checked_run_id,
    checked_start_priority,
    checked_tags,
    checked_target,
    due_at,
    published_target,
    run_timeout,
    target_of,
)
from stepwell.engine.runloop import refuse_in_body
from stepwell.errors import DefinitionError, InvalidInput, StepwellError
from stepwell.handle import Handle, checked_wait
from stepwell.home import Home
from stepwell.store.port import Hint

In = TypeVar("In")
Out = TypeVar("Out")

_CHUNK: Final = 1_000
"""Runs that are written in one transaction."""

_STARTS: Final = ("starts a run", "start it in a step")


class ManyOptions(TypedDict, total=False):
    """What may be said of each of many runs."""

    version: str | None
    delay: Duration | None
    at: datetime | None
    timeout: Duration | None
    priority: int | None
    queue: str | None
    tags: Iterable[str]
    actor: str | None


class StartOptions(ManyOptions, total=False):
    """What may be said of a run that is started."""

    key: str | None
    connection: Any


class ExecuteOptions(TypedDict, total=False):
    """As `StartOptions`, without what makes no sense for a run that is waited for; its timeout may be seconds to wait."""

    version: str | None
    key: str | None
    delay: Duration | None
    at: datetime | None
    timeout: Duration | float | None
    priority: int | None
    queue: str | None
    tags: Iterable[str]
    actor: str | None


class Prepared(NamedTuple):
    """A run that is ready to be written, and what its handle needs to know."""

    run: NewRun
    output: Any


class Starting:
    """The starts of an app."""

    _home: Home
    _registry: Registry
    _max_payload: int

    @overload
    async def start(
        self, workflow: Workflow[None, Out], input: None = None, /, **options: Unpack[StartOptions]
    ) -> Handle[Out]: ...  # fmt: skip
    @overload
    async def start(self, workflow: Workflow[In, Out], input: In, /, **options: Unpack[StartOptions]) -> Handle[Out]: ...
    @overload
    async def start(self, workflow: str, input: Any = None, /, **options: Unpack[StartOptions]) -> Handle[Any]: ...
    async def start(
        self,
        workflow: Workflow[Any, Any] | str,
        input: Any = None,
        /,
        *,
        version: str | None = None,
        key: str | None = None,
        delay: Duration | None = None,
        at: datetime | None = None,
        timeout: Duration | None = None,  # noqa: ASYNC109  # the public contract's: of the run, not of the call
        priority: int | None = None,
        queue: str | None = None,
        tags: Iterable[str] = (),
        actor: str | None = None,
        connection: Any = None,
    ) -> Handle[Any]:
        """Start a run; a worker executes it, here or elsewhere. It is stored when this returns.

        Args:
            workflow: a workflow, or the name of one. Of a name that nobody knows yet, the run waits until a worker has it.
            input: what its body gets. It is validated here if the definition is at hand, else by the worker.
            version: with a name: which one; left out, the one without a version, else the newest.
            key: an idempotency key of the workflow: a second start with it gives the first run, as long as that is kept.
            delay: not before this time is over.
            at: not before this time, an aware datetime.
            timeout: how long after it was due the run fails with DeadlineExceeded, instead of the workflow's.
            priority: instead of the workflow's.
            queue: instead of the workflow's.
            tags: to find it by.
            actor: who starts it, to be kept with the time; see `Handle.events`.
            connection: of yours, to the same database, with a transaction open: the run exists if and only if that commits.

        Raises:
            InvalidInput: the input does not fit the workflow's schema; nothing is started.
            NotSerializable, PayloadTooLarge: the input cannot be stored; likewise.
            DefinitionError: an option is none.
            DatabaseUnavailable: it is not known whether the run was stored. With a key, start it again.
            NotInStep: the body of a workflow calls it.

        Example:
            handle = await app.start(send_welcome_email, Welcome(email="user@example.com"), key="welcome-42")
            await handle.result()
        """
        refuse_in_body(*_STARTS)
        prepared = await self._prepare(
            workflow,
            input,
            version=version,
            key=key,
            delay=delay,
            at=at,
            timeout=timeout,
            priority=priority,
            queue=queue,
            tags=tags,
            actor=actor,
        )
        if connection is not None:
            return self._started_within(prepared, await self._home.enqueue_within(connection, prepared.run))
        (run_id,) = await self._home.store.enqueue([prepared.run])
        return self._started(prepared, run_id)

    @overload
    async def start_many(
        self, workflow: Workflow[In, Out], inputs: Iterable[In], /, **options: Unpack[ManyOptions]
    ) -> list[Handle[Out]]: ...
    @overload
    async def start_many(self, workflow: str, inputs: Iterable[Any], /, **options: Unpack[ManyOptions]) -> list[Handle[Any]]: ...
    async def start_many(
        self,
        workflow: Workflow[Any, Any] | str,
        inputs: Iterable[Any],
        /,
        *,
        version: str | None = None,
        delay: Duration | None = None,
        at: datetime | None = None,
        timeout: Duration | None = None,  # noqa: ASYNC109  # the public contract's: of the runs, not of the call
        priority: int | None = None,
        queue: str | None = None,
        tags: Iterable[str] = (),
        actor: str | None = None,
    ) -> list[Handle[Any]]:
        """Start a run for each input, written in bulk: 1,000 in a transaction. The handles are in the order of the inputs.

        All inputs are validated before the first run is stored. The options are those of `start`, and hold for each run.

        Raises:
            InvalidInput: an input does not fit the workflow's schema; nothing is started.
            NotSerializable, PayloadTooLarge: an input cannot be stored; likewise.
            DefinitionError: an option is none.
            DatabaseUnavailable: it is not known how many of the runs were stored.
            NotInStep: the body of a workflow calls it.
        """
        refuse_in_body(*_STARTS)
        target = await self._target(workflow, version)
        tags, by = checked_tags(tags), checked_actor(actor)
        prepared = []
        for place, value in enumerate(checked_inputs(inputs)):
            try:
                text = self._input_text(target, value)
            except StepwellError as error:
                error.add_note(f"It is input number {place} of start_many; nothing was started.")
                if isinstance(error, InvalidInput):
                    error.place = place
                raise
            prepared.append(self._prepared(target, text, None, delay, at, timeout, priority, queue, tags, by))
        store = self._home.store
        for first in range(0, len(prepared), _CHUNK):
            await store.enqueue([each.run for each in prepared[first : first + _CHUNK]])
        return [self._started(each, each.run.id) for each in prepared]

    @overload
    async def execute(self, workflow: Workflow[None, Out], input: None = None, /, **options: Unpack[ExecuteOptions]) -> Out: ...
    @overload
    async def execute(self, workflow: Workflow[In, Out], input: In, /, **options: Unpack[ExecuteOptions]) -> Out: ...
    @overload
    async def execute(self, workflow: str, input: Any = None, /, **options: Unpack[ExecuteOptions]) -> Any: ...
    async def execute(
        self,
        workflow: Any,
        input: Any = None,
        /,
        *,
        timeout: Duration | float | None = None,  # noqa: ASYNC109  # the public contract's
        **options: Any,
    ) -> Any:
        """Start a run and wait for its result: `start`, then `Handle.result`, with all that they raise.

        Args:
            workflow: as `start` takes it.
            input: likewise.
            timeout: a number is how many seconds to wait for the result, as `Handle.result` takes it; a Duration is the run's, as
                `start` takes it.
            options: the others of `start`, but `connection`.
        """
        seconds = None if timeout is None or not isinstance(timeout, int | float) else checked_wait(timeout)
        given: dict[str, Any] = options if seconds is not None else options | {"timeout": timeout}
        refuse_connection(given)
        handle: Handle[Any] = await self.start(workflow, input, **given)
        return await handle.result(seconds)

    def handle(self, run_id: str) -> Handle[Any]:
        """A handle to a run that exists. Nothing is asked of the database: calls of the handle raise RunNotFound when there is no such run.

        Raises:
            TypeError: the id is no text.
            RunNotFound: no run can have it.
        """
        return Handle(self._home, checked_run_id(run_id), created=False)

    # -- the way of a start

    async def _prepare(
        self,
        workflow: Workflow[Any, Any] | str,
        input: Any,
        *,
        version: str | None = None,
        key: str | None = None,
        delay: Duration | None = None,
        at: datetime | None = None,
        timeout: Duration | None = None,  # noqa: ASYNC109  # of the run
        priority: int | None = None,
        queue: str | None = None,
        tags: Iterable[str] = (),
        actor: str | None = None,
    ) -> Prepared:
        """A run that is checked, and not written yet."""
        target = await self._target(workflow, version)
        text = self._input_text(target, input)
        by = checked_actor(actor)
        return self._prepared(target, text, checked_key(key), delay, at, timeout, priority, queue, checked_tags(tags), by)

    async def _target(self, workflow: Workflow[Any, Any] | str, version: str | None) -> Target:
        if isinstance(workflow, Workflow):
            check_version(workflow, version)
            refuse_unsupported(workflow)
            return target_of(workflow, workflow.version)
        return await self._named_target(*checked_target(workflow, version))

    async def _named_target(self, name: str, version: str | None) -> Target:
        known = self._registry.resolve(name, version)
        if known is not None:
            return target_of(known.workflow, known.version)
        return published_target(name, version, (await self._home.published(name)).definitions)

    def _input_text(self, target: Target, value: Any) -> str:
        if value is None and target.input_optional:
            return "null"
        return input_text(codec_of(target.input), value, workflow=target.name, limit=self._max_payload)

    def _prepared(
        self,
        target: Target,
        text: str,
        key: str | None,
        delay: Duration | None,
        at: datetime | None,
        timeout: Duration | None,
        priority: int | None,
        queue: str | None,
        tags: tuple[str, ...],
        actor: str | None,
    ) -> Prepared:
        now = self._home.now()
        available_at = due_at(now, delay, at)
        run = NewRun(
            id=self._home.new_id(None if key is None else shard_of_key(target.name, key)),
            workflow=target.name,
            version=target.version,
            input=text,
            created_at=now,
            available_at=available_at,
            queue=checked_queue(queue, target.name, target.queue),
            priority=checked_start_priority(priority, target.name, target.priority),
            tags=tags,
            key=key,
            timeout=run_timeout(timeout, target.timeout, available_at),
            actor=actor,
        )
        return Prepared(run, target.output)

    def _started(self, prepared: Prepared, run_id: str) -> Handle[Any]:
        return Handle(self._home, run_id, output=prepared.output, created=run_id == prepared.run.id)

    def _started_within(self, prepared: Prepared, run_id: str) -> Handle[Any]:
        """Of a run that begins when its transaction commits: nobody else will tell the workers."""
        run = prepared.run
        if run_id == run.id:
            self._home.tell_when_there(run_id, Hint.READY if run.available_at <= run.created_at else Hint.DUE)
        return self._started(prepared, run_id)

    async def _fork(self, run_id: str, from_step: str, input: Any, version: Any, actor: str | None) -> Handle[Any]:
        """See `Runs.fork`."""
        store = self._home.store
        source, history = await store.get(run_id), await store.history(run_id)
        wanted = history.version if version is ... else checked_version(version, source.workflow)
        target = (await self._named_target(source.workflow, wanted))._replace(version=wanted)
        now = self._home.now()
        run = NewRun(
            id=self._home.new_id(shard_of(source.id)),
            workflow=source.workflow,
            version=wanted,
            input=history.input if input is ... else self._input_text(target, input),
            created_at=now,
            available_at=now,
            queue=source.queue,
            priority=source.priority,
            tags=source.tags,
            timeout=target.timeout,
        )
        return Handle(self._home, await store.fork(run_id, run, from_step, actor))


def refuse_connection(options: dict[str, Any]) -> None:
    """Nobody can wait for a run that does not exist before he commits. Raises DefinitionError."""
    if options.get("connection") is not None:
        raise DefinitionError("execute takes no connection: the run begins when your transaction commits; use start, commit, then result")
