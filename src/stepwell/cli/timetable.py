"""A schedule drawn for people: what it says, when it comes next, what has become of its last slots, and who has paused it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from rich.console import Group
from rich.table import Table
from rich.text import Text

from stepwell.cli.output import local_time, printable, status_style
from stepwell.cli.picture import drawn_events, drawn_facts, shown_value
from stepwell.cli.schedules import how_soon
from stepwell.core.cron import in_words
from stepwell.core.duration import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from rich.console import RenderableType

    from stepwell.core.records import Event, ScheduleState, Slot

_STYLES: Final = {"started": "green", "failed": "bold red", "missed": "yellow", "skipped": "dim"}


def timetable(
    state: ScheduleState,
    status: str | None,
    remark: str | None,
    coming: Sequence[datetime],
    slots: Sequence[Slot],
    events: Sequence[Event],
    now: datetime,
) -> RenderableType:
    """All of a schedule, one below the other; what there is none of is left out.

    Args:
        state: the schedule.
        status: of its last run.
        remark: why it does not fire.
        coming: its next slots.
        slots: what has become of the last ones, the newest first.
        events: who did what to it.
        now: the app's time.
    """
    parts: list[RenderableType] = [drawn_facts(_named_facts(state, status, remark))]
    if coming:
        parts += [Text("\nnext slots", style="bold"), _coming(state, coming, now)]
    if slots:
        parts += [Text("\nlast slots", style="bold"), _past(state, slots)]
    if events:
        parts += [Text("\nevents", style="bold"), drawn_events(events)]
    return Group(*parts)


def _named_facts(state: ScheduleState, status: str | None, remark: str | None) -> Iterator[tuple[str, str | Text]]:
    yield "schedule", printable(state.name)
    yield "workflow", printable(state.workflow if state.version is None else f"{state.workflow} {state.version}")
    if remark is not None:
        yield "remark", Text(printable(remark), style="yellow")
    words = in_words(state.expression)
    yield "expression", printable(state.expression if words == state.expression else f"{state.expression}  ({words})")
    yield "zone", state.timezone
    yield "overlap", state.overlap
    yield "catch up", state.catch_up
    if state.jitter:
        yield "jitter", f"up to {format_duration(state.jitter)}"
    yield "input", "computed by a function" if state.input_is_computed else shown_value(state.input)
    if state.waiting_at is not None:
        yield "waiting", f"the slot of {local_time(state.waiting_at)}, for the end of the last run"
    if state.last_at is not None:
        yield "last slot", local_time(state.last_at)
    if state.last_run_id is not None:
        yield "last run", Text.assemble(f"{state.last_run_id} ", (status or "", status_style(status or "")))


def _coming(state: ScheduleState, coming: Sequence[datetime], now: datetime) -> RenderableType:
    zone, drawn = ZoneInfo(state.timezone), _without_titles()
    for at in coming:
        drawn.add_row(Text(_shown(at, zone)), Text(f"{at:%Y-%m-%d %H:%M:%S} UTC"), Text(how_soon(at, now)))
    return drawn


def _past(state: ScheduleState, slots: Sequence[Slot]) -> RenderableType:
    zone, drawn = ZoneInfo(state.timezone), _without_titles()
    for slot in slots:
        what = f"run {slot.run_id}" if slot.run_id is not None else ""
        by = f"by {slot.actor}" if slot.actor is not None else ""
        said = ", ".join(filter(None, (what, by, slot.reason)))
        drawn.add_row(Text(_when(slot, zone)), Text(slot.outcome, style=_STYLES.get(slot.outcome, "")), Text(printable(said)))
    return drawn


def _when(slot: Slot, zone: ZoneInfo) -> str:
    first, last = _shown(slot.at, zone), _shown(slot.until, zone)
    if slot.count == 1:
        return first
    how_many = "many" if slot.count is None else f"{slot.count:,}"
    return f"{first} to {last} ({how_many} slots)"


def _shown(at: datetime, zone: ZoneInfo) -> str:
    """By the clocks that the expression means: whoever asks why 07:00 did not fire looks for 07:00."""
    return f"{at.astimezone(zone):%a %Y-%m-%d %H:%M:%S %z}"


def _without_titles() -> Table:
    drawn = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    for _ in range(3):
        drawn.add_column(overflow="fold")
    return drawn
