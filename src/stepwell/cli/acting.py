"""`stepwell runs pause`, `resume`, `cancel`, `retry` and `fork`: acts on some runs by their ids, or on all that match."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from stepwell.app import Stepwell
from stepwell.cli.choosing import (
    All,
    Chosen,
    InQueue,
    OfVersion,
    OfWorkflow,
    OlderThan,
    RunIds,
    Search,
    Status,
    WithTag,
    counted,
    label,
    means_all,
    run_of,
    runs_of,
    say_that_none_matches,
)
from stepwell.cli.command import AsJson, Yes, actor, ask, json_input, on_app, runs_counted
from stepwell.cli.output import complain, print_json, say
from stepwell.cli.runs import RunId
from stepwell.core.status import Action, RunStatus, after
from stepwell.errors import IllegalTransition, RunNotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stepwell.core.records import Run

commands = typer.Typer()

_DONE: Final = {Action.PAUSE: "paused", Action.RESUME: "resumed", Action.CANCEL: "canceled", Action.RETRY: "retried"}


def _command(what: Action, help_text: str) -> None:
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
        is_all = means_all(run_ids, chosen, everything=everything)
        chosen.check()
        async with app:
            await (_act_on_all(app, what, chosen, yes=yes) if is_all else _act_on_some(app, what, run_ids or []))

    act.__doc__ = help_text
    act.__name__ = f"{what}_runs"
    commands.command(what)(on_app(is_open=False)(act))


# -- some


async def _act_on_some(app: Stepwell, what: Action, prefixes: Sequence[str]) -> None:
    """Do it to each, and go on when one refuses. Raises Exit: one did."""
    refused = False
    for run in await runs_of(app, prefixes):
        try:
            say(await _act_on(app, what, run))
        except (IllegalTransition, RunNotFound) as error:
            complain(str(error))
            refused = True
    if refused:
        raise typer.Exit(1)


async def _act_on(app: Stepwell, what: Action, run: Run) -> str:
    """Do it; what to say then."""
    changed = await getattr(app.runs, what)(run.id, actor=actor())
    now = changed.status if changed is not None else (await app.runs.get(run.id)).status
    if after(run.status, what) is run.status:
        return f"unchanged {label(run)}: it is {now}"
    return f"{_DONE[what]} {label(run)}"


# -- all that match


async def _act_on_all(app: Stepwell, what: Action, chosen: Chosen, *, yes: bool) -> None:
    filters = chosen.filters(app.now())
    statuses = [status for status in filters.get("status", RunStatus) if after(status, what) not in {None, status}]
    counts = await app.runs.count(**{**filters, "status": statuses}) if statuses else {}
    if not any(counts.values()):
        await say_that_none_matches(app, _DONE[what], chosen)
        return
    ask(f"{what} {counted(counts)}", yes=yes)
    bulk: Any = getattr(app.runs, f"{what}_all")
    say(f"{_DONE[what]} {runs_counted(await bulk(**{**filters, 'status': statuses}, actor=actor()))}")


_command(Action.PAUSE, "Stop runs before their next step; the step in progress goes on to its end.")
_command(Action.RESUME, "Let paused runs go on, at once.")
_command(Action.CANCEL, "End runs, whatever they are doing.")
_command(Action.RETRY, "Let failed and canceled runs go on; finished steps are not run again.")


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
