"""What pages show of the whole: runs without payloads, and how many there are of what."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from stepwell.core.naming import BODY
from stepwell.core.records import Attempt, Backlog, Kind, LiveVersion, Outcome, Started, StepChip, Waiting, instant
from stepwell.core.status import RunStatus
from stepwell.store.memory.finding import matching
from stepwell.store.memory.showing import goes_on
from stepwell.store.port import MAX_CHIPPED, MAX_LISTED
from stepwell.store.shown import LOOKED_AT, intervals, speed_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from stepwell.core.records import Ends, RunFilter, Speed
    from stepwell.store.memory.tables import Row, Tables


def active(tables: Tables, limit: int) -> list[Row]:
    """See `Store.active`."""
    live = [row for row in _newest(tables) if not row.status.ended]
    return sorted(live, key=lambda row: row.status is not RunStatus.RUNNING)[:limit]


def _newest(tables: Tables) -> list[Row]:
    return sorted(tables.rows.values(), key=lambda row: row.new.id, reverse=True)


def tally(tables: Tables, where: RunFilter, cap: int) -> dict[RunStatus, int]:
    """See `Store.tally`."""
    counts = Counter(row.status for row in matching(tables.rows.values(), where))
    return {status: min(counts[status], cap + 1) for status in RunStatus if where.statuses is None or status in where.statuses}


def chips(row: Row, limit: int) -> tuple[int, list[StepChip]]:
    """See `Store.chips`."""
    going = sorted((each for each in row.started.values() if goes_on(row, each)), key=lambda each: each.started_at)
    settled = sorted((each for each in row.outcomes.values() if each.kind != Kind.TIMER), key=lambda each: each.seq)
    steps: list[Outcome | Attempt | Started] = [*settled, *_retried(row, {each.key for each in going}), *going]
    return min(len(steps), MAX_CHIPPED + 1), [_chip(row, each) for each in steps[-limit:]]


def _retried(row: Row, going: Iterable[str]) -> list[Attempt]:
    """The last attempt of each step that has failed, has no outcome, and is not under way."""
    last: dict[str, Attempt] = {}
    for place, attempt in sorted(row.attempts.items()):
        stands = place not in row.void and not attempt.canceled and attempt.key != BODY
        if stands and attempt.key not in row.outcomes and attempt.key not in going:
            last[attempt.key] = attempt
    return sorted(last.values(), key=lambda each: each.started_at)


def _chip(row: Row, each: Outcome | Attempt | Started) -> StepChip:
    if isinstance(each, Outcome):
        return StepChip(key=each.key, status="completed" if each.ok else "failed", kind=Kind(each.kind).name.lower())
    if isinstance(each, Started):
        return StepChip(key=each.key, status="running", kind="function")
    return StepChip(key=each.key, status="failed" if row.status.ended else "retrying", kind="function")


def ends(tables: Tables, since: float, until: float, width: float, workflow: str | None) -> list[Ends]:
    """See `Store.ends`."""
    counts: Counter[tuple[int, str]] = Counter()
    for row in tables.rows.values():
        at = row.finished_at
        if at is not None and row.status.ended and since <= at < until and workflow in (None, row.new.workflow):
            counts[int((at - since) / width), str(row.status)] += 1
    return intervals(since, until, width, ((place, status, count) for (place, status), count in counts.items()))


def ends_by_workflow(tables: Tables, since: float, until: float, width: float, workflows: Collection[str] | None) -> dict[str, list[Ends]]:
    """See `Store.ends_by_workflow`."""
    ended = {
        row.new.workflow
        for row in tables.rows.values()
        if row.status.ended and row.finished_at is not None and since <= row.finished_at < until
    }
    wanted = ended if workflows is None else ended & set(workflows)
    return {workflow: ends(tables, since, until, width, workflow) for workflow in sorted(wanted)}


def speeds(tables: Tables, limit: int, workflows: Collection[str] | None) -> list[Speed]:
    """See `Store.speeds`."""
    known = {name for name, _ in tables.definitions} | {lane.workflow for lane in tables.lanes}
    names = known if workflows is None else set(workflows)
    newest = _newest(tables)
    return [speed_of(name, _ended_of(newest, name, limit)) for name in sorted(names)[:MAX_LISTED]]


def _ended_of(newest: Iterable[Row], workflow: str, limit: int) -> list[tuple[str, float | None]]:
    rows = [row for row in newest if row.new.workflow == workflow][: limit * LOOKED_AT]
    return [(str(row.status), _took(row)) for row in rows if row.status.ended][:limit]


def _took(row: Row) -> float | None:
    return None if row.started_at is None or row.finished_at is None else row.finished_at - row.started_at


def waits(tables: Tables, parts: Sequence[tuple[str, str]], limit: int, now: float, workflow: str | None) -> list[list[float]]:
    """See `Store.waits`."""
    oldest = [row for row in _newest(tables)[::-1] if workflow in (None, row.new.workflow)]
    found: list[list[float]] = []
    for begin, below in parts:
        rows = [row for row in oldest if begin <= row.new.id < below]
        some = rows if len(rows) <= 2 * limit else rows[:limit] + rows[-limit:]
        found.append([_waited(row, now if row.started_at is None else row.started_at) for row in some if row.started_at or row.is_ready])
    return found


def _waited(row: Row, began_at: float) -> float:
    since = row.available_at if row.available_at <= began_at else row.new.created_at
    return max(round(began_at - since, 6), 0.0)


def live_versions(tables: Tables, cap: int) -> list[LiveVersion]:
    """See `Store.live_versions`."""
    oldest = _newest(tables)[::-1]
    counts: Counter[tuple[str, str | None]] = Counter()
    for status in RunStatus:
        if not status.ended:
            counts.update((row.new.workflow, row.new.version) for row in [row for row in oldest if row.status is status][:cap])
    named = sorted(counts, key=lambda key: (key[0], key[1] or ""))
    return [LiveVersion(workflow=name, version=version, count=counts[name, version]) for name, version in named]


def backlog(tables: Tables, cap: int) -> Backlog:
    """See `Store.backlog`. Here all are looked at."""
    ready = [row for row in tables.rows.values() if row.is_ready]
    counts = Counter((row.new.queue, row.new.workflow, row.new.version or "") for row in ready)
    return Backlog(
        oldest_ready_at=instant(min(row.available_at for row in ready)) if ready else None,
        ready=tuple(
            Waiting(queue=queue, workflow=name, version=version or None, count=min(count, cap + 1))
            for (queue, name, version), count in sorted(counts.items())
        ),
    )
