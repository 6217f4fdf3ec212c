"""Tasks: what is going on, and the list of runs with all that can be done to many of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from stepwell.core.records import Page, RunSummary
from stepwell.core.status import RunStatus
from stepwell.errors import BadValue, IllegalTransition, RunNotFound, TooSlow
from stepwell.web import download, matching
from stepwell.web.choosing import PARAMETERS, PERIODS, chosen, further_back
from stepwell.web.figures import DAY
from stepwell.web.matching import DEEDS
from stepwell.web.views import BUILT_IN, COOKIE, is_shown, saved

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from starlette.responses import Response

    from stepwell.core.records import StepChip
    from stepwell.web.choosing import Choice
    from stepwell.web.site import Visit

SIZES: Final = (25, 50, 100, 200)
_ACTIVE: Final = 20
_FEW: Final = 5
"""Of what goes on, beside a list in which somebody looks for something."""
_CHIPS: Final = 6

LIVE: Final = (RunStatus.RUNNING, RunStatus.PENDING, RunStatus.SLEEPING, RunStatus.PAUSED)


async def show(visit: Visit) -> Response:
    """The page."""
    choice = chosen(visit.query, visit.now, visit.site.redact.names, visit.zone)
    overview, size, cursor = visit.app.overview, _size(visit), visit.query.get("cursor") or None
    is_looking = bool(choice.chips or choice.problem or cursor)
    most = _FEW if is_looking else _ACTIVE
    active = await overview.active(most + 1, explain=False)
    page: Page[RunSummary] = Page(items=())
    slow = False
    try:
        page = await overview.runs(order=choice.order, limit=size, cursor=cursor, explain=False, **choice.filters)
    except TooSlow:
        slow = True
    tally = await overview.tally()
    shown = visit.site.redact.said(await overview.explain([*active[:most], *page]))  # of both lists at once
    return visit.page(
        "tasks.html",
        tab="tasks",
        tally=tally,
        day=await visit.site.figures.ends(DAY, visit.now),
        active=shown[: len(active[:most])],
        is_looking=is_looking,
        has_more=len(active) > _FEW,  # of which a phone shows no more
        chips=await _chips(visit, shown),
        page=replace(page, items=tuple(shown[len(active[:most]) :])),
        slow=slow,
        is_new=not is_looking and not any(tally.values()),
        choice=choice,
        size=size,
        batches=visit.site.batches.shown(),
        **_ways(visit, choice),
    )


def _ways(visit: Visit, choice: Choice) -> dict[str, Any]:
    """What else can be chosen."""
    said = {name: value for name, value in visit.query.items() if name in PARAMETERS and value}
    return {
        "query": urlencode(said),
        "filters": {name: value for name, value in said.items() if name not in {"order", "size"}},
        "periods": PERIODS,
        "further": further_back(choice.period),
        "further_words": dict(PERIODS)[further_back(choice.period)],
        "views": BUILT_IN,
        "saved": saved(visit.request.cookies.get(COOKIE, "")),
        "is_shown": is_shown,
        "sizes": SIZES,
        "live": LIVE,
        "statuses": list(RunStatus),
    }


async def _chips(visit: Visit, runs: Iterable[RunSummary]) -> dict[str, tuple[int, list[StepChip]]]:
    try:
        return await visit.app.overview.chips([run.id for run in runs], _CHIPS)
    except TooSlow:
        return {}  # of a page of runs with ten thousand steps each: without them it is of more use than not at all


def _size(visit: Visit) -> int:
    text = visit.query.get("size", "")
    return int(text) if text in {str(size) for size in SIZES} else SIZES[1]


async def act(visit: Visit) -> Response:
    """Do something to the runs that were ticked, or to all that match; or give the ticked ones as a file."""
    fields = await visit.fields()
    said = dict(fields)
    action = said.get("action", "")
    if action == "stop":
        return _stop(visit, said)
    ticked = list(dict.fromkeys(value for name, value in fields if name == "run"))
    if len(ticked) > SIZES[-1]:
        raise BadValue(f"{len(ticked):,} runs are more than a page has; at most {SIZES[-1]} can be ticked, and all that match can be meant")
    if action == "export":
        return await download.runs_json(visit, ticked)
    if action not in DEEDS:
        raise BadValue(f"there is no action {action!r}; there are {', '.join(DEEDS)} and export")
    visit.need(DEEDS[action].role)
    if said.get("scope") == "matching":
        return await matching.act(visit, said, action)
    done, refused = 0, 0
    for run_id in ticked:
        try:
            await _one(visit, action)(run_id, actor=visit.user.actor)
        except (IllegalTransition, RunNotFound):
            refused += 1
        else:
            done += 1
    left = f"; {refused} could not be" if refused else ""
    return visit.back(said, visit.url("tasks"), f"{_runs(done)} {DEEDS[action].done}{left}")


def _stop(visit: Visit, said: dict[str, str]) -> Response:
    batch = visit.site.batches.numbered(said.get("batch", ""))
    if batch is None or batch.is_over:
        return visit.back(said, visit.url("tasks"), "it is over already")
    batch.stop(visit.user.actor)
    return visit.back(said, visit.url("tasks"), f"{batch.label}: it ends after those that are under way")


def _one(visit: Visit, action: str) -> Callable[..., Awaitable[Any]]:
    verb: Callable[..., Awaitable[Any]] = getattr(visit.app.runs, action)
    return verb


def _runs(count: int) -> str:
    return "1 run was" if count == 1 else f"{count:,} runs were"
