"""`stepwell dev`: a worker in a child process, which begins again when the code changes, and only if the new code can be imported.

It serves the web interface, too, on a socket that stays here: its address outlives the code.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from stepwell.cli.child import WorkerOptions, begin, how_it_ended, on_signals, stop
from stepwell.cli.command import Database, Namespace, duration, place_of
from stepwell.cli.output import note
from stepwell.cli.serving import PORT, bound_or_next, url_of
from stepwell.cli.target import is_file_target, only_target
from stepwell.cli.worker import LEASE, Concurrency, ShowTraceback
from stepwell.config import project_settings

if TYPE_CHECKING:
    import socket
    from asyncio.subprocess import Process
    from collections.abc import Iterable

GRACE: Final = "5s"
"""How long steps may take to end before new code takes over; then they are run again."""

_SOME: Final = 3


def dev(
    context: typer.Context,
    target: Annotated[
        str | None,
        typer.Argument(metavar="[TARGET]", help="Left out: what pyproject.toml says, or the only file with workflows here."),
    ] = None,
    *,
    concurrency: Concurrency = 100,
    grace: Annotated[str, typer.Option("--grace", metavar="D", help="How long steps in progress may take to end.")] = GRACE,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65_535, metavar="N", help="Of the web interface; the next free one if taken.")
    ] = PORT,
    no_ui: Annotated[bool, typer.Option("--no-ui", help="Serve no web interface.")] = False,
    show_traceback: ShowTraceback = False,
    database: Database = None,
    namespace: Namespace = None,
) -> None:
    """Execute runs, serve the web interface, and begin again whenever the code changes."""
    duration(grace, "--grace")
    options = WorkerOptions(
        target=target or default_target(),
        place=place_of(context, database, namespace),
        concurrency=concurrency,
        queues=(),
        lease=LEASE,
        grace=grace,
        name=None,
        show_traceback=show_traceback,
    )
    with nullcontext() if no_ui else _listening(port) as listening:
        web = None if listening is None else listening.fileno()
        raise typer.Exit(asyncio.run(Reloader(replace(options, web=web)).run()))


def _listening(port: int) -> socket.socket:
    """The socket of the web interface, and where it is said."""
    listening = bound_or_next("127.0.0.1", port)
    found = listening.getsockname()[1]
    taken = "" if port in {0, found} else f"; port {port} is taken"
    note(f"the web interface is at {url_of(listening)}{taken}")
    return listening


def default_target() -> str:
    """`target` of [tool.stepwell], else the only file with workflows here. Raises BadTarget: there is none."""
    project = project_settings()
    if project is None or "target" not in project.table:
        return only_target()
    target = str(project.table["target"])
    return str(project.folder / target) if is_file_target(target) else target


class Reloader:
    """Keeps a worker going on the newest code that can be imported."""

    def __init__(self, options: WorkerOptions) -> None:
        self._options = options
        self._stopping = asyncio.Event()
        self._turn = asyncio.Lock()  # code may change while its import is tried
        self._child: Process | None = None
        self._trial: Process | None = None
        self._problem: str | None = None

    async def run(self) -> int:
        """Until SIGINT or SIGTERM; the exit code."""
        with on_signals(self._stop):
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                changes = tasks.create_task(self._follow_changes())
                await self._begin_if_sound()
                await changes
                # A second signal, while the child ends, has to reach it too.
                if self._child is not None:
                    await self._child.wait()
        return 0

    def _stop(self) -> None:
        self._stopping.set()
        for process in (self._child, self._trial):
            if process is not None:
                stop(process)

    async def _follow_changes(self) -> None:
        from watchfiles import PythonFilter, awatch  # noqa: PLC0415  # only this watches

        async for changes in awatch(*_folders(self._options.target), watch_filter=PythonFilter(), stop_event=self._stopping):
            note(f"{_named(path for _, path in changes)} changed")
            await self._begin_if_sound()

    async def _begin_if_sound(self) -> None:
        """Let a worker with the new code take the place of the old one; where it cannot be imported, say why, once."""
        async with self._turn:
            problem = await self._why_it_cannot_begin()
            if self._stopping.is_set():
                return
            if problem is None:
                await self._end_child()
                await self._begin_child()
            elif problem != self._problem:
                goes_on = self._child is not None and self._child.returncode is None
                note(problem + ("\nthe worker goes on with the code it has" if goes_on else "\nwaiting for a change"))
            self._problem = problem

    async def _why_it_cannot_begin(self) -> str | None:
        """What a fresh interpreter says that imports the code; None: nothing is wrong with it."""
        command = self._options.command_line("--import-only")
        trial = self._trial = await asyncio.create_subprocess_exec(
            *command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        _, said = await trial.communicate()
        if trial.returncode == 0:
            return None
        return said.decode(errors="replace").strip() or f"the import ended {how_it_ended(trial.returncode or 0)}"

    async def _end_child(self) -> None:
        if self._child is not None:
            stop(self._child)
            await self._child.wait()

    async def _begin_child(self) -> None:
        if self._stopping.is_set():
            return
        child = self._child = await begin(self._options)
        if self._stopping.is_set():
            stop(child)  # the signal came while it was being begun
        self._tasks.create_task(self._mourn(child))

    async def _mourn(self, child: Process) -> None:
        """Say so when the worker has ended although nobody wanted it to."""
        code = await child.wait()
        if code not in {0, -signal.SIGTERM} and child is self._child and not self._stopping.is_set():
            note(f"the worker ended {how_it_ended(code)}; it begins again when the code changes")


def _folders(target: str) -> list[Path]:
    """Where code may change: here, and where the target is."""
    here = Path.cwd()
    source = target.partition(":")[0]
    beside = (here / source).parent.resolve() if is_file_target(source) else here
    return [here] if beside.is_relative_to(here) else [here, beside]


def _named(paths: Iterable[str]) -> str:
    names = sorted({Path(path).name for path in paths})
    return ", ".join(names[:_SOME]) + (f" and {len(names) - _SOME} more" if len(names) > _SOME else "")
