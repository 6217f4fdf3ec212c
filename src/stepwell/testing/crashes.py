"""`crash_everywhere`: one workflow, lived once undisturbed, and then once for each moment at which its worker can be lost."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final, NamedTuple, TypeVar, cast

from stepwell.core.definition import Workflow
from stepwell.core.duration import Duration, parse_duration
from stepwell.core.options import checked_count
from stepwell.core.records import Kind
from stepwell.core.status import RunStatus
from stepwell.engine.requests import StepRequest, TransactionRequest
from stepwell.errors import DefinitionError, RunFailed, Stuck
from stepwell.handle import Handle
from stepwell.store.port import Batch, Effect, Hint, Store
from stepwell.testing.app import TestApp

T = TypeVar("T")

MAX_COMMITS: Final = 200

_SETTLED: Final = ("completed", "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashReport:
    """What `crash_everywhere` has tried.

    Attributes:
        commits: of the undisturbed run.
        crashes: how often a worker was lost: before and after each of them.
        repeated: keys of the steps that ran again after some crash, because it came before their outcome was recorded. Their effects
            have to bear that.
    """

    commits: int
    crashes: int
    repeated: tuple[str, ...]


async def crash_everywhere(
    workflow: Workflow[Any, Any],
    input: Any = None,
    *,
    setup: Callable[..., Any] | None = None,
    effects: Callable[..., Any] | None = None,
    same: Callable[[Any], Any] | None = None,
    workflows: Iterable[Workflow[Any, Any] | ModuleType] = (),
    database: str | None = None,
    lease: Duration = "30s",
    max_commits: int = MAX_COMMITS,
) -> CrashReport:
    """Run a workflow once, then once for each commit in its life with the worker lost just before it, and once with it lost just after.

    Each time another worker takes the run over, a lease later. It must end as the undisturbed run did: with the same result or the same
    error, and the same steps, completed or failed. A step whose outcome was recorded before the crash must not run again; one whose outcome
    was not may. All of it happens in memory, on a clock that moves by itself. What a thread does at the time of a crash runs out in the
    background, since a thread cannot be killed.

    Args:
        workflow: what to run.
        input: what it gets, each time.
        setup: called before each run, to bring the world outside of it to its beginning: to empty what its steps write to. If it takes
            a parameter, that is the `TestApp` of the run, to mock steps in, or to make tables by its `connection`. It may be `async`.
        effects: gives what the steps have done to that world, to be compared as well: it must be the same as without a crash. A step that
            may run again then has to be one that can. It takes a parameter as `setup` does, and may be an `async def`.
        same: what of the result has to be the same, for results with times or chance in them. Left out, it is all of it.
        workflows: others that it needs.
        database: `sqlite://`, for workflows with transactions: each run has a new one, in memory. See `TestApp`.
        lease: how long it takes until the other worker notices. Timers of the body go on meanwhile.
        max_commits: of the undisturbed run. With each one more there are two more runs.

    Raises:
        AssertionError: a crash has made a difference. The message says which crash, and what it was.
        ValueError: the undisturbed run has more than `max_commits` commits, or `lease` is no duration.
        DefinitionError: it is no workflow, `max_commits` no number, or `database` another one.
        Stuck: the undisturbed run does not end.

    Example:
        report = await crash_everywhere(pay, Order(id="a1"), setup=bank.clear, effects=lambda: bank.charges)
        assert report.repeated == ("charge",)
    """
    if not isinstance(workflow, Workflow):
        raise DefinitionError(f"crash_everywhere takes a Workflow, not {workflow!r}; is the function decorated with @workflow?")
    checked_count(max_commits, "max_commits")
    seconds = parse_duration(lease, "the lease").total_seconds()
    if not seconds:
        raise ValueError('the lease is longer than zero, such as "30s"')
    if database not in (None, "sqlite://"):
        raise DefinitionError(f'database is "sqlite://", of which each run has a new one; not {database!r}')
    world = _World(workflow, input, tuple(workflows), setup, effects, same, seconds, database)
    undisturbed = await world.live(_Crash(max_commits + 1, after=False), survives=False)
    if undisturbed.crashed:
        raise ValueError(f"{workflow} makes more than {max_commits:,} commits; give it less to do, or raise max_commits")
    lives = [await _crashed(world, crash, undisturbed) for crash in _crashes(len(undisturbed.commits))]
    repeated = dict.fromkeys(key for life in lives for key in life.repeated)
    return CrashReport(commits=len(undisturbed.commits), crashes=sum(life.crashed for life in lives), repeated=tuple(repeated))


class _Crash(NamedTuple):
    """A moment at which the worker is lost."""

    commit: int
    """The number of it, from 1."""
    after: bool
    """It is made, and nobody is told."""


def _crashes(commits: int) -> Iterator[_Crash]:
    return (_Crash(commit, after) for commit in range(1, commits + 1) for after in (False, True))


async def _crashed(world: _World, crash: _Crash, undisturbed: _Life) -> _Life:
    life = await world.live(crash)
    differences = list(_differences(life, undisturbed))
    if differences:
        when = f"just {'after' if crash.after else 'before'} commit {crash.commit} of {len(undisturbed.commits)}"
        what = life.commits[crash.commit - 1] if crash.commit <= len(life.commits) else "which it did not come to"
        lines = "\n".join(f"  - {difference}" for difference in differences)
        raise AssertionError(f"a crash of the worker {when} ({what}) makes a difference to {world.workflow}:\n{lines}")
    return life


# -- comparing


@dataclass(frozen=True, slots=True, kw_only=True)
class _Life:
    """How one run went, from its start to its end."""

    commits: tuple[str, ...]
    """What each wrote."""
    crashed: bool
    ending: Any
    """How it ended, to be compared."""
    steps: Mapping[str, str]
    """Key → status."""
    effects: Any
    repeated: tuple[str, ...]
    """Steps that ran before and after the crash."""
    rerun: tuple[str, ...]
    """Those among them that were recorded before it."""


def _differences(life: _Life, undisturbed: _Life) -> Iterator[str]:
    for key in life.rerun:
        yield f"step {key!r} ran again, although its outcome was recorded before the crash"
    if life.ending != undisturbed.ending:
        yield f"{life.ending}, and without the crash {undisturbed.ending}"
    for key in sorted(life.steps.keys() | undisturbed.steps.keys()):
        status, before = life.steps.get(key, "not run"), undisturbed.steps.get(key, "not run")
        if status != before:
            yield f"step {key!r} is {status}, and without the crash {before}"
    if life.effects != undisturbed.effects:
        yield f"the effects are {life.effects!r}, and without the crash {undisturbed.effects!r}"


@dataclass(frozen=True, slots=True)
class _Ended:
    """How a run ended."""

    status: RunStatus
    value: Any

    def __str__(self) -> str:
        match self.status:
            case RunStatus.COMPLETED:
                return f"it completed with {self.value!r}"
            case RunStatus.FAILED:
                return f"it failed with {self.value}"
            case _:
                return f"it did not end: {self.value}"


# -- living


class _World(NamedTuple):
    """What all lives have in common."""

    workflow: Workflow[Any, Any]
    input: Any
    others: tuple[Workflow[Any, Any] | ModuleType, ...]
    setup: Callable[..., Any] | None
    effects: Callable[..., Any] | None
    same: Callable[[Any], Any] | None
    lease: float
    database: str | None

    async def live(self, crash: _Crash, *, survives: bool = True) -> _Life:
        """One life, with this crash if it comes so far. `survives`: whether it goes on after that."""
        app = _Doomed(self, crash)
        async with app:
            if self.setup is not None:
                await _called(self.setup, app)
            handle: Handle[Any] = await app.start(self.workflow, self.input)
            ending = await self._ending(app, handle, survives=survives)
            records = await handle.steps()
            effects = None if self.effects is None else deepcopy(await _called(self.effects, app))
        return _Life(
            commits=tuple(app.kept.written),
            crashed=app.kept.lost.is_set(),
            ending=ending,
            steps={record.key: record.status for record in records if record.status in _SETTLED},
            effects=effects,
            repeated=tuple(dict.fromkeys(begun.key for begun in app.again())),
            rerun=tuple(dict.fromkeys(begun.key for begun in app.again() if begun in app.recorded)),
        )

    async def _ending(self, app: _Doomed, handle: Handle[Any], *, survives: bool) -> _Ended | None:
        try:
            result = await app.result_of(handle, survives=survives)
        except RunFailed as failed:
            return _Ended(RunStatus.FAILED, f"{failed.error.type}: {failed.error.message}")
        except Stuck as stuck:
            if not app.kept.lost.is_set():
                raise
            return _Ended(RunStatus.PAUSED, str(stuck))
        if self.same is not None:
            return _Ended(RunStatus.COMPLETED, self.same(result))
        return _Ended(RunStatus.COMPLETED, (await handle.get()).output)


async def _called(function: Callable[..., Any], app: TestApp) -> Any:
    value = function(*([app] if inspect.signature(function).parameters else []))
    return await value if inspect.isawaitable(value) else value


class _Begun(NamedTuple):
    """A step that has begun to run."""

    run_id: str
    generation: int
    key: str


class _Doomed(TestApp):
    """An app whose worker is lost at a commit. Another takes its place."""

    def __init__(self, world: _World, crash: _Crash) -> None:
        super().__init__(world.workflow, *world.others, database=world.database)
        self._lease = world.lease
        self.kept = _Kept(self.store, crash, self._lose_worker)
        self.store = cast("Store", self.kept)
        self.recorded: frozenset[_Begun] = frozenset()
        """Whose outcomes were there when the worker was lost."""
        self._before: set[_Begun] = set()
        self._since: list[_Begun] = []

    def again(self) -> list[_Begun]:
        """What ran before the crash and after it, and what ran after it although it was recorded."""
        return [begun for begun in self._since if begun in self._before or begun in self.recorded]

    def _stand_in(self, request: StepRequest) -> Callable[..., Any]:
        begun, function = _Begun(request.run.id, request.run.generation, request.key), super()._stand_in(request)
        if self.kept.lost.is_set():
            self._since.append(begun)
        elif not (isinstance(request, TransactionRequest) and function is request.function):  # what that has done is taken back
            self._before.add(begun)
        return function

    async def result_of(self, handle: Handle[Any], *, survives: bool) -> Any:
        """What the run returns, whatever becomes of its worker; None: its worker was lost, and it does not survive that."""
        loop = asyncio.get_running_loop()
        ended, lost = loop.create_task(handle.result()), loop.create_task(self.kept.lost.wait())
        try:
            await asyncio.wait((ended, lost), return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                if not survives:
                    return None
                await self._take_over(handle.run_id)
            return await ended
        finally:
            ended.cancel()
            lost.cancel()

    def _lose_worker(self) -> None:
        if self._worker is not None:
            self._worker.abandon()

    async def _take_over(self, run_id: str) -> None:
        """Another worker, which has heard nothing of the first for a lease."""
        generation = (await self.store.history(run_id)).generation
        outcomes = await self.store.outcomes(run_id, 0, sys.maxsize)
        self.recorded = frozenset(_Begun(run_id, generation, outcome.key) for outcome in outcomes)
        await self._begin_worker()
        self._move_to(self.clock.now() + self._lease)
        self.store.hint(Hint.ENDED)  # the commit may have been the last, and nobody was told


class _Kept:
    """What outlives the worker: a store, with crashes in it."""

    def __init__(self, store: Store, crash: _Crash, lose_worker: Callable[[], None]) -> None:
        self._store = store
        self.written: list[str] = []
        """What each commit was to write."""
        self.lost = asyncio.Event()
        """The worker is lost."""
        self._crash = crash
        self._lose_worker = lose_worker

    def __getattr__(self, verb: str) -> Any:
        return getattr(self._store, verb)

    async def commit(self, worker: str, batch: Batch, now: float) -> Mapping[tuple[str, int], RunStatus | None]:
        """See `Store.commit`. The crash is here."""
        return await self._crashing(_described(batch), self._store.commit(worker, batch, now))

    async def transact(self, worker: str, effect: Effect, now: float) -> RunStatus | None:
        """See `Store.transact`. The crash is here, too."""
        return await self._crashing(f"transaction {effect.key!r}", self._store.transact(worker, effect, now))

    async def _crashing(self, what: str, writing: Coroutine[Any, Any, T]) -> T:
        self.written.append(what)
        number = len(self.written)
        if self._crash == (number, False):
            writing.close()
            await self._lose()
        answer = await writing
        if self._crash == (number, True):
            await self._lose()
        return answer

    async def _lose(self) -> None:
        """Never return: whoever waits is no more."""
        asyncio.get_running_loop().call_soon(self._lost)  # out of the worker's own task: it leaves its runs from plain callbacks
        await asyncio.Event().wait()

    def _lost(self) -> None:
        self._lose_worker()
        self.lost.set()


def _described(batch: Batch) -> str:
    """What the batch writes, for people."""
    words = [f"{Kind(outcome.kind).word} {outcome.key!r}" for outcome in batch.outcomes]
    words += [f"a failed attempt of step {attempt.key!r}" for attempt in batch.attempts if not attempt.canceled]
    words += [f"{move.action} of the run" for move in batch.moves]
    return ", ".join(words) or "what is shown to operators"
