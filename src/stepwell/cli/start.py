"""`stepwell start`: begins a run by its workflow's name, and waits for its end if asked to."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stepwell.app import Stepwell
from stepwell.cli.choosing import what_is_unknown
from stepwell.cli.command import AsJson, actor, duration, json_input, on_app
from stepwell.cli.output import complain, console, note, print_json, say, status_style
from stepwell.core.status import RunStatus
from stepwell.errors import RunCanceled, RunFailed

if TYPE_CHECKING:
    from rich.text import Text

    from stepwell.core.records import Run
    from stepwell.handle import Handle


@on_app(migrate=True, is_open=False)
async def start(
    app: Stepwell,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of a workflow.")],
    *,
    input_json: Annotated[str | None, typer.Option("--input", "-i", metavar="JSON", help="The input.")] = None,
    input_file: Annotated[Path | None, typer.Option("--input-file", metavar="F", help="The input, from a file; - is stdin.")] = None,
    version: Annotated[str | None, typer.Option("--version", metavar="V", help="The version; left out: the newest.")] = None,
    key: Annotated[str | None, typer.Option("--key", metavar="K", help="A second start with it gives the first run.")] = None,
    delay: Annotated[str | None, typer.Option("--delay", metavar="D", help="How long to wait first: 90s, 1h30m.")] = None,
    run_timeout: Annotated[str | None, typer.Option("--timeout", metavar="D", help="The run fails this long after it was due.")] = None,
    priority: Annotated[int | None, typer.Option("--priority", metavar="N", help="Higher goes first.")] = None,
    queue: Annotated[str | None, typer.Option("--queue", metavar="Q", help="Where it waits.")] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", metavar="TAG", help="May be repeated.")] = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait for its end, and print its output.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start a run.

    With --wait the output is printed as JSON, and a run that fails or is canceled makes the command fail.
    """
    options: dict[str, Any] = {"version": version, "key": key, "priority": priority, "queue": queue, "tags": tag or ()}
    options |= {"delay": duration(delay, "--delay"), "timeout": duration(run_timeout, "--timeout")}
    value = json_input(input_json, input_file)
    async with app:
        handle = await app.start(name, value, actor=actor(), **options)
        if hint := await what_is_unknown(app, name):
            note(f"{hint}; the run waits until one has")
        if wait:
            await wait_and_print(handle, as_json=as_json)
        elif as_json:
            print_json(await handle.get())
        else:
            say(f"started {name} {handle.run_id}" if handle.created else f"there is a run of {name} with this key: {handle.run_id}")


async def wait_and_print(handle: Handle[Any], *, as_json: bool) -> None:
    """Show how the run stands until it ends, then print how. Raises Exit: it did not complete."""
    try:
        run = await _watched(handle)
    except asyncio.CancelledError:
        note(f"run {handle.run_id} goes on; see it: stepwell runs show {handle.run_id}")
        raise
    if as_json:
        print_json(run)
    elif run.status is RunStatus.COMPLETED:
        print_json(run.output)
    if run.status is not RunStatus.COMPLETED:
        complain(f"run {run.id} of {run.workflow} " + (f"failed: {run.error}" if run.error else f"was {run.status}"))
        raise typer.Exit(1)


async def _watched(handle: Handle[Any]) -> Run:
    """The run when it is over. On a terminal a line says how it stands until then."""
    target = console(stderr=True)
    if not target.is_terminal:
        await _over(handle)
        return await handle.get()
    async with asyncio.TaskGroup() as tasks:
        over = tasks.create_task(_over(handle))
        with target.status("") as shown:
            while not over.done():
                shown.update(_standing(await handle.get()))
                await asyncio.wait([over], timeout=0.5)
    return await handle.get()


async def _over(handle: Handle[Any]) -> None:
    """Wait for the end of the run, whichever it is."""
    try:
        await handle.result()
    except (RunFailed, RunCanceled):
        return  # the run's record tells how it ended


def _standing(run: Run) -> Text:
    from rich.text import Text  # noqa: PLC0415  # only what draws needs it

    progress = run.progress
    how_far = "" if progress is None else f" {progress.done:g}" + ("" if progress.total is None else f"/{progress.total:g}")
    why = f": {run.waiting_for}" if run.waiting_for else ""
    return Text.assemble(f"{run.workflow} {run.id} ", (str(run.status), status_style(run.status)), how_far + why)
