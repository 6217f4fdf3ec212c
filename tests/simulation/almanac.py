"""An account of every slot, kept beside the store's: which release is heard, how far each schedule has come, and what became of each.

It knows the promises of the port, and of times no more than that a slot comes every so many seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from stepwell.core.records import Cursor, Declaration, Firing, NewRun, NewSchedule, NewSlot
from stepwell.core.slots import LATE
from tests.simulation.timetable import NAME, period_of

if TYPE_CHECKING:
    from tests.simulation.world import World

PROMPT = 6.0
"""Seconds within which a worker that nothing ails does what is to be done."""

_EARLY = 1e-3
"""See `Watch`."""


class Told(NamedTuple):
    """A record, as far as it is compared."""

    slot: float
    outcome: str
    run: str | None


@dataclass(slots=True)
class Account:
    """One schedule."""

    said: NewSchedule | None = None
    """As the release has it that is heard; None: it does not have it."""
    next_at: float | None = None
    waiting_at: float | None = None
    is_paused: bool = False
    started: set[float] = field(default_factory=set)
    """Slots that have fired, since its times were changed."""
    ever_started: set[float] = field(default_factory=set)
    last_at: float | None = None
    """The last slot that has fired, whatever its times were."""
    records: Counter[Told] = field(default_factory=Counter)
    last_run: str | None = None
    changed_at: float = 0.0
    """When somebody last changed it, by other than a slot."""


class Almanac:
    """What is known of schedules."""

    def __init__(self, world: World) -> None:
        self.accounts: dict[str, Account] = {}
        self._world = world
        self._heard: tuple[int, str] = (0, "")
        """Number and digest of the release that is heard."""
        self._words: dict[str, str] = {}
        """What each worker has said last: a digest."""
        self._said_at: dict[str, float] = {}

    def before(self, verb: str, args: tuple[Any, ...]) -> None:
        """The store has done this, and what it has made of runs is about to be looked at."""
        new = self._world.watch.new
        match verb:
            case "fire":
                new.update((run.id, run) for firing in args[0] for run in firing.runs)
            case "trigger":
                new[args[0].id] = args[0]
            case "backfill":
                new.update((run.id, run) for run in args[0])

    def saw(self, verb: str, args: tuple[Any, ...], answer: Any) -> None:
        """The store has done this."""
        deeds: dict[str, Callable[[tuple[Any, ...], Any], None]] = {
            "declare": self._declared,
            "fire": self._fired,
            "pause_schedule": self._paused,
            "resume_schedule": self._resumed,
            "trigger": self._triggered,
            "backfill": self._backfilled,
        }
        if verb in deeds:
            deeds[verb](args, answer)

    def may_cancel(self, run_id: str, firings: Iterable[Firing]) -> bool:
        """Whether one of these takes the place of the run."""
        return any(firing.cancel == run_id for firing in firings)

    # -- releases

    def _declared(self, args: tuple[Any, ...], number: int) -> None:
        worker, declarations, _, now = args
        declaration = next((each for each in declarations if each.workflow == NAME), None)
        if declaration is None:  # it says no more
            self._words.pop(worker, None)
            return
        self._words[worker] = declaration.digest
        self._said_at[worker] = self._world.loop.time()
        newest, digest = self._heard
        is_said = any(word == digest and other != worker and self._world.tables.lives(other) for other, word in self._words.items())
        if number >= newest or not is_said:
            self._heard = (number, declaration.digest)
            self._hear(declaration, now)

    def _hear(self, declaration: Declaration, now: float) -> None:
        named = {each.name: each for each in declaration.schedules}
        for name in named.keys() | self.accounts.keys():
            account = self.accounts.setdefault(name, Account())
            new, old = named.get(name), account.said
            if new and old and account.next_at is not None and (new.expression, new.timezone) == (old.expression, old.timezone):
                account.said = new
                continue
            if account.next_at is not None and account.next_at <= now:
                account.records[Told(account.next_at, "skipped" if account.is_paused else "missed", None)] += 1
            if new is None and account.waiting_at is not None:
                account.records[Told(account.waiting_at, "missed", None)] += 1
                account.waiting_at = None
            account.changed_at = self._world.loop.time()
            account.said, account.next_at, account.started = new, None if new is None else _first(new, account), set()

    # -- slots

    def _fired(self, args: tuple[Any, ...], answer: list[bool]) -> None:
        firings, now = args
        for firing, is_done in zip(firings, answer, strict=True):
            there = [run.id for run in firing.runs if run.id in self._world.watch.runs or run.id in self._world.watch.deleted]
            where = f"schedule {firing.cursor.name}: {[each.slot for each in firing.slots]}"
            if not is_done and there:
                self._wrong(f"{where}: was not fired, and has made runs")
            if is_done:
                self._world.counts["firings"] += 1
                self._world.note(f"{where}: {[each.outcome for each in firing.slots]}, next {firing.next_at}, waits {firing.waiting_at}")
                if len(there) < len(firing.runs):
                    self._wrong(f"{where}: was fired, and has made {len(there)} runs of {len(firing.runs)}")
                self._account_for(firing, now, where)

    def _account_for(self, firing: Firing, now: float, where: str) -> None:
        account = self.accounts[firing.cursor.name]
        if account.said is None or firing.cursor.digest != self._heard[1]:
            self._wrong(f"{where}: was fired as a release has it that is not heard")
            return
        if account.is_paused:
            self._wrong(f"{where}: was fired, and is paused")
        if (firing.cursor.next_at, firing.cursor.waiting_at) != (account.next_at, account.waiting_at):
            self._wrong(f"{where}: was fired from {firing.cursor}, and stands at {account.next_at} with {account.waiting_at} waiting")
        self._check_slots(account, account.said, firing, now, where)
        for run in firing.runs:
            self._check_run(account, account.said, run, firing.cursor.last_run, where)
            account.last_run, account.last_at = run.id, run.scheduled_at
            self._world.confirmed.add(run.id)
        account.records.update(Told(each.slot, each.outcome, each.run) for each in firing.slots)
        account.next_at, account.waiting_at = firing.next_at, firing.waiting_at

    def _check_slots(self, account: Account, said: NewSchedule, firing: Firing, now: float, where: str) -> None:
        """Each from where it stood on is accounted for once: it makes a run, or there is a record, or it waits."""
        period = period_of(said.expression)
        due = _slots(account.next_at, firing.next_at, period)
        if account.waiting_at is not None and account.waiting_at != firing.waiting_at:
            due.insert(0, account.waiting_at)
        told = [slot for record in firing.slots for slot in _within(due, record)]
        if firing.waiting_at is not None and firing.waiting_at != account.waiting_at:
            told.append(firing.waiting_at)
        if sorted(told) != due or any(each.count not in (None, len(_within(due, each))) for each in firing.slots):
            self._wrong(f"{where}: accounts for {sorted(told)}, and should for {due}")
        if due and due[-1] > now + self._world.spread + _EARLY:
            self._wrong(f"{where}: was fired {due[-1] - now:g} s too early")
        started = [run.scheduled_at for run in firing.runs]
        if started != [each.slot for each in firing.slots if each.outcome in ("started", "failed")]:
            self._wrong(f"{where}: has made runs of {started}")
        if len(started) > 1 and said.overlap != "allow":
            self._wrong(f"{where}: has made several runs, and overlap is {said.overlap}")

    def _check_run(self, account: Account, said: NewSchedule, run: NewRun, last_run: str | None, where: str) -> None:
        slot, world = run.scheduled_at, self._world
        assert slot is not None
        if slot in account.started:
            self._wrong(f"{where}: has made a second run of {slot}")
        account.started.add(slot)
        account.ever_started.add(slot)
        if said.catch_up == "none" and said.input is not None and slot != account.waiting_at and run.created_at - slot >= LATE:
            self._wrong(f"{where}: makes up for {slot}, {run.created_at - slot:g} s late")
        last = world.watch.runs.get(last_run or "")
        is_going = last is not None and not last.status.ended and last_run not in world.watch.acted
        if is_going and said.overlap in ("wait", "skip"):
            self._wrong(f"{where}: has made a run while {world.short(str(last_run))} is going, and overlap is {said.overlap}")

    # -- people

    def _paused(self, args: tuple[Any, ...], is_done: bool) -> None:
        account = self.accounts.get(args[1])
        if is_done is not (account is not None):
            self._wrong(f"schedule {args[1]} was paused: {is_done}")
        if account is None or account.is_paused:
            return
        account.is_paused = True
        if account.waiting_at is not None:
            account.records[Told(account.waiting_at, "skipped", None)] += 1
            account.waiting_at = None

    def _resumed(self, args: tuple[Any, ...], is_done: bool) -> None:
        seen, next_at, skipped, _, _ = args
        account = self.accounts[seen.name]
        if not is_done or not account.is_paused:
            return
        account.is_paused = False
        if account.said is not None:
            period = period_of(account.said.expression)
            told = [] if skipped is None else _slots(skipped.slot, skipped.until + period, period)
            if told != (due := _slots(account.next_at, next_at, period)):
                self._wrong(f"schedule {seen.name}: was resumed, skipping {told}, and should have skipped {due}")
        if skipped is not None:
            account.records[Told(skipped.slot, skipped.outcome, None)] += 1
        account.next_at, account.changed_at = next_at, self._world.loop.time()

    def _triggered(self, args: tuple[Any, ...], run_id: str) -> None:
        run: NewRun = args[0]
        account = self.accounts[str(run.schedule)]
        account.records[Told(round(run.created_at, 6), "triggered", run_id)] += 1
        account.last_run = run_id
        self._world.confirmed.add(run_id)

    def _backfilled(self, args: tuple[Any, ...], ids: list[str]) -> None:
        for run in args[0]:
            account, slot = self.accounts[str(run.schedule)], run.scheduled_at
            is_new, had_one = run.id in ids, slot in account.ever_started
            if is_new is had_one:
                self._wrong(f"schedule {run.schedule}: {slot} was backfilled: {is_new}; it had had a run: {had_one}")
            if is_new:
                account.ever_started.add(slot)
                account.records[Told(slot, "backfilled", run.id)] += 1
                self._world.confirmed.add(run.id)

    def told_of(self, cursors: Iterable[Cursor]) -> None:
        """Somebody has asked how schedules stand."""
        for cursor in cursors:
            account = self.accounts[cursor.name]
            stands = (cursor.digest, cursor.next_at, cursor.waiting_at, cursor.paused)
            if stands != (expected := (self._heard[1], account.next_at, account.waiting_at, account.is_paused)):
                self._wrong(f"schedule {cursor.name} stands at {stands}, and should at {expected}")

    # -- in time

    def check_promptness(self) -> None:
        """A worker that nothing ails says which schedules it has, and leaves nothing of them undone that is due."""
        now = self._world.loop.time()
        for process in self._world.processes.values():
            if process.fit_since > now - PROMPT:
                continue
            worker = process.worker.id
            if worker not in self._words:
                self._wrong(f"{process.name} does not say which schedules it has")
            elif self._words[worker] == self._heard[1] and self._said_at[worker] < now - PROMPT:
                self._check_done(process.clock.now(), process.name)

    def _check_done(self, now: float, who: str) -> None:
        watch, since = self._world.watch, self._world.loop.time() - PROMPT
        for name, account in self.accounts.items():
            if account.said is None or account.said.input is None or account.is_paused or account.changed_at > since:
                continue
            if account.next_at is not None and account.next_at < now - PROMPT:
                self._wrong(f"schedule {name} stands at {account.next_at}, {now - account.next_at:g} s ago, and {who} does nothing")
            last = watch.runs.get(account.last_run or "")
            if account.waiting_at is not None and last is not None and last.status.ended and watch.since[str(account.last_run)] < since:
                self._wrong(f"schedule {name}: {account.waiting_at} waits for a run that has ended, and {who} does nothing")

    # -- when all is over

    async def check(self) -> None:
        """The store says of each schedule and each slot what is said here."""
        link = self._world.operator.link
        states = {state.name: state for state in await link.schedules()}
        if states.keys() != self.accounts.keys():
            self._wrong(f"there are schedules {sorted(states)}, and should be {sorted(self.accounts)}")
        for name, account in sorted(self.accounts.items()):
            (cursor,) = await link.cursors([(NAME, name)])
            stands = (states[name].declared, cursor.next_at, cursor.waiting_at, cursor.paused)
            if stands != (expected := (account.said is not None, account.next_at, account.waiting_at, account.is_paused)):
                self._wrong(f"schedule {name} stands at {stands}, and should at {expected}")
            records = await link.slots(NAME, name, 10_000)
            told = Counter(Told(each.at.timestamp(), each.outcome, each.run_id) for each in records)
            if told != account.records:
                self._wrong(f"schedule {name} has records {told - account.records}, and not {account.records - told}")
            if any(each.reason is None for each in records if each.outcome in ("skipped", "missed", "failed")):
                self._wrong(f"schedule {name} has a record without a reason")

    def _wrong(self, what: str) -> None:
        self._world.wrong(what)


def _within(slots: Iterable[float], record: NewSlot) -> list[float]:
    return [slot for slot in slots if record.slot <= slot <= record.until]


def _first(new: NewSchedule, account: Account) -> float | None:
    """The first slot of its new times. The release before may have fired the one that it names, while it began to speak."""
    done = max((slot for slot in (account.last_at, account.waiting_at) if slot is not None), default=None)
    if new.first_at is None or done is None or new.first_at > done:
        return new.first_at
    period = period_of(new.expression)
    return (done // period + 1) * period


def _slots(first: float | None, end: float | None, period: int) -> list[float]:
    """Those from the first on and before the end."""
    if first is None:
        return []
    assert end is not None
    return [first + place * period for place in range(round(end - first) // period)]
