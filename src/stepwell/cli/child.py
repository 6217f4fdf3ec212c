"""Workers in child processes: how one is begun, told to stop, and leaves when its parent is gone.

A child is a fresh interpreter, in a process group of its own: a Ctrl+C on the terminal reaches the parent alone, which passes it on once.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from stepwell.cli.command import Place

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Callable, Iterator

_OWN_GROUP: Final[dict[str, Any]] = (
    {"process_group": 0} if os.name == "posix" else {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """What a worker was asked to be, as it is handed on to a child."""

    target: str
    place: Place
    concurrency: int
    queues: tuple[str, ...]
    lease: str
    grace: str
    name: str | None
    show_traceback: bool
    web: int | None = None
    """The number of the socket on which it serves the web interface; None: it serves none."""

    def command_line(self, *more: str) -> list[str]:
        """What begins a child like this."""
        # With -P the interpreter does not take a file of the current directory for one of the standard library, or for Stepwell.
        line = [sys.executable, "-P", "-m", "stepwell", "worker", "--supervised", "--concurrency", str(self.concurrency)]
        line += ["--lease", self.lease, "--grace", self.grace]
        for option, value in (("--database", self.place.database), ("--namespace", self.place.namespace), ("--name", self.name)):
            line += [] if value is None else [option, value]
        for queue in self.queues:
            line += ["--queue", queue]
        line += ["--traceback"] if self.show_traceback else []
        line += [] if self.web is None else ["--web", str(self.web)]
        return [*line, *more, "--", self.target]


async def begin(options: WorkerOptions) -> Process:
    """Begin a worker in a child process. Its standard input is held open for as long as this process lives."""
    options_of_child: dict[str, Any] = {**_OWN_GROUP, **_handed_on(options)}
    return await asyncio.create_subprocess_exec(*options.command_line(), stdin=subprocess.PIPE, **options_of_child)


def _handed_on(options: WorkerOptions) -> dict[str, Any]:
    """How the child gets the socket. This process holds it, too: whoever connects while one child follows another waits for the next."""
    if options.web is None:
        return {}
    if os.name == "posix":
        return {"pass_fds": (options.web,)}
    os.set_handle_inheritable(options.web, True)  # type: ignore[attr-defined,unused-ignore]  # only Windows has it
    return {"close_fds": False}


def stop(process: Process) -> None:
    """Ask a child to leave: the first time when its steps have ended, the second time now. It may have ended already."""
    if process.returncode is None:
        try:
            process.terminate()
        except ProcessLookupError:
            return  # it has just ended; whoever waits for it will see


def how_it_ended(code: int) -> str:
    """`with exit code 1`, `by SIGKILL`."""
    if code >= 0:
        return f"with exit code {code}"
    try:
        return f"by {signal.Signals(-code).name}"
    except ValueError:
        return f"by signal {-code}"


@contextmanager
def on_signals(told: Callable[[], None]) -> Iterator[None]:
    """Be told of each SIGINT and SIGTERM, from a callback of the running loop, instead of being interrupted by them."""
    loop = asyncio.get_running_loop()
    former = {number: signal.signal(number, lambda *_: loop.call_soon_threadsafe(told)) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def leave_with_parent() -> None:
    """In a child: stop as upon SIGTERM when the parent is gone, however it went."""

    def watch() -> None:
        # Read past Python's own buffer: at the end of the interpreter it must not be locked by this thread.
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="stepwell-parent", daemon=True).start()
