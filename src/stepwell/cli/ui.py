"""`stepwell ui`: serves the pages and the HTTP API alone. Workers are elsewhere."""

from __future__ import annotations

import asyncio
import threading
import webbrowser
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from stepwell.cli.child import on_signals
from stepwell.cli.command import Database, Namespace, app_at, place_of
from stepwell.cli.output import note
from stepwell.cli.serving import PORT, bound, refuse_open_door, serving, url_of
from stepwell.cli.target import load
from stepwell.config import shown_url

if TYPE_CHECKING:
    import socket

    from stepwell.app import Stepwell

Host: TypeAlias = Annotated[str, typer.Option("--host", metavar="H", help="Address to be found at; others than this machine need tokens.")]
Port: TypeAlias = Annotated[int, typer.Option("--port", min=0, max=65_535, metavar="N", help="0: any that is free.")]


def ui(
    context: typer.Context,
    target: Annotated[
        str | None,
        typer.Argument(metavar="[TARGET]", help="Whose code checks the inputs of runs that are started; left out, their workers'."),
    ] = None,
    *,
    host: Host = "127.0.0.1",
    port: Port = PORT,
    read_only: Annotated[bool, typer.Option("--read-only", help="Nobody may do more than look.")] = False,
    open_it: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
    database: Database = None,
    namespace: Namespace = None,
) -> None:
    """Serve the web interface and the HTTP API until SIGTERM or SIGINT."""
    refuse_open_door(host)
    place = place_of(context, database, namespace)
    app = app_at(place, migrate=False) if target is None else load(target, place)
    with bound(host, port) as listening:
        asyncio.run(_serve(app, listening, host, read_only=read_only, open_it=open_it))


async def _serve(app: Stepwell, listening: socket.socket, host: str, *, read_only: bool, open_it: bool) -> None:
    told = asyncio.Event()
    with on_signals(told.set):
        async with app, serving(app, listening, host, read_only=read_only):
            note(f"the web interface is at {url_of(listening)} ({shown_url(app.database_url)})")
            if open_it:
                _show(url_of(listening))
            await told.wait()
    note("the web interface has stopped")


def _show(url: str) -> None:
    """Open a browser. One that runs in a terminal takes it until it is left, and this process goes on meanwhile."""

    def show() -> None:
        if not webbrowser.open(url):
            note("no browser could be opened")

    threading.Thread(target=show, name="stepwell-browser", daemon=True).start()
