"""`stepwell doctor`: looks whether all is well, and says of each thing what was found. It changes nothing."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from stepwell.cli.command import AsJson, Database, Namespace, app_at, place_of, runs_counted
from stepwell.cli.output import draw, print_json, printable
from stepwell.cli.schedules import how_soon, is_overdue, remark_on
from stepwell.config import settings_of, shown_url
from stepwell.core.duration import format_duration
from stepwell.core.records import instant
from stepwell.core.status import RunStatus
from stepwell.errors import DatabaseTooNew, DatabaseUnavailable, StepwellError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from stepwell.app import Stepwell
    from stepwell.cli.command import Place
    from stepwell.core.records import Run

_PYTHON: Final = (3, 11)
_SQLITE: Final = (3, 35, 0)
"""The first that answers a write with the rows it wrote."""

_LEAST_DISK: Final = 200 * 1024 * 1024
"""Bytes. A database that cannot grow refuses every write."""

_WAITS_TOO_LONG: Final = 60.0
"""Seconds for which a run may be ready before that says that the workers do not keep up."""

_NO_QUEUE: Final = "stepwell doctor"
"""Nobody has paused a queue of this name: to resume it is a write that changes nothing."""

_NAMED: Final = 5
"""Schedules that are named, of more that have the same fault."""

_RUNS_LOOKED_AT: Final = 1_000
"""Pending runs, the oldest first, of which it is asked why they wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found of one thing."""

    what: str
    ok: bool
    found: str


def doctor(context: typer.Context, *, database: Database = None, namespace: Namespace = None, as_json: AsJson = False) -> None:
    """Look whether all is well: the program, the database, workers, runs that wait, schedules. Fails if something is wrong."""
    findings = asyncio.run(_examine(place_of(context, database, namespace)))
    is_well = all(finding.ok for finding in findings)
    if as_json:
        print_json({"ok": is_well, "findings": findings})
    else:
        _print(findings)
    if not is_well:
        raise typer.Exit(1)


def _print(findings: Iterable[Finding]) -> None:
    from rich.table import Table  # noqa: PLC0415  # only this draws
    from rich.text import Text  # noqa: PLC0415

    drawn = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    for _ in ("mark", "what", "found"):
        drawn.add_column(overflow="fold")
    for finding in findings:
        mark = Text("ok", style="green") if finding.ok else Text("wrong", style="bold red")
        drawn.add_row(mark, Text(finding.what), Text(printable(finding.found)))
    draw(drawn)


async def _examine(place: Place) -> list[Finding]:
    settings = settings_of(place.database, place.namespace)
    app = app_at(place, migrate=False)
    findings = [_python(), _psycopg() if settings.is_postgres else _sqlite(), *_file(settings.path)]
    try:
        async with app:
            findings.append(Finding(what="database", ok=True, found=f"{shown_url(app.database_url)} is reachable and migrated"))
            findings += [finding async for finding in _inside(app)]
    except (DatabaseUnavailable, DatabaseTooNew) as error:
        findings.append(Finding(what="database", ok=False, found=str(error)))
    return findings


# -- the program


def _python() -> Finding:
    found = f"{sys.version.split()[0]} ({sys.executable})"
    return Finding(what="Python", ok=sys.version_info >= _PYTHON, found=found)


def _sqlite() -> Finding:
    import sqlite3  # noqa: PLC0415  # only this asks for its version

    is_enough = sqlite3.sqlite_version_info >= _SQLITE
    least = "" if is_enough else f"; it takes {'.'.join(map(str, _SQLITE))} or newer"
    return Finding(what="SQLite", ok=is_enough, found=sqlite3.sqlite_version + least)


def _psycopg() -> Finding:
    """The app has been made, so it is there."""
    return Finding(what="psycopg", ok=True, found=version("psycopg"))


# -- the file


def _file(path: str | None) -> list[Finding]:
    """How much room the database has on its disk."""
    if path is None:
        return []
    folder = Path(path).resolve().parent
    if not folder.is_dir():
        return [Finding(what="disk", ok=False, found=f"there is no folder {folder}; make it, or name another database")]
    free = shutil.disk_usage(folder).free
    return [Finding(what="disk", ok=free >= _LEAST_DISK, found=f"{free / 1024**3:.1f} GiB free in {folder}")]


# -- inside the database


async def _inside(app: Stepwell) -> AsyncIterator[Finding]:
    yield await _writable(app)
    yield await _workers(app)
    yield await _served(app)
    yield await _oldest_ready(app)
    yield await _schedules(app)


async def _writable(app: Stepwell) -> Finding:
    try:
        await app.queues.resume(_NO_QUEUE)
    except StepwellError as error:
        return Finding(what="writes", ok=False, found=str(error))
    return Finding(what="writes", ok=True, found="the database takes them")


async def _workers(app: Stepwell) -> Finding:
    now = instant(app.now())
    states = await app.workers.list()
    alive = [state for state in states if now - state.beat_at <= state.lease]
    counts = await app.runs.count(status=[RunStatus.PENDING, RunStatus.RUNNING, RunStatus.SLEEPING])
    waiting = sum(counts.values())
    silent = f", {len(states) - len(alive)} not heard of" if len(states) > len(alive) else ""
    # No worker is no fault where there is nothing to do.
    return Finding(what="workers", ok=bool(alive) or not waiting, found=f"{len(alive)} alive{silent}; {runs_counted(waiting)} to do")


async def _served(app: Stepwell) -> Finding:
    reasons = Counter([run.waiting_for async for run in _pending(app) if run.waiting_for and run.waiting_for.startswith("no worker")])
    if not reasons:
        return Finding(what="served", ok=True, found="each run that waits has a worker with its workflow")
    said = "; ".join(f"{reason} ({runs_counted(count)})" for reason, count in reasons.most_common(5))
    return Finding(what="served", ok=False, found=said)


async def _oldest_ready(app: Stepwell) -> Finding:
    """Of the runs that a worker could take now, how long the oldest has waited."""
    now = instant(app.now())
    ready = [run.available_at async for run in _pending(app) if run.waiting_for is None and run.available_at and run.available_at <= now]
    if not ready:
        return Finding(what="keeping up", ok=True, found="no run waits for its turn")
    seconds = round((now - min(ready)).total_seconds())
    return Finding(
        what="keeping up",
        ok=seconds <= _WAITS_TOO_LONG,
        found=f"the oldest run waits for its turn since {format_duration(timedelta(seconds=seconds))}",
    )


async def _schedules(app: Stepwell) -> Finding:
    """Those that should have fired, and nobody has."""
    now, workers = instant(app.now()), await app.workers.list()
    states = [state for state in await app.schedules.list() if not state.paused]
    overdue = [state for state in states if is_overdue(state, now)]
    if overdue:
        named = [f"{state.name} of {state.workflow} is {remark_on(state, now, workers)}" for state in overdue[:_NAMED]]
        more = [f"{len(overdue) - _NAMED:,} more are overdue"] if len(overdue) > _NAMED else []
        return Finding(what="schedules", ok=False, found="; ".join(named + more))
    coming = [max(now, state.next_at) for state in states if state.next_at is not None]
    found = f"none is overdue; the next slot comes {how_soon(min(coming), now)}" if coming else "none is to come"
    return Finding(what="schedules", ok=True, found=found)


async def _pending(app: Stepwell) -> AsyncIterator[Run]:
    page = await app.runs.list(status=RunStatus.PENDING, order="oldest", limit=_RUNS_LOOKED_AT)
    for run in page:
        yield run
