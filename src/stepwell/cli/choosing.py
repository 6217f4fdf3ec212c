"""Which runs a command means: ids by unique prefix, or filters. Knows nothing of what is done to them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

import typer

from stepwell.cli.command import BadUsage, Failed, did_you_mean, duration, runs_counted
from stepwell.cli.output import note
from stepwell.core.records import instant
from stepwell.core.status import RunStatus
from stepwell.errors import RunNotFound

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from stepwell.app import Stepwell
    from stepwell.core.records import Run

_FILTERS = "Filters"

Status: TypeAlias = Annotated[
    list[str] | None, typer.Option("--status", metavar="STATUS", help="Only of this status; may be repeated.", rich_help_panel=_FILTERS)
]
OfWorkflow: TypeAlias = Annotated[
    str | None, typer.Option("--workflow", metavar="NAME", help="Only of this workflow.", rich_help_panel=_FILTERS)
]
OfVersion: TypeAlias = Annotated[
    str | None, typer.Option("--version", metavar="V", help="Only of this version; '' is without one.", rich_help_panel=_FILTERS)
]
WithTag: TypeAlias = Annotated[
    list[str] | None, typer.Option("--tag", metavar="TAG", help="Only with this tag; repeated: with all of them.", rich_help_panel=_FILTERS)
]
InQueue: TypeAlias = Annotated[str | None, typer.Option("--queue", metavar="Q", help="Only of this queue.", rich_help_panel=_FILTERS)]
OlderThan: TypeAlias = Annotated[
    str | None, typer.Option("--older-than", metavar="D", help="Only created longer ago: 7d, 12h.", rich_help_panel=_FILTERS)
]
EndedLongerAgo: TypeAlias = Annotated[
    str | None,
    typer.Option("--older-than", metavar="D", help="All that ended longer ago: 90d, 12h. Needs no --all.", rich_help_panel=_FILTERS),
]
Search: TypeAlias = Annotated[
    str | None,
    typer.Option("--search", metavar="TEXT", help="Only with this in id, key, workflow, tag, input or error.", rich_help_panel=_FILTERS),
]

RunIds: TypeAlias = Annotated[
    list[str] | None, typer.Argument(metavar="[RUN]...", help="Ids of runs, or the beginnings of them.", show_default=False)
]
All: TypeAlias = Annotated[bool, typer.Option("--all", help="Act on every run that matches the filters; without one, on every run.")]

_LENGTH_OF_ID: Final = 36

_SOME: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Filters as they were given."""

    status: list[str] | None = None
    workflow: str | None = None
    version: str | None = None
    tag: list[str] | None = None
    queue: str | None = None
    older_than: str | None = None
    search: str | None = None

    @property
    def given(self) -> bool:
        """Whether there is any."""
        return any(value not in (None, []) for value in (getattr(self, name) for name in self.__slots__))

    def check(self) -> None:
        """Raises BadUsage: a status or duration is none."""
        self.filters(0.0)

    def filters(self, now: float, *, age: Literal["created_before", "finished_before"] = "created_before") -> dict[str, Any]:
        """As the app takes them; what was left out is left out. Raises BadUsage as `check` does.

        Args:
            now: seconds since 1970.
            age: from what `--older-than` counts.
        """
        older_than = duration(self.older_than, "--older-than")
        given = {
            "status": [status_named(name) for name in self.status or ()] or None,
            "workflow": self.workflow,
            "version": self.version,
            "tags": self.tag or None,
            "queue": self.queue,
            age: None if older_than is None else _earlier(instant(now), older_than),
            "search": self.search,
        }
        return {name: value for name, value in given.items() if value is not None}


def _earlier(now: datetime, age: timedelta) -> datetime:
    try:
        return now - age
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)  # nothing is that old


def means_all(run_ids: Sequence[str] | None, chosen: Chosen, *, everything: bool) -> bool:
    """Whether filters say which runs are meant, rather than ids. Raises BadUsage: neither or both do."""
    if run_ids and (everything or chosen.given):
        raise BadUsage("give ids of runs, or --all with filters; not both")
    if not run_ids and not everything:
        advice = "add --all to act on every run that they match" if chosen.given else "give the ids of runs, or --all with filters"
        raise BadUsage(f"{'filters may match many runs: ' if chosen.given else ''}{advice}")
    return everything


def status_named(name: str) -> RunStatus:
    """The status of this name. Raises BadUsage: there is none; says which one may be meant."""
    try:
        return RunStatus(name.lower())
    except ValueError:
        raise BadUsage(f"there is no status {name!r}{did_you_mean(name.lower(), RunStatus)}") from None


async def run_of(app: Stepwell, prefix: str) -> Run:
    """The only run whose id begins so.

    Raises:
        Failed: several do; says which.
        RunNotFound: none does.
    """
    prefix = prefix.strip().lower()
    if not prefix:
        raise BadUsage("the id of a run is empty")
    if len(prefix) >= _LENGTH_OF_ID:
        return await app.runs.get(prefix)
    found: list[Run] = [run async for run in app.runs.iterate(id_prefix=prefix)]
    if not found:
        raise RunNotFound(prefix)
    if len(found) > 1:
        some = ", ".join(f"{run.id} ({run.workflow})" for run in found[:_SOME])
        more = f" and {len(found) - _SOME} more" if len(found) > _SOME else ""
        raise Failed(f"{prefix!r} is the beginning of {len(found)} runs: {some}{more}; give more of the id")
    return found[0]


async def runs_of(app: Stepwell, prefixes: Sequence[str]) -> list[Run]:
    """The run of each prefix, each once, and all found before anything is done to one of them."""
    found = [await run_of(app, prefix) for prefix in prefixes]
    return list({run.id: run for run in found}.values())


async def what_is_unknown(app: Stepwell, workflow: str | None) -> str | None:
    """What to tell whoever asked for a workflow that no worker has ever published; None: one has, or he asked for none."""
    if workflow is None:
        return None
    known = {state.name for state in await app.workflows.list()}
    if workflow in known:
        return None
    return f"no worker has ever had a workflow {workflow!r}{did_you_mean(workflow, known)}"


async def say_that_none_matches(app: Stepwell, done: str, chosen: Chosen) -> None:
    """Beside the result. `done`: what could be done to none."""
    note(f"no run matches that could be {done}")
    if hint := await what_is_unknown(app, chosen.workflow):
        note(hint)


def label(run: Run) -> str:
    """Its id, its workflow, and its version if it has one."""
    return " ".join(filter(None, (run.id, run.workflow, run.version)))


def counted(counts: Mapping[RunStatus, int]) -> str:
    """`3 runs (2 failed, 1 canceled)`."""
    parts = ", ".join(f"{number:,} {status}" for status, number in counts.items() if number)
    return f"{runs_counted(sum(counts.values()))} ({parts})"
