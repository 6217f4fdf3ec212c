"""Asks, before something is done to all runs that match, what exactly is meant; and does it, as a batch in the background.

The question fixes the time: runs that come while somebody reads it are not meant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from stepwell.core.status import Action, RunStatus, after
from stepwell.errors import BadValue, TooSlow
from stepwell.web.access import Role
from stepwell.web.choosing import ANY, PARAMETERS, Choice, chosen
from stepwell.web.words import iso

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.responses import Response

    from stepwell.web.site import Visit

COUNTED: Final = 10_000
"""More than so many are not counted."""


class Deed(NamedTuple):
    """What can be done to many runs."""

    label: str
    done: str
    """`paused`."""
    role: Role
    note: str
    """What whoever is asked should know."""
    statuses: frozenset[RunStatus]
    """In which a run can be for it."""


def _where(action: Action) -> frozenset[RunStatus]:
    return frozenset(status for status in RunStatus if after(status, action) not in (None, status))


DEEDS: Final = {
    "pause": Deed("Pause", "paused", Role.OPERATOR, "Steps in progress go on to their end.", _where(Action.PAUSE)),
    "resume": Deed("Resume", "resumed", Role.OPERATOR, "They go on where they were.", _where(Action.RESUME)),
    "retry": Deed("Retry", "retried", Role.OPERATOR, "What they have done is kept.", _where(Action.RETRY)),
    "cancel": Deed("Cancel", "canceled", Role.OPERATOR, "What they have done stays done.", _where(Action.CANCEL)),
    "delete": Deed("Delete", "deleted", Role.ADMIN, "For ever, with their steps and logs.", frozenset(s for s in RunStatus if s.ended)),
}


async def show(visit: Visit) -> Response:
    """The question."""
    visit.need(Role.OPERATOR)
    choice = _choice(visit)
    query = _fixed(visit, choice)
    tally = await _tally(visit, chosen(query, visit.now, visit.site.redact.names))
    return visit.page(
        "matching.html",
        tab="tasks",
        choice=choice,
        until=visit.now,
        tally=None if tally is None else [(status, tally[status]) for status in RunStatus if tally.get(status)],
        deeds=[(name, deed, _fitting(deed, tally)) for name, deed in DEEDS.items() if visit.user.may(deed.role)],
        cap=COUNTED,
        act=visit.url("act_on_tasks", query=query),
        back=visit.own(visit.query.get("next", "")),
    )


async def _tally(visit: Visit, choice: Choice) -> Mapping[RunStatus, int] | None:
    """How many there are; None: nobody could say in time."""
    try:
        return await visit.app.overview.tally(COUNTED, **choice.filters)
    except TooSlow:
        return None


def _choice(visit: Visit) -> Choice:
    choice = chosen(visit.query, visit.now, visit.site.redact.names, visit.zone)
    if choice.problem is not None:
        raise BadValue(choice.problem)
    return choice


def _fixed(visit: Visit, choice: Choice) -> dict[str, str]:
    """The parameters that mean the same runs whenever they are read, and none that come later."""
    said = {name: visit.query[name] for name in PARAMETERS if visit.query.get(name) and name not in {"order", "size"}}
    begin, end = choice.filters.get("created_after"), choice.filters.get("created_before")
    return said | {"from": ANY if begin is None else iso(begin), "to": iso(visit.now if end is None else min(end, visit.now))}


def _fitting(deed: Deed, tally: Mapping[RunStatus, int] | None) -> str:
    """To how many runs it can be done, as words; empty: to none."""
    if tally is None:
        return "all that can be"
    counts = [tally.get(status, 0) for status in deed.statuses]
    more = "+" if any(count > COUNTED for count in counts) else ""
    number = sum(min(count, COUNTED) for count in counts)
    return f"{number:,}{more} {'run' if number == 1 and not more else 'runs'}" if number else ""


async def act(visit: Visit, said: Mapping[str, str], action: str) -> Response:
    """Do it. It may take a while, and how far it has come shows on the page."""
    choice = _choice(visit)
    work: Any = getattr(visit.app.runs, f"{action}_all")
    actor, deed = visit.user.actor, DEEDS[action]
    what = ", ".join(words for words, name in choice.chips if name != "to") or "all runs"
    batch = visit.site.batches.begin(
        f"{deed.label} {what}",
        lambda progress: work(everything=True, actor=actor, progress=progress, **choice.filters),
        deed.done,
    )
    await batch.settled(1.0)
    visit.site.batches.told(batch)
    return visit.back(said, visit.url("tasks"), batch.said)
