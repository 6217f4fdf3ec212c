"""A store that keeps nothing and answers at once: what is left is the engine itself."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from stepwell.core.records import Claimed, Cursor, Declaration, NewRun, NewWorker
from stepwell.core.registry import Lane
from stepwell.core.status import Action, RunStatus
from stepwell.store.port import Batch, Beat, Hint, Look, Notices, Pin

_ENDS = frozenset({Action.COMPLETE, Action.FAIL})


class NullStore:
    """Hands out runs from a list, and forgets what is written."""

    def __init__(self, runs: Sequence[Claimed], on_end: Callable[[], None]) -> None:
        self._runs = list(runs)
        self._on_end = on_end
        self._left = len(self._runs)
        self.parked = 0
        self.failed = 0

    async def open(self, *, migrate: bool = True) -> None: ...
    async def close(self) -> None: ...
    def hint(self, hint: Hint) -> None: ...
    async def register(self, worker: NewWorker) -> None: ...

    def migration_sql(self) -> str:
        return ""

    def listen(self, told: Callable[[Hint], None]) -> Callable[[], None]:
        return lambda: None

    def beat(self, worker: str, running: int, parked: int, now: float) -> Beat | None:
        return Beat(None, False, {})

    async def look(self, worker: str, now: float) -> Look:
        return Look(bool(self._runs), None, False)

    async def claim(
        self, worker: str, serves: Callable[[Lane], Pin | None], limit: int, now: float, *, suspects: bool = True
    ) -> list[Claimed]:
        claimed, self._runs = self._runs[-limit:], self._runs[:-limit]
        return claimed

    async def commit(self, worker: str, batch: Batch, now: float) -> Mapping[tuple[str, int], RunStatus | None]:
        for move in batch.moves:
            if move.action in _ENDS:
                self._left -= 1
                self.failed += move.action is Action.FAIL
            elif move.action is Action.PARK:
                self.parked += 1
        if not self._left:
            self._left = -1
            self._on_end()
        return {}

    async def notices(self, worker: str, seen: int, now: float) -> Notices:
        return Notices(seen, {})

    async def make_ready(self, now: float, limit: int) -> int:
        return 0

    async def hand_back(self, worker: str, now: float, limit: int) -> int:
        return 0

    async def declare(self, worker: str, declarations: Sequence[Declaration], release: int | None, now: float) -> int:
        return 1

    async def changed_schedules(self, deed: int, limit: int) -> list[tuple[str, str]]:
        return []

    async def cursors(self, keys: Collection[tuple[str, str]]) -> list[Cursor]:
        return []

    async def enqueue(self, runs: Sequence[NewRun]) -> list[str]:
        raise NotImplementedError("its runs are given to it when it is made")

    expire = make_ready
    act: Any = enqueue
    act_on_all: Any = enqueue
    active: Any = enqueue
    around: Any = enqueue
    backfill: Any = enqueue
    backlog: Any = enqueue
    catalog: Any = enqueue
    chips: Any = enqueue
    count: Any = enqueue
    definitions: Any = enqueue
    delete: Any = enqueue
    delete_all: Any = enqueue
    drain: Any = enqueue
    due_schedules: Any = enqueue
    ended: Any = enqueue
    ends: Any = enqueue
    ends_by_workflow: Any = enqueue
    enqueue_within: Any = enqueue
    events: Any = enqueue
    facts: Any = enqueue
    find: Any = enqueue
    fire: Any = enqueue
    forget_slots: Any = enqueue
    fork: Any = enqueue
    get: Any = enqueue
    halt: Any = enqueue
    halts: Any = enqueue
    history: Any = enqueue
    lanes: Any = enqueue
    live_versions: Any = enqueue
    logs: Any = enqueue
    news: Any = enqueue
    outcomes: Any = enqueue
    pause_schedule: Any = enqueue
    published: Any = enqueue
    pulse: Any = enqueue
    queues: Any = enqueue
    rescue: Any = enqueue
    resume_schedule: Any = enqueue
    schedule_events: Any = enqueue
    schedules: Any = enqueue
    schedules_of: Any = enqueue
    schedules_page: Any = enqueue
    signal: Any = enqueue
    signal_all: Any = enqueue
    slots: Any = enqueue
    some_steps: Any = enqueue
    speeds: Any = enqueue
    standing: Any = enqueue
    steps: Any = enqueue
    summaries: Any = enqueue
    story: Any = enqueue
    summaries_of: Any = enqueue
    supply: Any = enqueue
    tally: Any = enqueue
    trace: Any = enqueue
    transact: Any = enqueue
    trigger: Any = enqueue
    unknown_schedules: Any = enqueue
    waits: Any = enqueue
    workers: Any = enqueue
