"""Which runs a command means: ids by unique prefix, or filters. Knows nothing of what is done to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer

from stepwell.cli.command import BadUsage, Failed, did_you_mean, duration
from stepwell.core.records import instant
from stepwell.core.status import RunStatus
from stepwell.errors import RunNotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

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
Search: TypeAlias = Annotated[
    str | None,
    typer.Option("--search", metavar="TEXT", help="Only with this in id, key, workflow, tag, input or error.", rich_help_panel=_FILTERS),
]

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

    def filters(self, now: float) -> dict[str, Any]:
        """As the app takes them; what was left out is left out. Raises BadUsage as `check` does."""
        age = duration(self.older_than, "--older-than")
        given = {
            "status": [status_named(name) for name in self.status or ()] or None,
            "workflow": self.workflow,
            "version": self.version,
            "tags": self.tag or None,
            "queue": self.queue,
            "created_before": None if age is None else instant(now) - age,
            "search": self.search,
        }
        return {name: value for name, value in given.items() if value is not None}


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
