"""The demo's child processes: the mail server, and the workers, of which one is killed. Each is watched for as long as it lives."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

ROOT: Final = Path(__file__).parents[2]
"""The checkout: from there the children import the examples."""

_OWN_GROUP: Final[dict[str, Any]] = {} if sys.platform == "win32" else {"process_group": 0}
"""A Ctrl+C on the terminal reaches the demo alone, which takes its children with it."""

_GRACE: Final = 5.0
"""Seconds in which a process ends that was asked to."""


class ProcessEnded(Exception):
    """A process has ended that should have lived."""


class MailServer:
    """The mail server."""

    def __init__(self, process: Process, told: Callable[[int], None]) -> None:
        self.process = process
        self.address = ""
        self._told = told
        self._reached = -1
        self._changed = asyncio.Condition()

    async def listens(self) -> None:
        """Wait until it can be reached, at `address`."""
        await self.reached(0)

    async def reached(self, count: int) -> None:
        """Wait until so many recipients have got mail."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._reached >= count)

    async def watch(self) -> None:
        """Follow what it says, its port and then numbers of recipients, until it is canceled. Raises ProcessEnded."""
        async for line in _lines(self.process):
            async with self._changed:
                if not self.address:
                    self.address, self._reached = f"127.0.0.1:{line}", 0
                else:
                    self._reached = int(line)
                    self._told(self._reached)
                self._changed.notify_all()
        raise ProcessEnded(f"the mail server has ended with exit code {await self.process.wait()}")


@asynccontextmanager
async def mail_server(journal: Path, told: Callable[[int], None]) -> AsyncIterator[MailServer]:
    """A mail server that keeps what it receives in the journal, and tells with each mail how many recipients have got one."""
    async with _process("examples.demo.mail_server", str(journal), stdin=PIPE) as process:
        server = MailServer(process, told)
        async with _watched(server.watch()):
            await server.listens()
            yield server


class Worker:
    """A worker: the command line's, in a process of its own."""

    def __init__(self, name: str, process: Process, told: Callable[[str], None]) -> None:
        self.name = name
        self.process = process
        self._told = told
        self._killed = False

    async def kill(self) -> None:
        """Kill it, as a power cut would, and wait until nothing is left of it."""
        self._killed = True
        self.process.kill()
        await self.process.wait()

    async def watch(self) -> None:
        """Hand on what it says until its end. Raises ProcessEnded: nobody has killed it."""
        async for line in _lines(self.process):
            self._told(line)
        code = await self.process.wait()
        if not self._killed:
            raise ProcessEnded(f"{self.name} has ended with exit code {code}")


@asynccontextmanager
async def worker(name: str, database_url: str, environment: dict[str, str], told: Callable[[str], None]) -> AsyncIterator[Worker]:
    """A worker for the bulk mail workflow, and what it says, line by line."""
    arguments = ["worker", "examples.bulk_mail", "--database", database_url, "--name", name]
    async with _process("stepwell", *arguments, stdin=DEVNULL, stderr=STDOUT, env=environment) as process:
        begun = Worker(name, process, told)
        async with _watched(begun.watch()):
            yield begun


@asynccontextmanager
async def _process(module: str, *arguments: str, **options: Any) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", module, *arguments, stdout=PIPE, cwd=ROOT, **_OWN_GROUP, **options)
    try:
        yield process
    finally:
        await _end(process)


async def _end(process: Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(_GRACE):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


@asynccontextmanager
async def _watched(watch: Any) -> AsyncIterator[None]:
    """Follow the process meanwhile; when it ends of itself, so does what is done with it."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(watch)
        yield
        task.cancel()


async def _lines(process: Process) -> AsyncIterator[str]:
    while process.stdout and (line := await process.stdout.readline()):
        yield line.decode(errors="replace").rstrip()
