"""What users read: runs, pages of them, steps, lines and workers."""

from __future__ import annotations

import math
import sqlite3
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import from_json, to_json

from stepwell.core.failure import error_from
from stepwell.core.naming import BODY
from stepwell.core.records import (
    UNRESOLVED,
    Definition,
    Event,
    Kind,
    LogLine,
    Page,
    Run,
    RunFilter,
    RunProgress,
    StepRecord,
    WorkerState,
    instant,
    version_label,
)
from stepwell.core.registry import Lane
from stepwell.core.status import RunStatus
from stepwell.errors import RunNotFound
from stepwell.store.port import Ended, Halt
from stepwell.store.shown import read_cursor, settled, unsettled
from stepwell.store.sqlite.claiming import outcomes_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime


STATUS: Final = {str(status): status for status in RunStatus}
"""By the text of the column: ten times as fast as to call the enum."""

_FEW: Final = frozenset(RunStatus) - {RunStatus.COMPLETED}
"""Statuses that few runs have, for long: their own index finds them sooner than that of the workflow."""


# -- runs


def get(connection: sqlite3.Connection, statements: Mapping[str, str], run_id: str) -> Run:
    """See `Store.get`."""
    runs = _shown(connection, statements["get"], {"run": run_id})
    if not runs:
        raise RunNotFound(run_id)
    return runs[0]


def _shown(connection: sqlite3.Connection, statement: str, parameters: dict[str, Any]) -> list[Run]:
    cursor = connection.execute(statement, parameters)
    names = [column[0] for column in cursor.description]
    return [_run(dict(zip(names, row, strict=True))) for row in cursor]


def _run(row: dict[str, Any]) -> Run:
    progress = None if row["progress"] is None else from_json(row["progress"])
    return Run(
        id=row["id"],
        workflow=row["workflow"],
        version=None if row["version"] == UNRESOLVED else row["version"] or None,
        status=RunStatus(row["status"]),
        input=from_json(row["input"]),
        output=None if row["output"] is None else from_json(row["output"]),
        error=None if row["error"] is None else error_from(row["error"]),
        attempt=row["attempt"],
        key=row["key"],
        queue=row["queue"],
        priority=row["priority"],
        tags=tuple(from_json(row["tags"])) if row["tags"] else (),
        parent_id=row["parent_id"],
        forked_from=row["forked_from"],
        schedule=row["schedule"],
        scheduled_at=_instant(row["scheduled_at"]),
        progress=None if progress is None else RunProgress(**progress),
        created_at=instant(row["created_at"]),
        available_at=instant(row["available_at"]),
        deadline_at=_instant(row["deadline_at"]),
        started_at=_instant(row["started_at"]),
        finished_at=_instant(row["finished_at"]),
        worker=row["worker"],
    )


def _instant(seconds: float | None) -> datetime | None:
    return None if seconds is None else instant(seconds)


# -- pages


def find(
    connection: sqlite3.Connection, statements: Mapping[str, str], where: RunFilter, newest: bool, limit: int, cursor: str | None
) -> Page[Run]:
    """See `Store.find`."""
    direction, start = ("n", None) if cursor is None else read_cursor(cursor)
    backwards = direction == "p"
    # A page before another is read from its end.
    ids = matching(connection, statements, where, newest=newest is not backwards, limit=limit + 1, start=start)
    more = len(ids) > limit
    ids = ids[:limit]
    if backwards:
        ids.reverse()
    has_next, has_previous = (bool(ids), more) if backwards else (more, cursor is not None and bool(ids))
    runs = _shown(connection, statements["shown"], {"runs": to_json(ids).decode()})
    return Page(
        items=tuple(runs),
        next_cursor=f"n:{ids[-1]}" if has_next else None,
        previous_cursor=f"p:{ids[0]}" if has_previous else None,
    )


def matching(
    connection: sqlite3.Connection,
    statements: Mapping[str, str],
    where: RunFilter,
    *,
    limit: int,
    newest: bool = False,
    start: str | None = None,
) -> list[str]:
    """The ids of runs that match, by age, beyond `start`. Each status is read by its own index, in order; then they are merged."""
    found: list[str] = []
    for part, index in _by_index(where):
        found += _matching(connection, statements, part, index, limit, newest, start)
    return sorted(found, reverse=newest)[:limit]


def _by_index(where: RunFilter) -> list[tuple[RunFilter, str]]:
    """Filters that together match the same, none of them a run of another's, each with the condition of the index that finds it soonest."""
    if where.statuses is not None and (where.statuses <= _FEW or (where.workflow is None and not where.tags)):
        return [(replace(where, statuses=frozenset({status})), "AND r.status = :status") for status in where.statuses]
    return [(where, "AND r.workflow = :workflow" if where.workflow is not None else "")]


def within(where: RunFilter, statuses: frozenset[RunStatus]) -> RunFilter:
    """The filter, for runs in one of these statuses only."""
    wanted = statuses if where.statuses is None else statuses & where.statuses
    fields: dict[str, Any] = {name: getattr(where, name) for name in RunFilter.__slots__}
    return RunFilter(**{**fields, "statuses": wanted})


def _matching(
    connection: sqlite3.Connection, statements: Mapping[str, str], where: RunFilter, index: str, limit: int, newest: bool, start: str | None
) -> list[str]:
    base = statements["find_by_tag"] if where.tags and not index else statements["find"]
    range_of_ids = "AND r.id >= :id_prefix AND r.id < :id_prefix || '~'" if where.id_prefix is not None else ""
    beyond = f"AND r.id {'<' if newest else '>'} :start" if start is not None else ""
    column = "t.run" if base is statements["find_by_tag"] else "r.id"
    order = f"ORDER BY {column} {'DESC' if newest else 'ASC'} LIMIT :limit"
    parameters = {**_parameters(where), "limit": limit, "start": start}
    statement = "\n".join(filter(None, (base, index, range_of_ids, statements["filters"], beyond, order)))
    return [row[0] for row in connection.execute(statement, parameters)]


def _parameters(where: RunFilter) -> dict[str, Any]:
    statuses = None if where.statuses is None else [str(status) for status in where.statuses]
    return {
        "workflow": where.workflow,
        "version": where.version,
        "queue": where.queue,
        "statuses": None if statuses is None else to_json(statuses).decode(),
        "status": statuses[0] if statuses and len(statuses) == 1 else None,
        "created_after": where.created_after,
        "created_before": where.created_before,
        "tags": to_json(where.tags).decode() if where.tags else None,
        "tag": where.tags[0] if where.tags else None,
        "search": None if where.search is None else f"%{_escaped(where.search)}%",
        "id_prefix": where.id_prefix,
    }


def _escaped(text: str) -> str:
    """As part of a pattern of LIKE."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def count(connection: sqlite3.Connection, statements: Mapping[str, str], where: RunFilter) -> dict[RunStatus, int]:
    """See `Store.count`."""
    if where == RunFilter():
        counts = dict(connection.execute(statements["count_all"]).fetchall())
    else:
        counts = {}
        range_of_ids = "AND r.id >= :id_prefix AND r.id < :id_prefix || '~'" if where.id_prefix is not None else ""
        for part, index in _by_index(where):
            statement = "\n".join(filter(None, (statements["count"], index, range_of_ids, statements["filters"], "GROUP BY r.status")))
            counts.update(connection.execute(statement, _parameters(part)).fetchall())
    return {status: counts[status] for status in RunStatus if status in counts}


def ended(connection: sqlite3.Connection, statements: Mapping[str, str], run_ids: Collection[str]) -> dict[str, Ended | None]:
    """See `Store.ended`."""
    rows = from_json(connection.execute(statements["ended"], {"runs": to_json(list(run_ids)).decode()}).fetchone()[0])
    nowhere = {run_id: None for run_id in run_ids if "\0" in run_id}  # SQLite would ask for what is before it
    return nowhere | {
        run_id: None if workflow is None else Ended(workflow, STATUS[status], output, error)
        for run_id, workflow, status, output, error in rows
    }


# -- what belongs to a run


def steps(connection: sqlite3.Connection, statements: Mapping[str, str], run_id: str) -> list[StepRecord]:
    """See `Store.steps`."""
    _check(connection, statements, run_id)
    records: list[tuple[tuple[float, float, int], StepRecord]] = [
        ((outcome.started_at, outcome.asked, outcome.attempt), settled(outcome))
        for outcome in outcomes_of(connection, statements, run_id)
        if outcome.kind != Kind.TIMER
    ]
    for row in connection.execute(statements["attempts"], {"run": run_id, "body": BODY}):
        _, _, key, attempt, asked, canceled, error, started_at, finished_at, _ = row
        status = "canceled" if canceled else "failed"
        records.append(((started_at, asked, attempt), unsettled(key, attempt, status, error, started_at, finished_at)))
    records += [
        ((started_at, math.inf, attempt), unsettled(key, attempt, "running", None, started_at, None))
        for key, attempt, started_at in connection.execute(statements["under_way"], {"run": run_id})
    ]
    records.sort(key=lambda each: each[0])
    return [record for _, record in records]


def _check(connection: sqlite3.Connection, statements: Mapping[str, str], run_id: str) -> None:
    if connection.execute(statements["state"], {"run": run_id}).fetchone() is None:
        raise RunNotFound(run_id)


def logs(connection: sqlite3.Connection, statements: Mapping[str, str], run_id: str, after: int, limit: int) -> list[LogLine]:
    """See `Store.logs`."""
    _check(connection, statements, run_id)
    rows = connection.execute(statements["logs"], {"run": run_id, "after": after, "limit": limit})
    return [
        LogLine(at=instant(at), level=level, message=message, fields=from_json(fields), step=step)
        for at, level, message, fields, step in rows
    ]


def events(connection: sqlite3.Connection, statements: Mapping[str, str], run_id: str) -> list[Event]:
    """See `Store.events`."""
    _check(connection, statements, run_id)
    rows = connection.execute(statements["events"], {"run": run_id})
    return [Event(at=instant(at), action=action, actor=actor) for at, action, actor in rows]


# -- workers, and what else is known of a whole


def definitions(connection: sqlite3.Connection, statements: Mapping[str, str]) -> list[Definition]:
    """See `Store.definitions`."""
    return [
        Definition(name, version or None, queue, priority, timeout, bool(takes_version), input_schema, output_schema)
        for name, version, queue, priority, timeout, takes_version, input_schema, output_schema in connection.execute(
            statements["definitions"]
        )
    ]


def halts(connection: sqlite3.Connection, statements: Mapping[str, str]) -> frozenset[Halt]:
    """See `Store.halts`."""
    return frozenset(Halt(*row) for row in connection.execute(statements["halts"]))


def lanes(connection: sqlite3.Connection, statements: Mapping[str, str]) -> frozenset[Lane]:
    """See `Store.lanes`."""
    rows = connection.execute(statements["lanes"], {"known": 0})
    return frozenset(Lane(queue, workflow, version or None) for _, queue, workflow, version in rows)


def standing(connection: sqlite3.Connection, statements: Mapping[str, str], worker: str) -> dict[str, tuple[int, RunStatus]]:
    """See `Store.standing`."""
    rows = from_json(connection.execute(statements["standing"], {"worker": worker}).fetchone()[0])
    return {run_id: (claim, RunStatus(status)) for run_id, (claim, status) in rows.items()}


def workers(connection: sqlite3.Connection, statements: Mapping[str, str]) -> list[WorkerState]:
    """See `Store.workers`."""
    return [_worker(*row) for row in connection.execute(statements["workers"])]


def _worker(
    worker: str, name: str, host: str, pid: int, queues: str | None, concurrency: int, lease: float, serves: str, running: int, parked: int,
    draining: int, started_at: float, beat_at: float,
) -> WorkerState:  # fmt: skip
    served = [(workflow, version) for workflow, version in from_json(serves)]
    return WorkerState(
        id=worker,
        name=name,
        host=host,
        pid=pid,
        queues=None if queues is None else tuple(from_json(queues)),
        concurrency=concurrency,
        running=running,
        parked=parked,
        definitions=tuple(version_label(workflow, version) for workflow, version in served if version != UNRESOLVED),
        lease=timedelta(seconds=lease),
        draining=bool(draining),
        started_at=instant(started_at),
        beat_at=instant(beat_at),
        serves=frozenset(served),
    )
