"""A run as a file: with its steps and events, as JSON, without what is hidden."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

if TYPE_CHECKING:
    from stepwell.web.site import Visit


async def run_json(visit: Visit) -> Response:
    """The file."""
    run_id, runs = visit.request.path_params["run_id"], visit.app.runs
    redact = visit.site.redact
    run, steps = redact.said(await runs.get(run_id)), redact.said(await runs.steps(run_id))
    found = {
        "run": asdict(run) | {"input": redact(run.input), "output": redact(run.output)},
        "steps": [asdict(step) | {"output": redact(step.output)} for step in steps],
        "events": [asdict(event) for event in await runs.events(run_id)],
    }
    text = json.dumps(found, indent=2, ensure_ascii=False, default=_plain)
    return Response(
        text,
        media_type="application/json",
        headers={"content-disposition": f'attachment; filename="{run.id}.json"', "cache-control": "no-store"},
    )


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"a run has no {type(value).__name__} in it")
