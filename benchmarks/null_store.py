"""A store that keeps nothing and answers at once: what is left is the engine itself."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from stepwell.core.records import Claimed, NewRun
from stepwell.core.registry import Lane
from stepwell.core.status import Action, RunStatus
from stepwell.store.port import Batch

_ENDS = frozenset({Action.COMPLETE, Action.FAIL})


class NullStore:
    """Hands out runs from a list, and forgets what is written."""

    def __init__(self, runs: Sequence[Claimed], on_end: Callable[[], None]) -> None:
        self._runs = list(runs)
        self._on_end = on_end
        self._left = len(self._runs)
        self.parked = 0
        self.failed = 0

    async def lanes(self) -> Collection[Lane]:
        return {Lane("default", run.workflow, run.version) for run in self._runs[-1:]}

    async def claim(self, worker: str, lanes: Collection[Lane], limit: int, now: float) -> list[Claimed]:
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

    async def standing(self, worker: str, now: float) -> Mapping[str, tuple[int, RunStatus]]:
        raise NotImplementedError("no benchmark is that long")

    async def enqueue(self, runs: Sequence[NewRun]) -> list[str]:
        raise NotImplementedError("its runs are given to it when it is made")

    async def hand_back(self, worker: str, now: float) -> int:
        return 0

    pause: Any = enqueue
    resume: Any = enqueue
    cancel: Any = enqueue
    retry: Any = enqueue
    get: Any = enqueue
    steps: Any = enqueue
    logs: Any = enqueue
