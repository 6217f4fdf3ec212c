"""Tasks: what is going on, and the list of runs with all that can be done to many of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from stepwell.core.records import Page, RunSummary
from stepwell.core.status import RunStatus
from stepwell.errors import IllegalTransition, RunNotFound, TooSlow
from stepwell.web.access import Role
from stepwell.web.choosing import PERIODS, chosen, further_back
from stepwell.web.figures import DAY

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.responses import Response

    from stepwell.web.site import Visit

SIZES: Final = (25, 50, 100, 250)
_ACTIVE: Final = 20
_CHIPS: Final = 6

LIVE: Final = (RunStatus.RUNNING, RunStatus.PENDING, RunStatus.SLEEPING, RunStatus.PAUSED)


class View(NamedTuple):
    """A choice that many make."""

    label: str
    query: dict[str, str]


VIEWS: Final = (
    View("All", {}),
    View("Active", {"status": "pending,running,sleeping,paused", "from": "all"}),
    View("Failed today", {"status": "failed"}),
    View("Paused", {"status": "paused", "from": "all"}),
)


async def show(visit: Visit) -> Response:
    """The page."""
    choice = chosen(visit.query, visit.now, visit.site.redact.names)
    overview, size = visit.app.overview, _size(visit)
    # Whoever looks for something finds it at the top, and not below what goes on.
    active = [] if choice.chips or choice.problem or visit.query.get("cursor") else await overview.active(_ACTIVE, explain=False)
    page: Page[RunSummary] = Page(items=())
    slow = False
    try:
        page = await overview.runs(limit=size, cursor=visit.query.get("cursor") or None, explain=False, **choice.filters)
    except TooSlow:
        slow = True
    tally = await overview.tally()
    shown = await overview.explain([*active, *page])  # of both lists at once
    active, page = shown[: len(active)], replace(page, items=tuple(shown[len(active) :]))
    return visit.page(
        "tasks.html",
        tab="tasks",
        tally=tally,
        day=await visit.site.figures.ends(DAY, visit.now),
        active=active,
        chips=await overview.chips([run.id for run in active], _CHIPS),
        page=page,
        slow=slow,
        is_new=not choice.chips and not any(tally.values()),
        choice=choice,
        periods=PERIODS,
        further=further_back(choice.period),
        views=VIEWS,
        size=size,
        sizes=SIZES,
        live=LIVE,
        statuses=list(RunStatus),
        batches=visit.site.batches.shown(),
    )


def _size(visit: Visit) -> int:
    text = visit.query.get("size", "")
    return int(text) if text in {str(size) for size in SIZES} else SIZES[1]


class _Deed(NamedTuple):
    done: str
    """`paused`."""
    role: Role


DEEDS: Final = {
    "pause": _Deed("paused", Role.OPERATOR),
    "resume": _Deed("resumed", Role.OPERATOR),
    "retry": _Deed("retried", Role.OPERATOR),
    "cancel": _Deed("canceled", Role.OPERATOR),
    "delete": _Deed("deleted", Role.ADMIN),
}
"""What can be done to many runs."""


async def act(visit: Visit) -> Response:
    """Do something to the runs that were ticked, or to all that match."""
    fields = await visit.fields()
    said = dict(fields)
    action = said.get("action", "")
    if action not in DEEDS:
        raise ValueError(f"there is no action {action!r}; there are {', '.join(DEEDS)}")
    visit.need(DEEDS[action].role)
    if said.get("scope") == "matching":
        return await _act_on_matching(visit, said, action)
    done, refused = 0, 0
    ticked = list(dict.fromkeys(value for name, value in fields if name == "run"))
    if len(ticked) > SIZES[-1]:
        raise ValueError(
            f"{len(ticked):,} runs are more than a page has; at most {SIZES[-1]} can be ticked, and all that match can be meant"
        )
    for run_id in ticked:
        try:
            await _one(visit, action)(run_id, actor=visit.user.actor)
        except (IllegalTransition, RunNotFound):
            refused += 1
        else:
            done += 1
    left = f"; {refused} could not be" if refused else ""
    return visit.back(said, visit.url("tasks"), f"{_runs(done)} {DEEDS[action].done}{left}")


async def _act_on_matching(visit: Visit, said: dict[str, str], action: str) -> Response:
    """As a batch in the background: it may take a while, and what it has done shows on the page."""
    choice = chosen(visit.query, visit.now, visit.site.redact.names)
    if choice.problem is not None:
        raise ValueError(choice.problem)
    work: Any = getattr(visit.app.runs, f"{action}_all")
    actor = visit.user.actor
    what = ", ".join(words for words, _ in choice.chips) or "all runs"
    batch = visit.site.batches.begin(
        f"{action} runs that match {what}", lambda: work(everything=True, actor=actor, **choice.filters), DEEDS[action].done
    )
    await batch.settled(1.0)
    visit.site.batches.told(batch)
    return visit.back(said, visit.url("tasks"), batch.said)


def _one(visit: Visit, action: str) -> Callable[..., Awaitable[Any]]:
    verb: Callable[..., Awaitable[Any]] = getattr(visit.app.runs, action)
    return verb


def _runs(count: int) -> str:
    return "1 run was" if count == 1 else f"{count:,} runs were"
