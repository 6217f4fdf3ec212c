"""The page of one run: what it is, its steps over time, what it was given and has said, and what can be done to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from stepwell.core.codec import codec_of
from stepwell.core.records import LEVELS, Page, paused_by
from stepwell.core.status import Action, RunStatus, after
from stepwell.errors import BadValue
from stepwell.web.access import Role
from stepwell.web.attempts import attempts_of, first_of, whole
from stepwell.web.download import plain_run
from stepwell.web.past import past_of
from stepwell.web.timeline import View, timeline_of
from stepwell.web.timeline.wording import took
from stepwell.web.tracebacks import trace_of
from stepwell.web.values import MOST, Value, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stepwell.core.records import LogLine, Run, StepRecord
    from stepwell.web.site import Visit

TABS: Final = ("output", "input", "error", "logs", "history", "json")
PARTS: Final = ("output", "input", "error", "logs", "meta")
"""Of a step."""

_EVENTS: Final = 1_000
"""Things that were done to a run, on its page."""

_LINES: Final = 500
"""Lines of log on a page."""
_LINES_OF_STEP: Final = 100

_NAMED: Final = 100
"""Steps by which lines can be chosen from a list; others are typed."""

_RAW: Final = 200
"""Attempts in the JSON on a page, of which the beginning is shown; all are in the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Lines of log, as the address asks for them."""

    lines: Sequence[LogLine]
    level: str
    """The least that is shown."""
    step: str
    """By whom they were said; empty: whoever it was."""
    follows: bool
    """Whether they are the last there are."""
    first: int
    further: int | None
    """Where the next lines begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The attempt of a step that the address names."""

    step: StepRecord
    last: int
    """The number of the step's last attempt."""
    earlier: int | None
    later: int | None
    lines: Sequence[LogLine]
    has_more_lines: bool
    part: str
    parts: tuple[str, ...]

    @property
    def took(self) -> str:
        """How long the attempt took; empty while it goes on."""
        ended = self.step.finished_at
        return "" if ended is None else took((ended - self.step.started_at).total_seconds())


async def show(visit: Visit) -> Response:
    """The page."""
    run_id, runs, said = visit.request.path_params["run_id"], visit.app.runs, visit.site.redact.said
    story = await runs.story(run_id, limit=_EVENTS)
    run, events = said(story.run), story.events
    steps, left_out = await attempts_of(visit, run_id)
    chosen = await _chosen(visit, steps)
    asked = _asked_tab(visit, is_of_step=chosen is not None)
    tab = _tab(run, asked)
    raw: Page[StepRecord] = await first_of(visit, run_id, _RAW, MOST) if tab == "json" else Page(items=())
    return visit.page(
        "run.html",
        tab="tasks",
        run=run,
        timeline=timeline_of(run, steps, events, visit.now, _view(visit)),
        chosen=chosen,
        past=past_of(run, events),
        paused_by=(paused_by(events) if run.status is RunStatus.PAUSED else None) or "",
        left_out=left_out,
        policy=visit.app.workflows.policy(run.workflow, run.version, story.retry),
        tries=_tries(run, steps),
        logs=await _lines(visit, run_id) if tab == "logs" else None,
        levels=LEVELS,
        keys=list(dict.fromkeys(step.key for step in steps))[:_NAMED],
        shown=tab,
        asked=asked,
        tabs=[name for name in TABS if name != "error" or run.error is not None],
        may={action.value: after(run.status, action) not in (None, run.status) for action in _ACTIONS},
        values=lambda value: shown(visit.site.redact(value)),
        whole=lambda: _whole(plain_run(visit.site.redact, run, said(raw.items), events), has_more=raw.next_cursor is not None),
        trace_of=trace_of,
    )


def _whole(known: dict[str, Any], *, has_more: bool) -> Value:
    value = shown(known)
    return value._replace(is_cut=value.is_cut or has_more)


def _tries(run: Run, steps: Sequence[StepRecord]) -> str:
    """`3/3`: how often the step was tried that has failed for good; `2` of one that is to be tried again; empty where it was but once."""
    failed = run.error.steps[:1] if run.error is not None else ()
    counts = [step.attempt for step in steps if step.key in failed or (not run.status.ended and step.retry_at is not None)]
    most = max(counts, default=run.attempt)
    return "" if most <= 1 else f"{most}/{most}" if failed else str(most)


_ACTIONS: Final = (Action.PAUSE, Action.RESUME, Action.CANCEL, Action.RETRY)


def _view(visit: Visit) -> View:
    """A step's parts are chosen by `tab`: while one is looked at, that of the run is `show`."""
    pairs = visit.request.query_params.multi_items()
    renamed = "step" not in visit.query and "show" not in visit.query
    return View.of(("show", text) if name == "tab" and renamed else (name, text) for name, text in pairs)


def _asked_tab(visit: Visit, *, is_of_step: bool) -> str | None:
    return visit.query.get("show") or (None if is_of_step else visit.query.get("tab")) or None


def _tab(run: Run, wanted: str | None) -> str:
    if wanted in TABS and not (wanted == "error" and run.error is None):
        return wanted
    return "error" if run.error is not None else "output" if run.status is RunStatus.COMPLETED else "input"


def _number(visit: Visit, name: str) -> int:
    text = visit.query.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < len("1000000000") else 0


async def _lines(visit: Visit, run_id: str) -> Lines:
    level, step = visit.query.get("level", ""), visit.query.get("said_by", "")
    level = level if level in LEVELS else LEVELS[0]
    first, follows = _number(visit, "line"), visit.query.get("follow") == "1"
    found = await visit.app.runs.logs(run_id, after=first, limit=_LINES + 1, level=level, step=step or None, last=follows)
    has_more = len(found) > _LINES
    return Lines(
        lines=visit.site.redact.said(found[-_LINES:] if follows else found[:_LINES]),
        level=level,
        step=step,
        follows=follows,
        first=first,
        further=first + _LINES if has_more else None,
    )


async def _chosen(visit: Visit, steps: Sequence[StepRecord]) -> Chosen | None:
    """The attempt that the address names; without a number, the last one of the step."""
    key, number = visit.query.get("step"), visit.query.get("attempt", "")
    attempts = [step for step in steps if step.key == key]
    found = [place for place, step in enumerate(attempts) if number in ("", str(step.attempt))]
    if not found:
        return None
    place = found[-1]
    run_id, numbers = visit.request.path_params["run_id"], [each.attempt for each in attempts]
    step = visit.site.redact.said(await whole(visit, run_id, attempts[place]))
    lines = await visit.app.runs.logs(run_id, limit=_LINES_OF_STEP + 1, step=step.key)
    parts = tuple(part for part in PARTS if part != "error" or step.error is not None)
    wanted = visit.query.get("tab", "")
    return Chosen(
        step=step,
        last=max(numbers),
        earlier=numbers[place - 1] if place else None,
        later=numbers[place + 1] if place + 1 < len(numbers) else None,
        lines=visit.site.redact.said(lines[:_LINES_OF_STEP]),
        has_more_lines=len(lines) > _LINES_OF_STEP,
        part=wanted if wanted in parts else "error" if step.error is not None else "output",
        parts=parts,
    )


# -- what can be done to it

_DONE: Final = {
    "pause": "paused: a step in progress goes on to its end",
    "resume": "resumed",
    "cancel": "canceled",
    "retry": "retried: what has been done is kept",
}


async def act(visit: Visit) -> Response:
    """Do what the form says."""
    run_id, action = visit.request.path_params["run_id"], visit.request.path_params["action"]
    fields = await visit.form()
    page = visit.url("run", run_id=run_id)
    if action in _DONE:
        verb: Any = getattr(visit.app.runs, action)
        await verb(run_id, actor=visit.user.actor)
        return visit.back(fields, page, _DONE[action])
    match action:
        case "delete":
            visit.need(Role.ADMIN)
            await visit.app.runs.delete(run_id, actor=visit.user.actor)
            return visit.go(visit.url("tasks"), f"run {run_id} was deleted")
        case "signal":
            name = fields.get("name", "").strip()
            await visit.app.runs.signal(run_id, name, _payload(fields.get("payload", "")), actor=visit.user.actor)
            return visit.back(fields, page, f"signal {name} was sent")
        case "fork":
            handle = await visit.app.runs.fork(run_id, from_step=fields.get("from_step", ""), actor=visit.user.actor)
            return visit.go(visit.url("run", run_id=handle.run_id), "this run goes on from there, with the results before it")
        case _:
            raise HTTPException(404)


def _payload(text: str) -> Any:
    """Raises BadValue: it is no JSON."""
    try:
        return codec_of(Any).read(text, "a payload") if text.strip() else None
    except ValueError as error:
        raise BadValue(f"the payload is no JSON: {error}") from None
