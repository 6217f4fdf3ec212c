"""What operators see and do: `app.runs`, `app.workers`, `app.workflows` and `app.queues`. They hold no state: each call asks the store."""

from __future__ import annotations

import builtins
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from types import EllipsisType
from typing import Any, Final, TypeAlias, Unpack

from stepwell.core.codec import codec_of, input_value, payload_text
from stepwell.core.filters import (
    Filters,
    Order,
    checked_choice,
    checked_cursor,
    checked_limit,
    checked_number,
    checked_text,
    is_newest_first,
    run_filter,
)
from stepwell.core.naming import checked_name, checked_signal
from stepwell.core.policy import RetryPolicy, policy_of
from stepwell.core.records import (
    Definition,
    Event,
    LogLine,
    Page,
    QueueState,
    Run,
    RunFilter,
    StepRecord,
    WorkerState,
    WorkflowState,
    version_label,
)
from stepwell.core.registry import Registry, natural_order
from stepwell.core.starting import checked_actor, checked_run_id, checked_target, published_definition
from stepwell.core.status import Action, RunStatus
from stepwell.engine.publishing import definition_of, retry_text
from stepwell.engine.runloop import refuse_in_body
from stepwell.errors import BadValue, WorkerNotFound, WorkflowNotFound
from stepwell.handle import ACTS, LOOKS, Handle, get_events, get_logs, worse_than
from stepwell.home import MAX_VERSIONS, Home
from stepwell.store.port import ALL, Halt, Story

log = logging.getLogger(__name__)

_AT_ONCE: Final = 500
"""Runs that one transaction acts on, and runs that are read at once by those who want all."""

_MAX_QUEUES: Final = 10_000
"""Queues that are told of: far more than there are."""

_MOMENT: Final = 0.000_001
"""Seconds: what is created now is created earlier than a moment from now."""

Forking: TypeAlias = Callable[[str, str, Any, Any, str | None], Awaitable[Handle[Any]]]
"""Makes a fork, of the arguments of `Runs.fork`."""


class Runs:
    """`app.runs`: all runs, whoever has started them. `stepwell.core.filters.Filters` says what each filter means."""

    def __init__(self, home: Home, forking: Forking) -> None:
        self._home = home
        self._forking = forking

    # -- one run

    async def get(self, run_id: str) -> Run:
        """The run as it stands. Raises RunNotFound."""
        return await self._handle(run_id).get()

    async def steps(self, run_id: str) -> builtins.list[StepRecord]:
        """Its steps, one record an attempt, in order of their start. Raises RunNotFound."""
        return await self._handle(run_id).steps()

    async def story(self, run_id: str, *, limit: int = 1_000) -> Story:
        """A run as it stands, the last `limit` things that were done to it, and how its steps are tried again, where that was published.

        Raises:
            RunNotFound: there is no such run.
            TooSlow: the database is too busy to say it soon.
        """
        asked, wanted = checked_run_id(run_id), checked_limit(limit)
        refuse_in_body(*LOOKS)
        story = await self._home.store.story(asked, wanted)
        (run,) = await self._home.explained([story.run])
        return story._replace(run=run)

    async def some_steps(
        self, run_id: str, *, step: str | None = None, attempt: int | None = None, limit: int = 500, cursor: str | None = None
    ) -> Page[StepRecord]:
        """Some of what `steps` gives, in the same order. There is no page before.

        Args:
            run_id: the run.
            step: only attempts of the step with this key.
            attempt: only those of this number.
            limit: how many at most, from 1 to 1,000.
            cursor: the `next_cursor` of the page before.

        Raises:
            RunNotFound: there is no such run.
            ValueError: a number or the cursor is none.
            TooSlow: it has very many steps, and it would take too long to find these.
        """
        asked, wanted = checked_run_id(run_id), checked_limit(limit)
        refuse_in_body(*LOOKS)
        key = None if step is None else checked_text(step, "step")
        number = None if attempt is None else checked_number(attempt, "attempt")
        return await self._home.store.some_steps(asked, key, number, checked_cursor(cursor), wanted)

    async def logs(
        self,
        run_id: str,
        *,
        after: int = 0,
        limit: int | None = None,
        level: str | None = None,
        step: str | None = None,
        last: bool = False,
    ) -> builtins.list[LogLine]:
        """What it has said, in order.

        Args:
            run_id: the run.
            after: so many lines are left out.
            limit: how many lines at most; None is all.
            level: only lines of this level or a worse one: `debug`, `info`, `warning`, `error` or `critical`.
            step: only what the step of this key has said.
            last: counted from the end: of the last lines, `after` are left out.

        Raises:
            RunNotFound: there is no such run.
            ValueError: there is no such level, or a number is none.
        """
        skipped = checked_number(after, "after", 0)
        wanted = None if limit is None else checked_number(limit, "limit", 0)
        if step is not None and not isinstance(step, str):
            raise TypeError(f"step is the key of one, a text, not {type(step).__name__}: {step!r}")
        return await get_logs(self._home, checked_run_id(run_id), skipped, wanted, step=step, levels=worse_than(level), last=last)

    async def events(self, run_id: str, *, limit: int | None = None) -> builtins.list[Event]:
        """What was done to it, when and by whom: the first `limit`, or all. Raises RunNotFound; ValueError: the limit is none."""
        return await get_events(self._home, checked_run_id(run_id), None if limit is None else checked_number(limit, "limit"))

    async def pause(self, run_id: str, *, actor: str | None = None) -> Run:
        """See `Handle.pause`."""
        return await self._handle(run_id).pause(actor=actor)

    async def resume(self, run_id: str, *, actor: str | None = None) -> Run:
        """See `Handle.resume`."""
        return await self._handle(run_id).resume(actor=actor)

    async def cancel(self, run_id: str, *, actor: str | None = None) -> Run:
        """See `Handle.cancel`."""
        return await self._handle(run_id).cancel(actor=actor)

    async def retry(self, run_id: str, *, actor: str | None = None) -> Run:
        """See `Handle.retry`."""
        return await self._handle(run_id).retry(actor=actor)

    async def signal(self, run_id: str, name: str, payload: Any = None, *, actor: str | None = None) -> None:
        """See `Handle.signal`."""
        await self._handle(run_id).signal(name, payload, actor=actor)

    async def delete(self, run_id: str, *, actor: str | None = None) -> None:
        """Forget an ended run, with its steps, logs and events. Who did it is logged: nothing is left to keep it with.

        Raises:
            RunNotFound: there is no such run, or not any more.
            IllegalTransition: it has not ended; cancel it first.
        """
        refuse_in_body(*ACTS)
        by = checked_actor(actor)
        await self._home.store.delete(checked_run_id(run_id))
        log.info("run %s was deleted%s", run_id, _by(by))

    async def fork(
        self,
        run_id: str,
        *,
        from_step: str,
        input: Any | EllipsisType = ...,
        version: str | EllipsisType | None = ...,
        actor: str | None = None,
    ) -> Handle[Any]:
        """Start a new run that has the outcomes recorded before a step of another, and goes on from there. The other stays as it is.

        Args:
            run_id: the run to begin from, in whatever status.
            from_step: the key of the first step to do again, as `steps` shows it.
            input: instead of that run's.
            version: instead of that run's; None is the function without one.
            actor: who does it, to be kept with the new run.

        Raises:
            RunNotFound: there is no such run.
            DefinitionError: it has no outcome of this key; the message says which it has.
            InvalidInput: the input does not fit the workflow's schema.
        """
        refuse_in_body(*ACTS)
        return await self._forking(checked_run_id(run_id), checked_name(from_step, "step"), input, version, checked_actor(actor))

    def _handle(self, run_id: str) -> Handle[Any]:
        return Handle(self._home, checked_run_id(run_id))

    # -- those that match

    async def list(self, *, order: Order = "newest", limit: int = 100, cursor: str | None = None, **filters: Unpack[Filters]) -> Page[Run]:
        """A page of the runs that match, by the time of their creation.

        Args:
            order: which come first, `newest` or `oldest`.
            limit: how many at most, from 1 to 1,000.
            cursor: the `next_cursor` or `previous_cursor` of another page, with the same filters and order.
            filters: which runs; none is all.

        Raises:
            ValueError: a filter, the order, limit or cursor is none.
        """
        return await self._page(run_filter(**filters), is_newest_first(order), checked_limit(limit), checked_cursor(cursor))

    def iterate(self, *, order: Order = "newest", **filters: Unpack[Filters]) -> AsyncIterator[Run]:
        """Every run that matches, each once, however many are added meanwhile. Read page by page.

        Example:
            async for run in app.runs.iterate(status="failed"):
                print(run.id, run.error)
        """
        return self._iterate(run_filter(**filters), is_newest_first(order))

    async def _iterate(self, where: RunFilter, newest: bool) -> AsyncIterator[Run]:
        cursor: str | None = None
        while True:
            page = await self._page(where, newest, _AT_ONCE, cursor)
            for run in page:
                yield run
            cursor = page.next_cursor
            if cursor is None:
                return

    async def _page(self, where: RunFilter, newest: bool, limit: int, cursor: str | None) -> Page[Run]:
        refuse_in_body(*LOOKS)
        page = await self._home.store.find(where, newest=newest, limit=limit, cursor=cursor)
        return replace(page, items=await self._home.explained(page.items))

    async def count(self, **filters: Unpack[Filters]) -> dict[RunStatus, int]:
        """How many runs match, by status; a status that none has is left out."""
        where = run_filter(**filters)
        refuse_in_body(*LOOKS)
        return dict(await self._home.store.count(where))

    # -- all that match

    async def pause_all(
        self,
        *,
        everything: bool = False,
        actor: str | None = None,
        progress: Callable[[int], None] | None = None,
        **filters: Unpack[Filters],
    ) -> int:
        """Pause all runs that match and that can be paused, and say how many.

        So do the four below, each with its action: all that match now are meant, not only the first page. Runs whose status does not
        allow the action are passed over. It is done to some hundreds at a time; if it is canceled, what was done to them stays so.

        Args:
            everything: must be True when there is no filter.
            actor: who does it, to be kept with each run.
            progress: told after each portion to how many it is done by then. What it raises ends the call.
            filters: which runs.

        Raises:
            ValueError: a filter is none, or there is none and `everything` is not True. Nothing is done.
        """
        return await self._act_on_all(Action.PAUSE, everything, actor, filters, progress)

    async def resume_all(
        self,
        *,
        everything: bool = False,
        actor: str | None = None,
        progress: Callable[[int], None] | None = None,
        **filters: Unpack[Filters],
    ) -> int:
        """Resume all runs that match and are paused, and say how many. See `pause_all`."""
        return await self._act_on_all(Action.RESUME, everything, actor, filters, progress)

    async def cancel_all(
        self,
        *,
        everything: bool = False,
        actor: str | None = None,
        progress: Callable[[int], None] | None = None,
        **filters: Unpack[Filters],
    ) -> int:
        """Cancel all runs that match and have not ended, and say how many. See `pause_all`."""
        return await self._act_on_all(Action.CANCEL, everything, actor, filters, progress)

    async def retry_all(
        self,
        *,
        everything: bool = False,
        actor: str | None = None,
        progress: Callable[[int], None] | None = None,
        **filters: Unpack[Filters],
    ) -> int:
        """Retry all runs that match and have failed or were canceled, and say how many. See `pause_all`."""
        return await self._act_on_all(Action.RETRY, everything, actor, filters, progress)

    async def delete_all(
        self,
        *,
        everything: bool = False,
        actor: str | None = None,
        progress: Callable[[int], None] | None = None,
        **filters: Unpack[Filters],
    ) -> int:
        """Forget all runs that match and have ended, and say how many. See `pause_all`.

        What a child has said to its parent
        is the parent's: no parent misses a child. The idempotency key of a deleted run can be given again.

        Args:
            everything: must be True when there is no filter.
            actor: who does it, to be logged.
            progress: as in `pause_all`.
            filters: which runs.

        Example:
            await app.runs.delete_all(status="completed", finished_before=datetime.now(UTC) - timedelta(days=90))
        """
        by = checked_actor(actor)
        where = self._chosen("delete_all", everything, filters)
        done = await _all_of(lambda limit: self._home.store.delete_all(where, limit), told=progress)
        log.info("%d runs were deleted%s", done, _by(by))
        return done

    async def signal_all(
        self, name: str, payload: Any = None, *, everything: bool = False, actor: str | None = None, **filters: Unpack[Filters]
    ) -> int:
        """Send a signal to all live runs that match, and say to how many. See `pause_all`, and `Handle.signal`.

        A run that has too many signals to take another is passed over.
        """
        by = checked_actor(actor)
        name, text = checked_signal(name), payload_text(payload, signal=name, limit=self._home.max_payload)
        where = self._chosen("signal_all", everything, filters)
        store, now, signal_id = self._home.store, self._home.now(), self._home.new_id()
        sent, last = await store.signal_all(where, signal_id, name, text, now, None, _AT_ONCE, by)
        while last is not None:
            count, last = await store.signal_all(where, signal_id, name, text, now, last, _AT_ONCE, by)
            sent += count
        return sent

    async def _act_on_all(
        self, action: Action, everything: object, actor: str | None, filters: Filters, told: Callable[[int], None] | None
    ) -> int:
        by = checked_actor(actor)
        where = self._chosen(f"{action}_all", everything, filters)
        store, now = self._home.store, self._home.now()
        if action is not Action.RETRY:
            return await _all_of(lambda limit: store.act_on_all(where, action, now, by, limit), told=told)
        # A retried run may have failed again before the last are retried: as many as there are now, and no run for ever.
        there = await store.count(where)
        at_most = there.get(RunStatus.FAILED, 0) + there.get(RunStatus.CANCELED, 0)
        return await _all_of(lambda limit: store.act_on_all(where, action, now, by, limit), at_most, told)

    def _chosen(self, call: str, everything: object, filters: Filters) -> RunFilter:
        """What is there now: runs that are added meanwhile are not meant, or it might not end."""
        where = checked_choice(run_filter(**filters), everything, call)
        refuse_in_body(*ACTS)
        end = self._home.now() + _MOMENT
        return replace(where, created_before=end if where.created_before is None else min(end, where.created_before))


class Workers:
    """`app.workers`: what runs where."""

    def __init__(self, home: Home) -> None:
        self._home = home

    async def list(self, *, limit: int | None = None) -> builtins.list[WorkerState]:
        """All workers that are registered, also those that were not heard of for a while (`beat_at`); or the `limit` that began first."""
        wanted = ALL if limit is None else checked_number(limit, "limit")
        refuse_in_body(*LOOKS)
        return await self._home.store.workers(wanted)

    async def drain(self, worker: str, *, actor: str | None = None) -> None:
        """Ask a worker to stop: it lets its steps end within its grace, hands its runs back, and leaves.

        Args:
            worker: its id, or its name: all workers of that name.
            actor: who does it.

        Raises:
            WorkerNotFound: there is none.
            DefinitionError: it cannot be the name of one.
        """
        refuse_in_body(*ACTS)
        by, store, now = checked_actor(actor), self._home.store, self._home.now()
        if await store.drain(checked_name(worker, "worker"), now, by):
            return
        there = await store.workers()
        drained = [await store.drain(state.id, now, by) for state in there if state.name == worker]
        if not any(drained):
            raise WorkerNotFound(worker, [state.name for state in there])


class Workflows:
    """`app.workflows`: what can be run, by this app or by a worker anywhere."""

    def __init__(self, home: Home, registry: Registry) -> None:
        self._home = home
        self._registry = registry

    async def list(self) -> builtins.list[WorkflowState]:
        """Those of this app and those that any worker has published, and those that are paused; by name."""
        refuse_in_body(*LOOKS)
        store = self._home.store
        known: dict[str, dict[str | None, str]] = {}
        published = [(each.name, each.version, each.retry) for each in await store.definitions()]
        for name, version, retry in published + _declared(self._registry):
            known.setdefault(name, {})[version] = retry
        paused = await _halted(self._home, "workflow")
        return [_workflow_state(name, known.get(name, {}), name in paused) for name in sorted(known.keys() | paused)]

    async def page(self, *, find: str = "", limit: int = 100, cursor: str | None = None) -> Page[WorkflowState]:
        """A page of what `list` gives, by name. There is no page before.

        Args:
            find: only those that have this text in their names.
            limit: how many at most, from 1 to 1,000.
            cursor: the `next_cursor` of the page before, with the same text.

        Raises:
            ValueError: the limit is none.
            TooSlow: it would take too long to find them.
        """
        text, wanted, after = checked_text(find, "find"), checked_limit(limit), checked_cursor(cursor) or ""
        refuse_in_body(*LOOKS)
        found = await self._home.store.catalog(text, after, wanted + 1)
        known, paused = {each.name: dict(each.retries) for each in found}, {each.name for each in found if each.paused}
        for name, version, retry in _declared(self._registry):
            if name > after and text.casefold() in name.casefold():
                known.setdefault(name, {})[version] = retry
        # Of those that are further on than what was read, nothing is known but what is here: they come with another page.
        end = found[-1].name if len(found) > wanted else None
        names = [name for name in sorted(known) if end is None or name <= end]
        states = tuple(_workflow_state(name, known[name], name in paused) for name in names[:wanted])
        return Page(items=states, next_cursor=states[-1].name if len(names) > wanted else None)

    async def definitions(self, name: str) -> builtins.list[Definition]:
        """What this app and the workers have published of it, one for each version, the newest first; empty: nobody has it.

        What this app has goes before what others have published. It may be a second old. Raises DefinitionError: it can be no name.
        """
        wanted = checked_name(name, "workflow")
        refuse_in_body(*LOOKS)
        return self._merged(wanted, (await self._home.published(wanted)).definitions)

    def _merged(self, name: str, published: Iterable[Definition]) -> builtins.list[Definition]:
        here = (definition_of(workflow) for workflow in self._registry if workflow.name == name)
        found = {each.version: each for each in (*published, *here)}
        return [found[version] for version in sorted(found, key=natural_order, reverse=True)]

    async def about(self, name: str) -> tuple[builtins.list[Definition], bool]:
        """As `definitions`, as it is now, and whether the workflow is paused. Raises DefinitionError: it can be no name."""
        wanted = checked_name(name, "workflow")
        refuse_in_body(*LOOKS)
        definitions, paused = await self._home.store.published(wanted, MAX_VERSIONS)
        return self._merged(wanted, definitions), paused

    async def definition(self, name: str, version: str | None = None) -> Definition:
        """What is known of the workflow that takes a run of this name and version. Its version is the one that the run would have.

        Without a version it is the one that has none, else the newest, as with `start`.

        Raises:
            WorkflowNotFound: neither this app nor any worker has such a workflow. A run of it can be started all the same, and waits.
            DefinitionError: it can be no name, or no version.
        """
        name, version = checked_target(name, version)
        refuse_in_body(*LOOKS)
        here = self._registry.resolve(name, version)
        if here is not None:
            return definition_of(here.workflow)._replace(version=here.version)
        found = published_definition(name, version, (await self._home.published(name)).definitions)
        if found is None:
            raise WorkflowNotFound(f"no worker has published {version_label(name, version)}", workflow=name, version=version)
        return found

    def policy(self, name: str, version: str | None, published: str | None) -> RetryPolicy | None:
        """How steps of this workflow are tried again: as this app says, else as was published; None: nobody has said."""
        here = (retry_text(workflow) for workflow in self._registry if (workflow.name, workflow.version) == (name, version))
        said = next(here, published)
        return None if said is None else policy_of(said)

    def is_here(self, name: str, version: str | None = None) -> bool:
        """Whether this app has the code that would take a run of this name and version, so that a start validates its input."""
        return self._registry.resolve(name, version) is not None

    def read_input(self, name: str, version: str | None, text: str) -> Any:
        """The input that a JSON text stands for, as `start` takes it: the typed object where the code is here, else plain JSON.

        What a run has as its input is JSON, in which bytes are base64 and dates are texts: so it is read before another start takes it.

        Raises:
            InvalidInput: it does not fit the workflow's schema.
            ValueError: it is no JSON.
        """
        here = self._registry.resolve(name, version)
        if here is None or (here.workflow.input_optional and text.strip() == "null"):
            try:
                return codec_of(Any).read(text, "an input")
            except ValueError as error:
                raise BadValue(f"the input is no JSON: {error}") from None
        return input_value(codec_of(here.workflow.input_annotation), text, workflow=name)

    async def pause(self, name: str, *, actor: str | None = None) -> None:
        """Begin no run of this workflow and go on with none that is not with a worker, until `resume`. It survives restarts.

        Runs that a worker has go on. The workflow need not be known yet. Twice changes nothing.
        """
        await _halt(self._home, Halt("workflow", checked_name(name, "workflow")), halted=True, actor=actor)

    async def resume(self, name: str, *, actor: str | None = None) -> None:
        """Let runs of this workflow begin again. Changes nothing for one that is not paused."""
        await _halt(self._home, Halt("workflow", checked_name(name, "workflow")), halted=False, actor=actor)


class Queues:
    """`app.queues`: where runs wait."""

    def __init__(self, home: Home, registry: Registry) -> None:
        self._home = home
        self._registry = registry

    async def list(self) -> builtins.list[QueueState]:
        """Those that workflows name, those in which runs wait or have waited, and those that are paused; by name."""
        refuse_in_body(*LOOKS)
        known = {state.name: state for state in await self._home.store.queues(_MAX_QUEUES)}
        here = {workflow.queue: QueueState(name=workflow.queue, paused=False) for workflow in self._registry}
        return [state for _, state in sorted((here | known).items())]

    async def pause(self, name: str, *, actor: str | None = None) -> None:
        """Begin no run that waits in this queue, until `resume`. It survives restarts. Runs that a worker has go on."""
        await _halt(self._home, Halt("queue", checked_name(name, "queue")), halted=True, actor=actor)

    async def resume(self, name: str, *, actor: str | None = None) -> None:
        """Let runs of this queue begin again. Changes nothing for one that is not paused."""
        await _halt(self._home, Halt("queue", checked_name(name, "queue")), halted=False, actor=actor)


async def _all_of(some: Callable[[int], Awaitable[int]], at_most: int | None = None, told: Callable[[int], None] | None = None) -> int:
    """Do it until no more are left, or to as many as there were; how many. Who wants to be told is, after each portion."""
    done = 0
    while at_most is None or done < at_most:
        limit = _AT_ONCE if at_most is None else min(_AT_ONCE, at_most - done)
        changed = await some(limit)
        done += changed
        if told is not None:
            told(done)
        if changed < limit:
            break
    return done


async def _halt(home: Home, what: Halt, *, halted: bool, actor: str | None) -> None:
    refuse_in_body(*ACTS)
    await home.store.halt(what, halted=halted, now=home.now(), actor=checked_actor(actor))


async def _halted(home: Home, kind: str) -> set[str]:
    return {halt.name for halt in await home.store.halts() if halt.kind == kind}


def _declared(registry: Registry) -> list[tuple[str, str | None, str]]:
    return [(workflow.name, workflow.version, retry_text(workflow)) for workflow in registry]


def _workflow_state(name: str, retries: Mapping[str | None, str], paused: bool) -> WorkflowState:
    versions = sorted(retries, key=natural_order, reverse=True)
    retry = policy_of(retries[None if None in retries else versions[0]]) if versions else None
    return WorkflowState(name=name, versions=tuple(versions), paused=paused, retry=retry)


def _by(actor: str | None) -> str:
    return "" if actor is None else f" by {actor}"
