"""`stepwell runs delete`: forgets ended runs, some by their ids, or all that match."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import typer

from stepwell.app import Stepwell
from stepwell.cli.choosing import (
    All,
    Chosen,
    EndedLongerAgo,
    InQueue,
    OfVersion,
    OfWorkflow,
    RunIds,
    Search,
    Status,
    WithTag,
    counted,
    label,
    means_all,
    runs_of,
    say_that_none_matches,
)
from stepwell.cli.command import AsJson, Yes, actor, ask, on_app, runs_counted
from stepwell.cli.output import complain, print_json, say
from stepwell.core.status import RunStatus
from stepwell.errors import IllegalTransition, RunNotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

commands = typer.Typer()

_CLEAR_LINE: Final = "\r\x1b[2K"


@commands.command("delete")
@on_app(is_open=False)
async def delete_runs(
    app: Stepwell,
    run_ids: RunIds = None,
    *,
    everything: All = False,
    status: Status = None,
    workflow: OfWorkflow = None,
    version: OfVersion = None,
    tag: WithTag = None,
    queue: InQueue = None,
    older_than: EndedLongerAgo = None,
    search: Search = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Forget ended runs, with all that belongs to them. Their idempotency keys can be given again."""
    chosen = Chosen(status=status, workflow=workflow, version=version, tag=tag, queue=queue, older_than=older_than, search=search)
    is_all = means_all(run_ids, chosen, everything=everything or older_than is not None)
    chosen.check()
    async with app:
        await (_delete_all(app, chosen, yes=yes, as_json=as_json) if is_all else _delete_some(app, run_ids or [], as_json=as_json))


async def _delete_some(app: Stepwell, prefixes: Sequence[str], *, as_json: bool) -> None:
    """Delete each, and go on when one has not ended. Raises Exit: one has not."""
    deleted = 0
    runs = await runs_of(app, prefixes)
    for run in runs:
        try:
            await app.runs.delete(run.id, actor=actor())
        except (IllegalTransition, RunNotFound) as error:
            complain(str(error))
            continue
        deleted += 1
        if not as_json:
            say(f"deleted {label(run)}")
    if as_json or len(runs) > 1:
        _say_how_many(deleted, as_json=as_json)
    if deleted < len(runs):
        raise typer.Exit(1)


async def _delete_all(app: Stepwell, chosen: Chosen, *, yes: bool, as_json: bool) -> None:
    filters = chosen.filters(app.now(), age="finished_before")
    filters["status"] = [status for status in filters.get("status", RunStatus) if status.ended]
    counts = await app.runs.count(**filters) if filters["status"] else {}
    if not any(counts.values()):
        await say_that_none_matches(app, "deleted", chosen)
        if as_json:
            _say_how_many(0, as_json=True)
        return
    ask(f"delete {counted(counts)}", yes=yes)
    _say_how_many(await _delete_in_sight(app, filters, sum(counts.values())), as_json=as_json)


async def _delete_in_sight(app: Stepwell, filters: dict[str, Any], total: int) -> int:
    """Delete them, and show on a terminal how far that has come; how many there were."""
    if not sys.stderr.isatty():
        return await app.runs.delete_all(**filters, actor=actor())
    try:
        return await app.runs.delete_all(**filters, actor=actor(), progress=_shown(total))
    finally:
        sys.stderr.write(_CLEAR_LINE)


def _shown(total: int) -> Callable[[int], None]:
    def show(deleted: int) -> None:
        sys.stderr.write(f"{_CLEAR_LINE}deleted {deleted:,} of {runs_counted(total)}")
        sys.stderr.flush()

    return show


def _say_how_many(deleted: int, *, as_json: bool) -> None:
    if as_json:
        print_json({"deleted": deleted})
    else:
        say(f"deleted {runs_counted(deleted)}")
