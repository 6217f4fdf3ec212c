"""Every attempt of a step that was begun, by whom and when, and which must not have been.

A worker may begin a step of a run that it holds no longer only while it cannot know: it stood still, or was cut off from the store.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from stepwell.engine.requests import StepRequest

if TYPE_CHECKING:
    from tests.simulation.processes import Process
    from tests.simulation.world import World

PATIENCE = 2.0
"""Seconds after which a worker that is not in trouble knows what was done to its runs: a look each second, and what follows it."""

_SAME_TIME = 1e-3
"""Seconds."""

RETRY_DELAY = 0.4
"""Seconds between two attempts of a step that failed."""


@dataclass(slots=True)
class Effect:
    """One attempt."""

    run_id: str
    generation: int
    epoch: int
    """How often outcomes of the run had been taken back."""
    key: str
    attempt: int
    claim: int
    worker: str
    idempotency_key: str
    begun_at: float
    ended_at: float | None = None
    ok: bool = False


class Entry(NamedTuple):
    """What a transaction has written."""

    run_id: str
    generation: int
    epoch: int
    """See `Effect`."""
    key: str


class Ledger:
    """All attempts, in the order in which they were begun."""

    def __init__(self, world: World) -> None:
        self.effects: list[Effect] = []
        self._world = world
        self._last: dict[tuple[str, int, int, str], Effect] = {}

    def begin(self, request: StepRequest, process: Process) -> Effect:
        """An attempt begins."""
        world = self._world
        effect = self._effect(request, process)
        world.note(f"{process.name}: begins {world.short(effect.run_id)} {effect.key} attempt {effect.attempt} of claim {effect.claim}")
        self._check(effect, process, request.asked)
        place = (effect.run_id, effect.generation, effect.epoch, effect.key)
        self._check_repetition(effect, self._last.get(place))
        self._last[place] = effect
        self.effects.append(effect)
        world.counts["steps"] += 1
        return effect

    def _effect(self, request: StepRequest, process: Process) -> Effect:
        run_id = request.run.id
        return Effect(
            run_id=run_id,
            generation=request.run.generation,
            epoch=self._world.watch.epochs.get(run_id, 0),
            key=request.key,
            attempt=request.attempt,
            claim=request.run.claimed.claim,  # type: ignore[attr-defined]
            worker=process.worker.id,
            idempotency_key=request.idempotency_key,
            begun_at=self._world.loop.time(),
        )

    def booked(self, request: StepRequest, process: Process) -> Entry:
        """A transaction writes: in the database, from which not even its process keeps it that has died meanwhile."""
        effect = self._effect(request, process)
        effect.ended_at, effect.ok = effect.begun_at, True
        self.effects.append(effect)
        self._world.counts["transactions"] += 1
        return Entry(effect.run_id, effect.generation, effect.epoch, effect.key)

    def end(self, effect: Effect, process: Process, *, ok: bool) -> None:
        """It has run to its end."""
        effect.ended_at, effect.ok = self._world.loop.time(), ok
        lost_at = self._world.watch.lost_at(effect.run_id, effect.claim)
        if effect.worker != process.worker.id:
            self._wrong(effect, "goes on, although its worker was taken for dead, knows it, and has begun anew")
        if lost_at is not None and self._must_know(process, max(lost_at, effect.begun_at)):
            self._wrong(effect, f"goes on, although the run was taken from its worker {effect.ended_at - lost_at:g} s ago")

    def _must_know(self, process: Process, since: float) -> bool:
        return self._world.loop.time() - max(since, process.link.trouble_at) > PATIENCE

    def _check(self, effect: Effect, process: Process, asked: int) -> None:
        world, watch, now = self._world, self._world.watch, effect.begun_at
        lost_at, paused_at = watch.lost_at(effect.run_id, effect.claim), watch.paused_at(effect.run_id)
        if process.link.gone:
            self._wrong(effect, "is begun by a process that is dead")
        if lost_at is None:
            seen = watch.runs[effect.run_id]
            if effect.generation == seen.generation and effect.key in seen.outcomes:
                self._wrong(effect, "is begun again, although its outcome is recorded")
            if seen.generation != effect.generation:
                self._wrong(effect, f"is begun in generation {effect.generation}, and the run is in {seen.generation}")
            if paused_at is not None and self._must_know(process, paused_at):
                self._wrong(effect, f"is begun, although the run has been paused for {now - paused_at:g} s")
        elif self._must_know(process, lost_at):
            self._wrong(effect, f"is begun, although the run was taken from its worker {now - lost_at:g} s ago")
        told = process.told.get((effect.run_id, effect.claim))
        if told is not None and told.is_bad and (told.at < now - _SAME_TIME or asked in told.numbers):
            self._wrong(
                effect, f"is begun, although its worker was told {now - told.at:g} s ago that the run is {told.status or 'not its own'}"
            )
        silence = now - process.link.beaten_at
        if silence > world.lease + _SAME_TIME and now - process.thawed_at > _SAME_TIME:
            self._wrong(effect, f"is begun {silence:g} s after the last heartbeat of its worker, whose lease is {world.lease:g} s")

    def _check_repetition(self, effect: Effect, last: Effect | None) -> None:
        if last is None:
            return
        if last.idempotency_key != effect.idempotency_key:
            self._wrong(effect, f"has idempotency key {effect.idempotency_key}, and had {last.idempotency_key}")
        if effect.claim == last.claim and effect.attempt <= last.attempt:
            self._wrong(effect, f"is begun after attempt {last.attempt} of the same claim")
        if effect.claim > last.claim and effect.attempt > last.attempt + 1:
            self._wrong(effect, f"comes after attempt {last.attempt}")
        waited = None if last.ended_at is None or last.ok else effect.begun_at - last.ended_at
        if waited is not None and effect.attempt == last.attempt + 1 and waited < RETRY_DELAY - self._world.spread - _SAME_TIME:
            self._wrong(effect, f"is begun {waited:g} s after the one that failed")

    def _wrong(self, effect: Effect, what: str) -> None:
        step = (
            f"attempt {effect.attempt} of {effect.key} of run {self._world.short(effect.run_id)}, claim {effect.claim} of {effect.worker}"
        )
        self._world.wrong(f"{step} {what}")
