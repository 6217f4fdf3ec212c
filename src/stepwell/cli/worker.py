"""`stepwell worker`: executes runs in this process, or in several that it looks after."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import typer

from stepwell.cli.child import WorkerOptions, leave_with_parent
from stepwell.cli.command import Database, Namespace, duration, place_of
from stepwell.cli.output import note, printable
from stepwell.cli.target import load
from stepwell.config import shown_url
from stepwell.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Collection

    from stepwell.app import Stepwell
    from stepwell.runner import AppWorker

Target: TypeAlias = Annotated[str, typer.Argument(metavar="TARGET", help="file.py, package.module or package.module:app.")]
Concurrency: TypeAlias = Annotated[int, typer.Option("--concurrency", "-c", min=1, help="Runs that execute at the same time.")]
Queues: TypeAlias = Annotated[list[str] | None, typer.Option("--queue", metavar="Q", help="Only runs of this queue; may be repeated.")]
ShowTraceback: TypeAlias = Annotated[bool, typer.Option("--traceback", help="If TARGET cannot be imported, show all of the traceback.")]

LEASE: Final = "30s"
GRACE: Final = "30s"

_WORKFLOWS: Final = "stepwell.workflow."
"""Under this name the lines of runs are logged, with the workflow's behind it."""

_LOOK_EVERY: Final = 0.05
"""Seconds between two looks for this worker in the database, until it is there."""

_TO_END: Final = 0.5
"""Seconds that canceled tasks have to end."""

_ENOUGH_OF_ID: Final = 18
"""Characters of a run's id that tell it from others."""


def worker(
    context: typer.Context,
    target: Target,
    *,
    processes: Annotated[int, typer.Option("--processes", "-p", min=1, help="How many processes to begin, and to begin again.")] = 1,
    concurrency: Concurrency = 100,
    queue: Queues = None,
    lease: Annotated[str, typer.Option("--lease", metavar="D", help="A worker not heard of for so long is dead.")] = LEASE,
    grace: Annotated[str, typer.Option("--grace", metavar="D", help="How long steps in progress may take to end.")] = GRACE,
    name: Annotated[str | None, typer.Option("--name", help="How the worker is called.")] = None,
    show_traceback: ShowTraceback = False,
    supervised: Annotated[bool, typer.Option("--supervised", hidden=True)] = False,
    import_only: Annotated[bool, typer.Option("--import-only", hidden=True)] = False,
    web: Annotated[int | None, typer.Option("--web", hidden=True)] = None,
    database: Database = None,
    namespace: Namespace = None,
) -> None:
    """Execute runs until SIGTERM or SIGINT.

    The first signal ends steps in progress within the grace and hands all other runs back; the second one leaves now.
    """
    lease_given, grace_given = duration(lease, "--lease"), duration(grace, "--grace")
    options = WorkerOptions(
        target=target,
        place=place_of(context, database, namespace),
        concurrency=concurrency,
        queues=tuple(queue or ()),
        lease=lease,
        grace=grace,
        name=name,
        show_traceback=show_traceback,
        web=web,
    )
    if processes > 1:
        from stepwell.cli.supervisor import supervise  # noqa: PLC0415  # one process needs none

        raise typer.Exit(supervise(processes, options))
    if supervised and not import_only:
        leave_with_parent()
    app = load(target, options.place, show_traceback=show_traceback)
    if import_only:
        return
    compact_logs()
    work = app.worker(concurrency=concurrency, queues=queue or None, name=name, lease=lease_given, grace=grace_given)
    with asyncio.Runner() as runner:
        runner.run(_run(app, work, web))
        if deaf := _deaf(runner.get_loop()):
            note(f"{deaf} of its steps take no notice of being canceled, and are left behind")
            sys.stderr.flush()
            os._exit(0)  # to leave in order would be to wait for them


def _deaf(loop: asyncio.AbstractEventLoop) -> int:
    """Tasks that are still there after they were canceled, and had a moment to end."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=_TO_END))
    return sum(not task.done() for task in tasks)


async def _run(app: Stepwell, work: AppWorker, web: int | None) -> None:
    """Work until told to stop, and say when it begins and when it has ended. Its pages answer for as long."""
    async with app, _pages(app, web), asyncio.TaskGroup() as tasks:
        former = {state.id for state in await app.workers.list()}
        herald = tasks.create_task(_announce(app, former))
        await work.run()
        herald.cancel()
    note("the worker has stopped")


def _pages(app: Stepwell, web: int | None) -> AbstractAsyncContextManager[None]:
    """The web interface, on a socket of the process that has begun this one."""
    if web is None:
        return nullcontext()
    from stepwell.cli.serving import serving  # noqa: PLC0415  # seldom

    listening = socket.socket(fileno=web)
    return serving(app, listening, str(listening.getsockname()[0]))


async def _announce(app: Stepwell, former: Collection[str]) -> None:
    """Say what the worker of this process is and has, as soon as others see it."""
    while True:
        with suppress(DatabaseUnavailable):  # the worker tries again, too, or says that it gives up
            for state in await app.workers.list():
                if (state.host, state.pid) == (socket.gethostname(), os.getpid()) and state.id not in former:
                    note(f"worker {state.name} is ready: {', '.join(sorted(state.definitions))} ({shown_url(app.database_url)})")
                    return
        await asyncio.sleep(_LOOK_EVERY)


# -- what it says meanwhile


def compact_logs() -> None:
    """Write log records of INFO and above to stderr, a line each; unless the user's code has said where they go."""
    root = logging.getLogger()
    if root.handlers:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(Compact())
    root.addHandler(handler)
    root.setLevel(logging.INFO)


class Compact(logging.Formatter):
    """`12:30:01 INFO    pay 019ab2f4-18c2-7a01 [charge] charging amount=5`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(source)s %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """The record on one line, and below it its traceback, if there is one."""
        run_id, step = getattr(record, "run_id", None), getattr(record, "step", None)
        words = [record.name.removeprefix(_WORKFLOWS)]
        words += [str(run_id)[:_ENOUGH_OF_ID]] if run_id else []
        words += [f"[{step}]"] if step else []
        record.source = " ".join(words)
        return printable(super().format(record))
