"""A run as a file: with its steps and events, as JSON, without what is hidden. Or a part of it: its input, its output, that of a step."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stepwell.core.records import Event, Run, StepRecord
    from stepwell.web.redaction import Redactor
    from stepwell.web.site import Visit


async def run_json(visit: Visit) -> Response:
    """The file: the run; with `part`, its `input` or `output`; with `step` and `attempt`, the output of that.

    Raises HTTPException: it has no such part, or no such attempt.
    """
    run_id, runs = visit.request.path_params["run_id"], visit.app.runs
    redact = visit.site.redact
    run = redact.said(await runs.get(run_id))
    part, step = visit.query.get("part", ""), visit.query.get("step", "")
    if part:
        return _file(f"{run.id}-{part}", redact(_part(run, part)))
    steps = redact.said(await runs.steps(run_id))
    if step:
        return _file(f"{run.id}-step", redact(_attempt(steps, step, visit.query.get("attempt", "")).output))
    return _file(run.id, plain_run(redact, run, steps, await runs.events(run_id)))


def plain_run(redact: Redactor, run: Run, steps: Sequence[StepRecord], events: Sequence[Event]) -> dict[str, Any]:
    """All that is known of a run, as JSON has it."""
    found = {
        "run": asdict(run) | {"input": redact(run.input), "output": redact(run.output)},
        "steps": [asdict(step) | {"output": redact(step.output)} for step in steps],
        "events": [asdict(event) for event in events],
    }
    return {name: _plain(value) for name, value in found.items()}


def _part(run: Run, name: str) -> Any:
    if name not in {"input", "output"}:
        raise HTTPException(404, f"a run has an input and an output, and no {name!r}")
    return run.input if name == "input" else run.output


def _attempt(steps: Sequence[StepRecord], key: str, number: str) -> StepRecord:
    found = [step for step in steps if step.key == key and number in ("", str(step.attempt))]
    if not found:
        raise HTTPException(404, f"the run has no attempt {number} of a step {key!r}")
    return found[-1]


def _plain(value: Any) -> Any:
    """With texts for times."""
    match value:
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case datetime():
            return value.isoformat()
        case _:
            return value


def _file(name: str, value: Any) -> Response:
    return Response(
        json.dumps(value, indent=2, ensure_ascii=False),
        media_type="application/json",
        headers={"content-disposition": f'attachment; filename="{name}.json"', "cache-control": "no-store"},
    )
