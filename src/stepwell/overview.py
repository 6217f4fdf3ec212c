"""`app.overview`: what pages and dashboards show of the whole. It holds no state: each call asks the store.

No payload is read, nothing is counted to its end, and no call takes more than a few seconds: one that would raises `TooSlow`.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import chain, pairwise
from typing import Final, Unpack

from stepwell.core.filters import (
    Filters,
    Order,
    by_id,
    checked_cursor,
    checked_instant,
    checked_limit,
    checked_text,
    earliest_id,
    is_newest_first,
    run_filter,
)
from stepwell.core.records import (
    Backlog,
    DatabaseFacts,
    Ends,
    LiveVersion,
    Page,
    RunFilter,
    RunSummary,
    Speed,
    StepChip,
    StepRecord,
    Waits,
    instant,
)
from stepwell.core.starting import checked_run_id
from stepwell.core.status import RunStatus
from stepwell.engine.clock import Clock, SystemClock
from stepwell.engine.runloop import refuse_in_body
from stepwell.errors import BadValue
from stepwell.handle import LOOKS
from stepwell.home import Home
from stepwell.store.shown import percentile

SEARCHED: Final = 10_000
"""The newest runs, in which free text is looked for."""

_CHIPPED: Final = 1_000
"""Runs whose steps are asked for at once."""

_MAX_INTERVALS: Final = 10_000
_MAX_WAITS: Final = 1_000
_MAX_CAP: Final = 100_000

_TIMED: Final = 100
"""Runs of each workflow that have ended, of which it is said how fast they were."""

_PARTS: Final = 4
"""Parts of an interval, from each of which some runs are looked at."""

_OF_PART: Final = 5
"""Runs at each end of a part. The last of many that were created together have waited longest."""

_OLDEST: Final = 2_500
"""Runs of each status, the oldest, that are looked at for their versions."""

_CAP: Final = 1_000
"""How far is counted: one more means that there are more."""


class Overview:
    """`app.overview`: lists, counts and figures of all runs, made for looking at, and often."""

    def __init__(self, home: Home) -> None:
        self._home = home

    async def runs(
        self, *, order: Order = "newest", limit: int = 50, cursor: str | None = None, explain: bool = True, **filters: Unpack[Filters]
    ) -> Page[RunSummary]:
        """A page of the runs that match, as `app.runs.list`, without inputs and outputs.

        `created_after` and `created_before` mean the time that the id says, to the millisecond: only that part of the list is read. With
        `search`, only the newest 10,000 runs of that part are looked at.

        Args:
            order: which come first, `newest` or `oldest`.
            limit: how many at most, from 1 to 1,000.
            cursor: the `next_cursor` or `previous_cursor` of another page, with the same filters and order.
            explain: whether to say why runs wait; or let `explain` say it, of several lists at once.
            filters: which runs; none is all.

        Raises:
            ValueError: a filter, the order, limit or cursor is none.
            TooSlow: what was asked for would take too long to find.
        """
        where, newest = _bounded(run_filter(**filters)), is_newest_first(order)
        refuse_in_body(*LOOKS)
        page = await self._home.store.summaries(where, newest=newest, limit=checked_limit(limit), cursor=checked_cursor(cursor))
        return replace(page, items=await self._home.explained(page.items)) if explain else page

    async def explain(self, runs: Iterable[RunSummary]) -> builtins.list[RunSummary]:
        """The same runs, and with those that are ready why they are not executed."""
        refuse_in_body(*LOOKS)
        return builtins.list(await self._home.explained(builtins.list(runs)))

    async def summaries(self, run_ids: Iterable[str]) -> dict[str, RunSummary]:
        """Up to 1,000 runs, by id; those that are not there are left out. Why one waits is not said."""
        asked = [checked_run_id(run_id) for run_id in dict.fromkeys(run_ids)]
        refuse_in_body(*LOOKS)
        _check_number(asked)
        return dict(await self._home.store.summaries_of(asked)) if asked else {}

    async def active(self, limit: int = 20, *, explain: bool = True) -> builtins.list[RunSummary]:
        """Runs that have not ended: first those that are running, then the others, the newest first. `explain` is as in `runs`."""
        refuse_in_body(*LOOKS)
        active = await self._home.store.active(checked_limit(limit))
        return builtins.list(await self._home.explained(active) if explain else active)

    async def tally(self, cap: int = _CAP, **filters: Unpack[Filters]) -> dict[RunStatus, int]:
        """How many runs match, for each status that is asked for. `cap` + 1 means that there are more than `cap`. Filters are as in `runs`.

        Raises:
            ValueError: a filter is none, or `cap` is no number from 1 to 100,000.
            TooSlow: few match, and it would take too long to find them.
        """
        where = _bounded(run_filter(**filters))
        refuse_in_body(*LOOKS)
        return dict(await self._home.store.tally(where, _whole(cap, "cap", _MAX_CAP)))

    async def chips(self, run_ids: Iterable[str], limit: int = 6) -> dict[str, tuple[int, builtins.list[StepChip]]]:
        """How many steps each of up to 1,000 runs has, and the last `limit` of them in order; those that are under way are the last.

        10,001 steps means that there are more than 10,000. A run that is not there has none.
        """
        asked = [checked_run_id(run_id) for run_id in dict.fromkeys(run_ids)]
        refuse_in_body(*LOOKS)
        _check_number(asked)
        return dict(await self._home.store.chips(asked, checked_limit(limit))) if asked else {}

    async def ends(self, since: datetime, until: datetime, intervals: int = 48, workflow: str | None = None) -> builtins.list[Ends]:
        """How many runs have ended, and how, from `since` until before `until`, in so many intervals of the same length.

        Raises:
            ValueError: there is no time between the two, or one of them has no timezone, or there are more than 10,000 intervals.
            TooSlow: too many runs have ended.
        """
        begin, end, checked = _checked_intervals(since, until, intervals)
        name = run_filter(workflow=workflow).workflow
        refuse_in_body(*LOOKS)
        return await self._home.store.ends(begin, end, (end - begin) / checked, name)

    async def steps(self, run_id: str, limit: int = 1_000) -> builtins.list[StepRecord]:
        """The newest attempts of steps of a run, up to `limit`, in order, without what they have returned; of an error, its type.

        A run that is not there has none. `app.runs.some_steps` has the rest of it.

        Raises:
            ValueError: `limit` is no number from 1 to 100,000.
            TooSlow: it has far too many.
        """
        asked, wanted = checked_run_id(run_id), _whole(limit, "limit", _MAX_CAP)
        refuse_in_body(*LOOKS)
        return await self._home.store.trace(asked, wanted)

    async def ends_by_workflow(
        self, since: datetime, until: datetime, intervals: int = 48, workflows: Iterable[str] | None = None
    ) -> dict[str, builtins.list[Ends]]:
        """As `ends`, of each of these workflows, or of all, of which a run has ended in that time, by its name.

        Raises:
            ValueError, TooSlow: as with `ends`.
        """
        begin, end, checked = _checked_intervals(since, until, intervals)
        refuse_in_body(*LOOKS)
        names = _names(workflows)
        return dict(await self._home.store.ends_by_workflow(begin, end, (end - begin) / checked, names))

    async def speeds(self, workflows: Iterable[str] | None = None) -> builtins.list[Speed]:
        """How the newest runs of each of these workflows, or of all, have ended, and how long they took; by name: of 500 at most.

        Those are up to 100 that have ended, of its newest 1,000.
        """
        refuse_in_body(*LOOKS)
        return await self._home.store.speeds(_TIMED, _names(workflows))

    async def waits(self, since: datetime, until: datetime, intervals: int = 48, workflow: str | None = None) -> builtins.list[Waits]:
        """How long runs have waited until they began, or wait now, by when they were created: the age of queues, over time.

        Up to 40 runs of each interval are looked at: the first and the last five of each quarter of it. A run waits from when it could
        begin; where that is not known any more, since it has slept or was retried, from its creation. Intervals are as with `ends`,
        but at most 1,000.

        Raises:
            ValueError: as with `ends`, or there are more than 1,000 intervals.
            TooSlow: it takes too long.
        """
        begin, end, checked = _checked_intervals(since, until, intervals, _MAX_WAITS)
        name = run_filter(workflow=workflow).workflow
        refuse_in_body(*LOOKS)
        width = (end - begin) / checked
        marks = [earliest_id(math.ceil((begin + width * place / _PARTS) * 1_000)) for place in range(checked * _PARTS + 1)]
        parts = await self._home.store.waits(builtins.list(pairwise(marks)), _OF_PART, self._home.now(), name)
        groups = [sorted(chain.from_iterable(parts[place * _PARTS : (place + 1) * _PARTS])) for place in range(checked)]
        return [_waits_of(begin + place * width, group) for place, group in enumerate(groups)]

    async def live_versions(self) -> builtins.list[LiveVersion]:
        """Which versions the runs are of that have not ended, by workflow and version: whose code is still needed.

        Of each status the oldest 2,500 runs are looked at, among which those of old versions are.
        """
        refuse_in_body(*LOOKS)
        return await self._home.store.live_versions(_OLDEST)

    async def backlog(self) -> Backlog:
        """What waits for nothing but a worker. Of each lane up to 1,000 are counted; 1,001 means that there are more."""
        refuse_in_body(*LOOKS)
        return await self._home.store.backlog(_CAP)

    async def facts(self) -> DatabaseFacts:
        """What the database is: kind, version, size, migrations, and how far its clock is from this machine's."""
        refuse_in_body(*LOOKS)
        return await self._home.store.facts(_machine_time(self._home.clock))

    async def pulse(self) -> str:
        """A text that is another one when something was written since, and sometimes for nothing."""
        refuse_in_body(*LOOKS)
        return await self._home.store.pulse()


def _waits_of(at: float, waited: Sequence[float]) -> Waits:
    return Waits(at=instant(at), runs=len(waited), p50=percentile(waited, 0.5), p95=percentile(waited, 0.95))


def _machine_time(clock: Clock) -> Callable[[], float]:
    """The time of this machine, from whatever thread. The app's need not be it: that follows the database's."""
    return (lambda: clock.now() - clock.offset) if isinstance(clock, SystemClock) else clock.now


def _bounded(where: RunFilter) -> RunFilter:
    """The filter, for lists that are made often: times by ids, and free text in the newest runs only."""
    return replace(by_id(where), within=None if where.search is None else SEARCHED)


def _checked_intervals(since: datetime, until: datetime, intervals: int, most: int = _MAX_INTERVALS) -> tuple[float, float, int]:
    begin, end = checked_instant(since, "since"), checked_instant(until, "until")
    if begin >= end:
        raise BadValue(f"since lies before until; {since.isoformat()} does not lie before {until.isoformat()}")
    if begin < 0:
        raise BadValue(f"since is 1970 or later, as no run is older; not {since.isoformat()}")
    return begin, end, _whole(intervals, "intervals", most)


def _whole(value: object, what: str, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise BadValue(f"{what} is a whole number from 1 to {most:,}, not {value!r}")
    return value


def _names(workflows: Iterable[str] | None) -> list[str] | None:
    return None if workflows is None else [checked_text(name, "workflow") for name in workflows]


def _check_number(asked: Collection[str]) -> None:
    if len(asked) > _CHIPPED:
        raise BadValue(f"at most {_CHIPPED:,} runs, or the steps of so many, are shown at once, not of {len(asked):,}")
