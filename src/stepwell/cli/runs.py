"""`stepwell runs list`, `show` and `logs`: what is read of runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias

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
    what_is_unknown,
)
from stepwell.cli.command import AsJson, BadUsage, on_app
from stepwell.cli.output import Column, console, draw, local_time, note, print_json, print_table, printable, say

if TYPE_CHECKING:
    from stepwell.core.records import LogLine, Run

commands = typer.Typer(help="Look at runs, and act on them.")

RunId: TypeAlias = Annotated[str, typer.Argument(metavar="RUN", help="The id of a run, or the beginning of it.")]

_LOOK_EVERY: Final = 0.5
"""Seconds between two looks at a run that is followed."""

_COLUMNS: Final = (
    Column(title="id", short=18),
    Column(title="workflow"),
    Column(title="version", rank=2),
    Column(title="status"),
    Column(title="attempt", rank=5),
    Column(title="queue", rank=6),
    Column(title="created", rank=1),
    Column(title="finished", rank=4),
    Column(title="waiting for, or error", rank=3, short=24, elastic=True),
)


@commands.command("list")
@on_app(is_open=False)
async def list_runs(
    app: Stepwell,
    *,
    status: Status = None,
    workflow: OfWorkflow = None,
    version: OfVersion = None,
    tag: WithTag = None,
    queue: InQueue = None,
    older_than: OlderThan = None,
    search: Search = None,
    order: Annotated[Literal["newest", "oldest"], typer.Option("--order", help="Which come first.")] = "newest",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many at most.")] = 50,
    cursor: Annotated[str | None, typer.Option("--cursor", metavar="C", help="Go on where a page ended: its next_cursor.")] = None,
    as_json: AsJson = False,
) -> None:
    """List runs, the newest first."""
    chosen = Chosen(status=status, workflow=workflow, version=version, tag=tag, queue=queue, older_than=older_than, search=search)
    chosen.check()
    async with app:
        filters = chosen.filters(app.now())
        try:
            page = await app.runs.list(**filters, order=order, limit=limit, cursor=cursor)
        except ValueError as error:
            raise BadUsage(f"--cursor: {error}") from None  # all else has been checked
        hint = None if page.items else await what_is_unknown(app, workflow)
    if as_json:
        print_json({"runs": list(page), "next_cursor": page.next_cursor})
        return
    print_table(_COLUMNS, [_row(run) for run in page], empty="no run matches" if chosen.given else "there are no runs")
    if hint is not None:
        note(hint)
    if page.next_cursor is not None:
        note(f"there are more: --cursor {page.next_cursor}")


def _row(run: Run) -> tuple[object, ...]:
    why = run.waiting_for or run.error
    return (run.id, run.workflow, run.version, run.status, run.attempt, run.queue, run.created_at, run.finished_at, _first_line(why))


def _first_line(value: object) -> str | None:
    return None if value is None else str(value).partition("\n")[0]


@commands.command("show")
@on_app()
async def show_run(
    app: Stepwell,
    run_id: RunId,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on showing it until it ends.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show a run: its steps with their attempts, its error, and who did what to it."""
    run = await run_of(app, run_id)
    if as_json:
        if follow:
            run = await ended(app, run)
        print_json(run)
        return
    from stepwell.cli.picture import picture_of  # noqa: PLC0415  # only this draws

    if not follow:
        draw(await picture_of(app, run.id))
        return
    from rich.live import Live  # noqa: PLC0415

    with Live(await picture_of(app, run.id), console=console(), auto_refresh=False, vertical_overflow="visible") as live:
        while not (await app.runs.get(run.id)).status.ended:
            await asyncio.sleep(_LOOK_EVERY)
            live.update(await picture_of(app, run.id), refresh=True)
        live.update(await picture_of(app, run.id), refresh=True)


async def ended(app: Stepwell, run: Run) -> Run:
    """The run when it is over; waits for that."""
    while not run.status.ended:
        await asyncio.sleep(_LOOK_EVERY)
        run = await app.runs.get(run.id)
    return run


@commands.command("logs")
@on_app()
async def show_logs(
    app: Stepwell,
    run_id: RunId,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print what a run and its steps have logged."""
    run = await run_of(app, run_id)
    if as_json:
        if follow:
            run = await ended(app, run)
        print_json({"logs": await app.runs.logs(run.id)})
        return
    printed = 0
    while True:
        # Asked before the lines are read: what is said until the run ends is then among them.
        is_over = (await app.runs.get(run.id)).status.ended
        for line in await app.runs.logs(run.id, after=printed):
            say(_log_text(line))
            printed += 1
        if not follow or is_over:
            break
        await asyncio.sleep(_LOOK_EVERY)
    if not printed:
        note(f"run {run.id} has logged nothing")


def _log_text(line: LogLine) -> str:
    fields = "".join(f" {name}={value!r}" for name, value in line.fields.items())
    step = f" [{line.step}]" if line.step else ""
    return f"{local_time(line.at)} {line.level.upper():<8}{step} {printable(line.message)}{fields}"
