"""A run as a file: with its steps and events, as JSON, without what is hidden. Or a part of it: its input, its output, that of a step.

Or several, as a list shows them.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from stepwell.web.attempts import attempts_of, portion_of, whole
from stepwell.web.portions import portions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from stepwell.core.records import Event, Page, Run, StepRecord
    from stepwell.web.redaction import Redactor
    from stepwell.web.site import Visit


async def run_json(visit: Visit) -> Response:
    """The file: the run; with `part`, its `input` or `output`; with `step` and `attempt`, the output of that.

    Raises HTTPException: it has no such part, or no such attempt.
    """
    run_id, runs = visit.request.path_params["run_id"], visit.app.runs
    redact = visit.site.redact
    part, step = visit.query.get("part", ""), visit.query.get("step", "")
    if step and not part:
        return _file(f"{run_id}-step", redact((await _attempt(visit, run_id, step)).output))
    run = redact.said(await runs.get(run_id))
    if part:
        return _file(f"{run.id}-{part}", redact(_part(run, part)))
    events, pages = await runs.events(run_id), portions(portion_of(visit, run_id))
    first = await anext(pages)  # what cannot be read at all is told, before a file begins
    return StreamingResponse(_pieces(redact, run, first, pages, events), media_type="application/json", headers=_headers(run.id))


async def _pieces(
    redact: Redactor, run: Run, page: Page[StepRecord], others: AsyncIterator[Page[StepRecord]], events: Sequence[Event]
) -> AsyncIterator[str]:
    """The whole file, read and sent piece by piece: steps may have large results."""
    between = "\n"
    known = plain_run(redact, run, (), events)
    yield f'{{\n"run": {_text(known["run"])},\n"steps": ['
    while True:
        for step in plain_run(redact, run, redact.said(page.items), ())["steps"]:
            yield between + _text(step)
            between = ",\n"
        try:
            page = await anext(others)
        except StopAsyncIteration:
            break
    yield f'\n],\n"events": {_text(known["events"])}\n}}\n'


async def runs_json(visit: Visit, run_ids: Iterable[str]) -> Response:
    """A file of some runs as lists show them, without inputs and outputs. Those that have been deleted meanwhile are left out."""
    redact = visit.site.redact
    found = redact.said(list((await visit.app.overview.summaries(run_ids)).values()))
    return _file("runs", [_plain(asdict(run)) | {"preview": redact.text(run.preview)} for run in found])


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


async def _attempt(visit: Visit, run_id: str, key: str) -> StepRecord:
    """Without a number, the last one."""
    number = visit.query.get("attempt", "")
    known = [each for each in (await attempts_of(visit, run_id))[0] if each.key == key and number in ("", str(each.attempt))]
    if not known:
        raise HTTPException(404, f"the run has no attempt {number} of a step {key!r}")
    return await whole(visit, run_id, known[-1])


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
    return Response(_text(value), media_type="application/json", headers=_headers(name))


def _text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _headers(name: str) -> dict[str, str]:
    return {"content-disposition": f'attachment; filename="{name}.json"', "cache-control": "no-store"}
