"""A run as a file: with its steps and events, as JSON, without what is hidden. It is read and sent piece by piece."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import Response, StreamingResponse

if TYPE_CHECKING:
    from stepwell.core.records import Event, Page, Run, StepRecord
    from stepwell.web.site import Visit

_STEPS: Final = 500
"""Attempts that are read at once: each may have a large result, and for each portion all are looked at."""


async def run_json(visit: Visit) -> Response:
    """The file."""
    run_id, runs = visit.request.path_params["run_id"], visit.app.runs
    run, events = await runs.get(run_id), await runs.events(run_id)
    first = await runs.some_steps(run_id, limit=_STEPS)
    return StreamingResponse(
        _pieces(visit, run, first, events),
        media_type="application/json",
        headers={"content-disposition": f'attachment; filename="{run.id}.json"', "cache-control": "no-store"},
    )


async def _pieces(visit: Visit, run: Run, page: Page[StepRecord], events: list[Event]) -> AsyncIterator[str]:
    redact, between = visit.site.redact, "\n"
    yield f'{{\n"run": {_text(asdict(run) | {"input": redact(run.input), "output": redact(run.output)})},\n"steps": ['
    while True:
        for step in page:
            yield between + _text(asdict(step) | {"output": redact(step.output)})
            between = ",\n"
        if page.next_cursor is None:
            break
        page = await visit.app.runs.some_steps(run.id, limit=_STEPS, cursor=page.next_cursor)
    yield f'\n],\n"events": {_text([asdict(event) for event in events])}\n}}\n'


def _text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"a run has no {type(value).__name__} in it")
