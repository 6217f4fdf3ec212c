"""A worker without an app: on a store in memory that can fail, lose its hints and count questions, and a clock that is moved."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from stepwell import Run, RunStatus, Workflow
from stepwell.core.records import NewRun
from stepwell.core.registry import Registry
from stepwell.core.status import Action
from stepwell.engine.clock import RunIds
from stepwell.engine.worker import Worker
from stepwell.errors import DatabaseUnavailable
from stepwell.store.memory import MemoryStore
from stepwell.store.port import Hint, Store
from stepwell.testing.clock import MovedClock
from tests.loops import turns

_VERBS = frozenset(name for name in vars(Store) if not name.startswith("_")) - {"open", "close", "listen", "hint"}


class Database(MemoryStore):
    """A store in memory that can be away."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()
        """How often each verb was called."""
        self.away: frozenset[str] = frozenset()
        """Verbs that answer that the database is unavailable."""
        self.hanging: frozenset[str] = frozenset()
        """Verbs that do not answer at all."""
        self.losing: frozenset[str] = frozenset()
        """Verbs that are done, and whose answers are lost."""
        self.slow: frozenset[str] = frozenset()
        """Verbs that take a turn of the loop to get here."""
        self.is_silent = False
        """All hints are lost."""

    def go_away(self, *verbs: str) -> None:
        """These are not to be reached; all of them if none is named."""
        self.away = frozenset(verbs) or _VERBS

    def come_back(self) -> None:
        self.away = self.hanging = self.losing = frozenset()

    def hint(self, hint: Hint) -> None:
        if not self.is_silent:
            super().hint(hint)

    def __getattribute__(self, name: str) -> Any:
        verb = super().__getattribute__(name)
        if name not in _VERBS:
            return verb
        return self._beat(verb) if name == "beat" else self._asked(name, verb)

    def _beat(self, verb: Callable[..., Any]) -> Callable[..., Any]:
        def beat(*args: Any) -> Any:
            self.asked["beat"] += 1
            if "beat" in self.away:
                raise DatabaseUnavailable("it is away")
            return verb(*args)

        return beat

    def _asked(self, name: str, verb: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def ask(*args: Any, **kwargs: Any) -> Any:
            self.asked[name] += 1
            if name in self.hanging:
                await asyncio.Event().wait()
            if name in self.away:
                raise DatabaseUnavailable("it is away")
            if name in self.slow:
                await asyncio.sleep(0)
            answer = await verb(*args, **kwargs)
            if name in self.losing:
                raise DatabaseUnavailable("the answer is lost")
            return answer

        return ask


class Rig:
    """Workers of the same workflows, and what is done from outside."""

    def __init__(self, *workflows: Workflow[Any, Any]) -> None:
        self.store = Database()
        self.clock = MovedClock()
        self.ids = RunIds(self.clock)
        self.registry = Registry(workflows)

    def beside(self, *workflows: Workflow[Any, Any]) -> Rig:
        """Another release, on the same store and clock."""
        other = Rig(*workflows)
        other.store, other.clock, other.ids = self.store, self.clock, self.ids
        return other

    def worker(self, *, grace: float = 0.0, **options: Any) -> Worker:
        return Worker(self.store, self.registry, self.clock, heart="loop", grace=grace, **options)

    async def start(self, workflow: str, input: str = "null", *, delay: float = 0.0, **options: Any) -> str:
        now = self.clock.now()
        new = NewRun(self.ids.new(), workflow, options.pop("version", None), input, now, now + delay, **options)
        (run_id,) = await self.store.enqueue([new])
        return run_id

    async def act(self, run_id: str, action: Action) -> Run:
        return await self.store.act(run_id, action, self.clock.now())

    async def run(self, run_id: str) -> Run:
        return await self.store.get(run_id)

    async def status(self, run_id: str) -> RunStatus:
        return (await self.store.get(run_id)).status

    async def passes(self, seconds: float, step: float = 0.25) -> None:
        """Time goes by, in small steps."""
        end = self.clock.now() + seconds
        while self.clock.now() < end:
            self.clock.move_to(min(self.clock.now() + step, end))
            await turns()

    async def jumps(self, seconds: float) -> None:
        """So much time is over at once."""
        self.clock.move_to(self.clock.now() + seconds)
        await turns()


class Gate:
    """A step that ends when it is let through."""

    def __init__(self) -> None:
        self.waiting = self.calls = self.canceled = 0
        self._open = asyncio.Event()

    async def step(self, value: Any = None) -> Any:
        self.calls += 1
        self.waiting += 1
        try:
            await self._open.wait()
        except asyncio.CancelledError:
            self.canceled += 1
            raise
        finally:
            self.waiting -= 1
        return value

    def open(self) -> None:
        self._open.set()
