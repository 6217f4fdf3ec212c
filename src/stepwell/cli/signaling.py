"""`stepwell signal`: sends a run what it waits for."""

from __future__ import annotations

from typing import Annotated

import typer

from stepwell.app import Stepwell
from stepwell.cli.choosing import run_of
from stepwell.cli.command import actor, json_input, on_app
from stepwell.cli.output import say
from stepwell.cli.runs import RunId


@on_app(is_open=False)
async def signal(
    app: Stepwell,
    run_id: RunId,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The signal's name.")],
    payload: Annotated[str | None, typer.Argument(metavar="[JSON]", help="What it carries.", show_default=False)] = None,
) -> None:
    """Send a signal to a run. It is kept until the run waits for it."""
    value = json_input(payload, None, "the payload")
    async with app:
        run = await run_of(app, run_id)
        await app.runs.signal(run.id, name, value, actor=actor())
    say(f"sent signal {name} to {run.id} {run.workflow}")
