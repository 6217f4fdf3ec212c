"""Workflows: what can be run, which versions of it still have runs, how it has gone, and pausing all of it."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from stepwell.core.policy import policy_of
from stepwell.core.records import UNRESOLVED, Definition, Ends, LiveVersion, RunSummary, ScheduleState, Speed, WorkflowState
from stepwell.core.registry import natural_order
from stepwell.errors import BadValue, TooSlow, WorkflowNotFound
from stepwell.web.figures import DAY
from stepwell.web.paging import SIZE, asked, part
from stepwell.web.schemas import Schema

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.responses import Response

    from stepwell.core.policy import RetryPolicy
    from stepwell.core.records import Page
    from stepwell.web.paging import Asked
    from stepwell.web.redaction import Redactor
    from stepwell.web.site import Visit

LOOKED_AT: Final = 2_500
"""Live runs of a status whose versions are counted: there may be more."""

_RECENT: Final = 10
"""Runs on the page of a workflow."""

_SCHEDULES: Final = 4
"""That are read of each workflow in the list: three are shown, and that there are more."""

_MOST_SCHEDULES: Final = 100
"""On the page of a workflow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRow:
    """A version of a workflow."""

    version: str | None
    live: int
    """Runs that have not ended."""
    served: bool
    """Whether the app or a worker has published it."""
    newest: bool

    @property
    def label(self) -> str:
        """As people call it."""
        return "not known yet" if self.version == UNRESOLVED else self.version or "unversioned"

    @property
    def is_old(self) -> bool:
        """Whether its code is needed only by the runs that are there."""
        return self.live > 0 and not self.newest and self.version != UNRESOLVED


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowRow:
    """A workflow, as pages show it."""

    name: str
    paused: bool
    versions: tuple[VersionRow, ...]
    """The newest first."""
    schedules: tuple[ScheduleState, ...]
    speed: Speed | None
    day: tuple[Ends, ...] | None = None
    """What has ended within a day; None: nothing."""
    retry: RetryPolicy | None = None
    """Of the version that a start by name gets; None: nobody has said."""

    @property
    def live(self) -> int:
        """Runs that have not ended."""
        return sum(each.live for each in self.versions)

    @property
    def is_known(self) -> bool:
        """Whether anybody has its code."""
        return any(each.served for each in self.versions)


async def show(visit: Visit) -> Response:
    """The page of all of them."""
    app, figures, wanted = visit.app, visit.site.figures, asked(visit.query)
    page = await app.workflows.page(find=wanted.find, limit=SIZE, cursor=wanted.cursor)
    live = await _live(visit)
    names, after = _listed(page, live or [], wanted)
    schedules = await app.schedules.of_workflows(names, _SCHEDULES)
    speeds, ends = await figures.speeds(visit.now, names), await figures.ends_by_workflow(DAY, visit.now, names)
    rows = rows_of(
        [state for state in page if state.name in names], [each for each in live or [] if each.workflow in names], schedules, speeds or {}
    )
    return visit.page(
        "workflows.html",
        tab="workflows",
        part=part([replace(row, day=tuple((ends or {}).get(row.name, ())) or None) for row in rows], after, wanted),
        looked_at=LOOKED_AT,
        slow=None in (live, speeds, ends),
    )


def _listed(page: Page[WorkflowState], live: Sequence[LiveVersion], wanted: Asked) -> tuple[list[str], str | None]:
    """The workflows on a page, with those that only have runs; and after which of them the next one begins."""
    text, end = wanted.find.casefold(), page.next_cursor
    running = {each.workflow for each in live if each.workflow > (wanted.cursor or "") and text in each.workflow.casefold()}
    names = sorted({state.name for state in page} | {name for name in running if end is None or name <= end})
    return names[:SIZE], names[SIZE - 1] if len(names) > SIZE else end


async def show_one(visit: Visit) -> Response:
    """The page of one."""
    name, app, figures = visit.request.path_params["name"], visit.app, visit.site.figures
    definitions, paused = await app.workflows.about(name)
    live = await _live(visit)
    schedules, speeds = await app.schedules.of_workflows([name], _MOST_SCHEDULES), await figures.speeds(visit.now, [name])
    known = [_state(name, definitions, paused)] if definitions or paused else []
    row = next(iter(rows_of(known, [each for each in live or [] if each.workflow == name], schedules, speeds or {})), None)
    recent = await _recent(visit, name)
    if row is None and recent == ():
        raise WorkflowNotFound(f"nobody has published a workflow {name!r}, and no run is of it", workflow=name)
    return visit.page(
        "workflow.html",
        tab="workflows",
        name=name,
        row=row or WorkflowRow(name=name, paused=False, versions=(), schedules=(), speed=None),
        definitions=[(each, _schema(each, visit.site.redact), policy_of(each.retry)) for each in definitions],
        takes_input=any(Schema.of(each.input_schema).types != ("null",) for each in definitions),
        day=await figures.ends(DAY, visit.now, name),
        recent=recent,
        looked_at=LOOKED_AT,
    )


def _state(name: str, definitions: Sequence[Definition], paused: bool) -> WorkflowState:
    versions = tuple(each.version for each in definitions)
    retries = {each.version: each.retry for each in definitions}
    retry = policy_of(retries[newest_of(versions)]) if versions else None
    return WorkflowState(name=name, versions=versions, paused=paused, retry=retry)


async def act(visit: Visit) -> Response:
    """Pause the workflow, or let it go on."""
    name, fields = visit.request.path_params["name"], await visit.form()
    page = visit.url("workflow", name=name)
    match fields.get("action"):
        case "pause":
            await visit.app.workflows.pause(name, actor=visit.user.actor)
            return visit.back(fields, page, f"workflow {name} is paused: no run of it begins; those that a worker has go on")
        case "resume":
            await visit.app.workflows.resume(name, actor=visit.user.actor)
            return visit.back(fields, page, f"workflow {name} goes on")
        case other:
            raise BadValue(f"a workflow can be paused and resumed; there is no action {other!r}")


async def _live(visit: Visit) -> list[LiveVersion] | None:
    try:
        return await visit.app.overview.live_versions()
    except TooSlow:
        return None


async def _recent(visit: Visit, name: str) -> Sequence[RunSummary] | None:
    try:
        page = await visit.app.overview.runs(workflow=name, limit=_RECENT, explain=False)
    except TooSlow:
        return None
    return visit.site.redact.said(page.items)


def _schema(definition: Definition, redact: Redactor) -> str | None:
    """Of the input, as people read JSON; None: nobody can say."""
    schema: Any = redact.schema(json.loads(definition.input_schema))
    return json.dumps(schema, indent=2, ensure_ascii=False) if schema else None


def rows_of(
    states: Sequence[WorkflowState],
    live: Sequence[LiveVersion],
    schedules: Mapping[str, Sequence[ScheduleState]],
    speeds: Mapping[str, Speed],
) -> list[WorkflowRow]:
    """What is known of each workflow, by name: also of those that only have runs."""
    known = {state.name: state for state in states}
    counts: defaultdict[str, dict[str | None, int]] = defaultdict(dict)
    for each in live:
        counts[each.workflow][each.version] = each.count
    return [
        WorkflowRow(
            name=name,
            paused=name in known and known[name].paused,
            retry=known[name].retry if name in known else None,
            versions=_versions(known.get(name), counts[name]),
            schedules=tuple(schedules.get(name, ())),
            speed=speeds.get(name) if name not in speeds or speeds[name].runs else None,
        )
        for name in sorted(known.keys() | counts.keys())
    ]


def _versions(state: WorkflowState | None, live: dict[str | None, int]) -> tuple[VersionRow, ...]:
    served = () if state is None else state.versions
    return tuple(
        VersionRow(version=version, live=live.get(version, 0), served=version in served, newest=version == newest_of(served))
        for version in sorted({*served, *live}, key=natural_order, reverse=True)
    )


def newest_of(versions: Sequence[str | None]) -> str | None:
    """The version that a start by name gets: the function without one, or else the newest."""
    return None if not versions or None in versions else versions[0]
