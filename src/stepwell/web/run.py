"""The page of one run: what it is, its steps over time, what it was given and has said, and what can be done to it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from stepwell.core.codec import codec_of
from stepwell.core.status import Action, RunStatus, after
from stepwell.web.access import Role
from stepwell.web.attempts import attempts_of, whole
from stepwell.web.timeline import View, timeline_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stepwell.core.records import Run, StepRecord
    from stepwell.web.site import Visit

TABS: Final = ("output", "input", "error", "logs", "history", "json")

_EVENTS: Final = 1_000
"""Things that were done to a run, on its page."""

_LINES: Final = 500
"""Lines of log on a page."""


async def show(visit: Visit) -> Response:
    """The page."""
    run_id = visit.request.path_params["run_id"]
    run = await visit.app.runs.get(run_id)
    steps, left_out = await attempts_of(visit, run_id)
    events = await visit.app.runs.events(run_id, limit=_EVENTS)
    tab = _tab(visit, run)
    lines = await visit.app.runs.logs(run_id, after=_first_line(visit), limit=_LINES + 1) if tab == "logs" else []
    return visit.page(
        "run.html",
        tab="tasks",
        run=run,
        timeline=timeline_of(run, steps, events, visit.now, View.of(visit.request.query_params.multi_items())),
        left_out=left_out,
        step=None if (step := _step(visit, steps)) is None else await whole(visit, run_id, step),
        events=events,
        lines=lines[:_LINES],
        more_lines=_first_line(visit) + _LINES if len(lines) > _LINES else None,
        shown=tab,
        tabs=[name for name in TABS if name != "error" or run.error is not None],
        may={action.value: after(run.status, action) not in (None, run.status) for action in _ACTIONS},
        pretty=pretty,
    )


_ACTIONS: Final = (Action.PAUSE, Action.RESUME, Action.CANCEL, Action.RETRY)


def _tab(visit: Visit, run: Run) -> str:
    wanted = visit.query.get("tab", "")
    if wanted in TABS and not (wanted == "error" and run.error is None):
        return wanted
    return "error" if run.error is not None else "output" if run.status is RunStatus.COMPLETED else "input"


def _first_line(visit: Visit) -> int:
    text = visit.query.get("line", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < len("1000000000") else 0


def _step(visit: Visit, steps: Sequence[StepRecord]) -> StepRecord | None:
    """The attempt that the address names; without a number, the last one of the step."""
    key, number = visit.query.get("step"), visit.query.get("attempt", "")
    found = [step for step in steps if step.key == key and number in ("", str(step.attempt))]
    return found[-1] if found else None


def pretty(value: Any) -> str:
    """As people read JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False)


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
            await visit.app.runs.signal(run_id, name, _payload(fields.get("payload", "")))
            return visit.back(fields, page, f"signal {name} was sent")
        case "fork":
            handle = await visit.app.runs.fork(run_id, from_step=fields.get("from_step", ""), actor=visit.user.actor)
            return visit.go(visit.url("run", run_id=handle.run_id), "this run goes on from there, with the results before it")
        case _:
            raise HTTPException(404)


def _payload(text: str) -> Any:
    """Raises ValueError: it is no JSON."""
    try:
        return codec_of(Any).read(text, "a payload") if text.strip() else None
    except ValueError as error:
        raise ValueError(f"the payload is no JSON: {error}") from None
