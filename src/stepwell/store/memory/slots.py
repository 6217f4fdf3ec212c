"""What the store in memory keeps of schedules: what releases say of them, how far each has come, and what has become of slots."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from stepwell.core.records import Cursor, Slot, instant

if TYPE_CHECKING:
    from stepwell.core.declaring import Declared
    from stepwell.core.records import Event, NewSlot
    from stepwell.store.memory.tables import Tables

Key = tuple[str, str]
"""Workflow and name."""


@dataclass(slots=True)
class Fired:
    """What firing changes of a schedule, and people."""

    last_at: float | None = None
    last_run: str | None = None
    paused_at: float | None = None
    paused_by: str | None = None
    events: list[Event] = field(default_factory=list)


@dataclass(slots=True)
class Schedules:
    """All schedules that were ever declared."""

    said: dict[Key, Declared] = field(default_factory=dict)
    fired: dict[Key, Fired] = field(default_factory=dict)
    slots: dict[Key, list[Slot]] = field(default_factory=dict)
    """The oldest first."""
    declares: dict[str, dict[str, str]] = field(default_factory=dict)
    """By worker: the digest of each workflow."""
    records: int = 0
    releases: int = 0
    """How many numbers of releases were given."""

    @property
    def last_deed(self) -> int:
        """The number of the last thing that was done to one of them."""
        return max((row.changed for row in self.said.values()), default=0)

    def cursor(self, tables: Tables, key: Key) -> Cursor | None:
        """How far it has come; None: there is none."""
        row = self.said.get(key)
        if row is None:
            return None
        fired = self.fired[key]
        last = None if fired.last_run is None else tables.rows.get(fired.last_run)
        going = last is not None and not last.status.ended
        return Cursor(*key, row.digest, row.next_at, row.waiting_at, fired.paused_at is not None, fired.last_run, going)

    def record(self, key: Key, slot: NewSlot, now: float) -> None:
        """Keep what has become of a slot."""
        self.records += 1
        self.slots.setdefault(key, []).append(
            Slot(
                number=self.records,
                at=instant(slot.slot),
                until=instant(slot.until),
                count=slot.count,
                outcome=slot.outcome,
                reason=slot.reason,
                run_id=slot.run,
                actor=slot.actor,
                recorded_at=instant(now),
            )
        )

    def change(self, key: Key, *, next_at: float | None, waiting_at: float | None) -> None:
        """Somebody has done something to it."""
        self.said[key] = replace(self.said[key], next_at=next_at, waiting_at=waiting_at, changed=self.last_deed + 1)
