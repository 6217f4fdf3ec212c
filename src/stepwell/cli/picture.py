"""A run drawn for people: what it is, its steps with their attempts, its error, and who did what to it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from stepwell.cli.output import cell_text, compact_json, local_time, printable, status_style
from stepwell.core.duration import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from rich.console import RenderableType

    from stepwell.app import Stepwell
    from stepwell.core.records import Event, Run, StepRecord
    from stepwell.errors import ErrorInfo

_LONGEST: Final = 2_000
"""Characters of an input or output that are shown; `--json` has all."""

_BRIEF: Final = 80
"""Characters of a step's output."""

_SECOND: Final = timedelta(seconds=1)

_MARKS: Final = {"completed": "✓", "failed": "✗", "running": "…", "canceled": "-"}


async def picture_of(app: Stepwell, run_id: str) -> RenderableType:
    """The run as it stands."""
    handle = app.handle(run_id)
    run, steps, events = await asyncio.gather(handle.get(), handle.steps(), handle.events())
    return picture(run, steps, events)


def picture(run: Run, steps: Sequence[StepRecord], events: Sequence[Event]) -> RenderableType:
    """The run, its steps and what was done to it, one below the other; what there is none of is left out."""
    parts: list[RenderableType] = [drawn_facts(_named_facts(run))]
    if steps:
        parts += [Text("\nsteps", style="bold"), _steps(steps)]
    if run.error is not None:
        parts += [Text("\nerror", style="bold"), *_error(run.error)]
    if events:
        parts += [Text("\nevents", style="bold"), drawn_events(events)]
    return Group(*parts)


def drawn_facts(facts: Iterable[tuple[str, str | Text]]) -> RenderableType:
    """Names with what is said of them, one below the other."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in facts:
        grid.add_row(name, text if isinstance(text, Text) else Text(text))
    return grid


def _named_facts(run: Run) -> Iterator[tuple[str, str | Text]]:
    yield "run", run.id
    yield "workflow", printable(run.workflow if run.version is None else f"{run.workflow} {run.version}")
    yield "status", Text(run.status, style=status_style(run.status))
    if run.waiting_for:
        yield "waiting for", printable(run.waiting_for)
    if run.progress is not None:
        of = "" if run.progress.total is None else f" of {run.progress.total:g}"
        yield "progress", printable(f"{run.progress.done:g}{of} {run.progress.message or ''}".strip())
    yield "input", shown_value(run.input)
    if run.status == "completed":
        yield "output", shown_value(run.output)
    for name in ("key", "queue", "priority", "tags", "parent_id", "forked_from", "schedule", "worker"):
        value = getattr(run, name)
        if value not in (None, (), 0):
            yield name.replace("_", " "), cell_text(value)
    yield "attempt", str(run.attempt)
    for name in ("created_at", "available_at", "deadline_at", "started_at", "finished_at"):
        if (at := getattr(run, name)) is not None:
            yield name.removesuffix("_at"), local_time(at)


def shown_value(value: Any) -> str:
    """An input or output, as long as people read."""
    text = compact_json(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters; --json has all)"


def _steps(steps: Sequence[StepRecord]) -> RenderableType:
    drawn = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    for _ in ("status", "name", "time", "result"):
        drawn.add_column(overflow="fold")
    for step in steps:
        mark = Text(f"{_MARKS.get(step.status, ' ')} {step.status}", style=status_style(step.status))
        attempt = f"attempt {step.attempt}" if step.attempt > 1 or step.status == "failed" else ""
        name = printable(step.key) + ("" if step.kind == "function" else f" ({step.kind})")
        times = ", ".join(filter(None, (attempt, _took(step.started_at, step.finished_at))))
        drawn.add_row(mark, Text(name), Text(times), Text(_result(step)))
    return drawn


def _took(begin: datetime, end: datetime | None) -> str:
    if end is None:
        return f"since {local_time(begin)}"
    took = end - begin
    if took < _SECOND:
        return f"{took / _SECOND * 1000:.0f}ms"
    return f"{took / _SECOND:.1f}s" if took < timedelta(minutes=1) else format_duration(took - took % _SECOND)


def _result(step: StepRecord) -> str:
    if step.error is not None:
        return printable(str(step.error).partition("\n")[0])
    if step.child_id is not None:
        return f"run {step.child_id}"
    return "" if step.output is None else _brief(compact_json(step.output))


def _brief(text: str) -> str:
    return text if len(text) <= _BRIEF else f"{text[: _BRIEF - 1]}…"


def _error(error: ErrorInfo) -> Iterator[RenderableType]:
    yield Text(printable(str(error)), style="red")
    if error.traceback:
        yield Text(printable(error.traceback.rstrip()), style="dim")


def drawn_events(events: Sequence[Event]) -> RenderableType:
    """Who did what, and when."""
    drawn = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    for event in events:
        drawn.add_row(Text(local_time(event.at)), Text(printable(_deed(event))), Text(printable(event.actor or "")))
    return drawn


def _deed(event: Event) -> str:
    return event.action if event.signal is None else f"{event.action} {event.signal}"
