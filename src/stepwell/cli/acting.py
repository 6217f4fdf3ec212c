"""`stepwell runs pause`, `resume`, `cancel`, `retry`, `delete` and `fork`: acts on some runs by their ids, or on all that match."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer

from stepwell.app import Stepwell
from stepwell.cli.choosing import (
    Chosen,
    InQueue,
    OfVersion,
    OfWorkflow,
    OlderThan,
    Search,
    Status,
    WithTag,
    run_of,
    runs_of,
    what_is_unknown,
)
from stepwell.cli.command import AsJson, BadUsage, Yes, actor, json_input, on_app, runs_counted
from stepwell.cli.output import complain, note, print_json, say
from stepwell.cli.runs import RunId
from stepwell.core.status import Action, RunStatus, after
from stepwell.errors import IllegalTransition, RunNotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stepwell.core.records import Run

commands = typer.Typer()

RunIds: TypeAlias = Annotated[
    list[str] | None, typer.Argument(metavar="[RUN]...", help="Ids of runs, or the beginnings of them.", show_default=False)
]
All: TypeAlias = Annotated[bool, typer.Option("--all", help="Act on every run that matches the filters; without one, on every run.")]

_DELETE: Final = "delete"

_DONE: Final = {Action.PAUSE: "paused", Action.RESUME: "resumed", Action.CANCEL: "canceled", Action.RETRY: "retried", _DELETE: "deleted"}


def _command(what: str, help_text: str) -> None:
    """Add the command that does this to runs."""

    async def act(
        app: Stepwell,
        run_ids: RunIds = None,
        *,
        everything: All = False,
        status: Status = None,
        workflow: OfWorkflow = None,
        version: OfVersion = None,
        tag: WithTag = None,
        queue: InQueue = None,
        older_than: OlderThan = None,
        search: Search = None,
        yes: Yes = False,
    ) -> None:
        chosen = Chosen(status=status, workflow=workflow, version=version, tag=tag, queue=queue, older_than=older_than, search=search)
        is_all = _means_all(run_ids, chosen, everything=everything)
        chosen.check()
        async with app:
            await (_act_on_all(app, what, chosen, yes=yes) if is_all else _act_on_some(app, what, run_ids or []))

    act.__doc__ = help_text
    act.__name__ = f"{what}_runs"
    commands.command(what)(on_app(is_open=False)(act))


def _means_all(run_ids: Sequence[str] | None, chosen: Chosen, *, everything: bool) -> bool:
    """Whether filters say which runs are meant, rather than ids. Raises BadUsage: neither or both do."""
    if run_ids and (everything or chosen.given):
        raise BadUsage("give ids of runs, or --all with filters; not both")
    if not run_ids and not everything:
        advice = "add --all to act on every run that they match" if chosen.given else "give the ids of runs, or --all with filters"
        raise BadUsage(f"{'filters may match many runs: ' if chosen.given else ''}{advice}")
    return everything


# -- some


async def _act_on_some(app: Stepwell, what: str, prefixes: Sequence[str]) -> None:
    """Do it to each, and go on when one refuses. Raises Exit: one did."""
    refused = 0
    runs = await runs_of(app, prefixes)
    for run in runs:
        try:
            say(await _act_on(app, what, run))
        except (IllegalTransition, RunNotFound) as error:
            complain(str(error))
            refused += 1
    if what == _DELETE and len(runs) > 1:
        say(f"deleted {runs_counted(len(runs) - refused)}")
    if refused:
        raise typer.Exit(1)


async def _act_on(app: Stepwell, what: str, run: Run) -> str:
    """Do it; what to say then."""
    name = f"{run.id} {run.workflow}" if run.version is None else f"{run.id} {run.workflow} {run.version}"
    if what == _DELETE:
        await app.runs.delete(run.id, actor=actor())
        return f"deleted {name}"
    changed = await getattr(app.runs, what)(run.id, actor=actor())
    now = changed.status if changed is not None else (await app.runs.get(run.id)).status
    if after(run.status, Action(what)) is run.status:
        return f"unchanged {name}: it is {now}"
    return f"{_DONE[what]} {name}"


# -- all that match


async def _act_on_all(app: Stepwell, what: str, chosen: Chosen, *, yes: bool) -> None:
    filters = chosen.filters(app.now())
    statuses = [status for status in filters.get("status", RunStatus) if _changes(what, status)]
    counts = await app.runs.count(**{**filters, "status": statuses}) if statuses else {}
    count = sum(counts.values())
    if not count:
        note(f"no run matches that could be {_DONE[what]}")
        if hint := await what_is_unknown(app, chosen.workflow):
            note(hint)
        return
    _ask(f"{what} {runs_counted(count)} ({', '.join(f'{number:,} {status}' for status, number in counts.items() if number)})", yes=yes)
    bulk: Any = getattr(app.runs, f"{what}_all")
    say(f"{_DONE[what]} {runs_counted(await bulk(**{**filters, 'status': statuses}, actor=actor()))}")


def _changes(what: str, status: RunStatus) -> bool:
    """Whether it does anything to runs of this status."""
    if what == _DELETE:
        return status.ended
    return after(status, Action(what)) not in {None, status}


def _ask(what: str, *, yes: bool) -> None:
    """Let the user agree to it. Raises BadUsage: nobody is there to ask; Exit: the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise BadUsage(f"this would {what}; add --yes to do it")
    sys.stderr.write(f"This will {what}. Go on? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        note("nothing was done")
        raise typer.Exit(1)


_command(Action.PAUSE, "Stop runs before their next step; the step in progress goes on to its end.")
_command(Action.RESUME, "Let paused runs go on, at once.")
_command(Action.CANCEL, "End runs, whatever they are doing.")
_command(Action.RETRY, "Let failed and canceled runs go on; finished steps are not run again.")
_command(_DELETE, "Forget ended runs, with all that belongs to them.")


# -- fork


@commands.command("fork")
@on_app(is_open=False)
async def fork_run(
    app: Stepwell,
    run_id: RunId,
    *,
    from_step: Annotated[str, typer.Option("--from-step", metavar="KEY", help="The first step that is run again.")],
    input_json: Annotated[str | None, typer.Option("--input", "-i", metavar="JSON", help="Another input.")] = None,
    input_file: Annotated[Path | None, typer.Option("--input-file", metavar="F", help="Another input, from a file; - is stdin.")] = None,
    version: Annotated[str | None, typer.Option("--version", metavar="V", help="Another version of the workflow.")] = None,
    as_json: AsJson = False,
) -> None:
    """Start a new run that has the outcomes of another before a step, and goes on from there."""
    changes: dict[str, Any] = {}
    if input_json is not None or input_file is not None:
        changes["input"] = json_input(input_json, input_file)
    if version is not None:
        changes["version"] = version
    async with app:
        run = await run_of(app, run_id)
        handle = await app.runs.fork(run.id, from_step=from_step, actor=actor(), **changes)
        if as_json:
            print_json(await handle.get())
        else:
            say(f"forked {run.id} as {handle.run_id}")
