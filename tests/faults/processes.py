"""Programs in processes of their own, which tests listen to, signal and kill for real. What they do is theirs."""

from __future__ import annotations

import asyncio
import inspect
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from time import sleep
from types import TracebackType
from typing import Any, Final, Self

from tests.faults.databases import Database

LIVES: Final = 280.0
"""Seconds in which a program does the same dozens of times, with a new process each time."""

ROOT: Final = Path(__file__).parents[2]

WITHIN: Final = 120.0
"""Seconds in which a process does what is expected of it, on a busy machine."""


class Program:
    """A module of ours in a process of its own; killed at the end, if it has not ended.

    Its output is listened to line by line, what it says to stderr is kept, and its input is a pipe. `through` is a command that runs it.
    """

    def __init__(self, module: str, *arguments: object, through: Sequence[str] = ()) -> None:
        self.said: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._errors: list[str] = []
        self.process = subprocess.Popen(
            [*through, sys.executable, "-m", f"tests.faults.{module}", *map(str, arguments)],
            cwd=ROOT,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._readers = [threading.Thread(target=self._listen), threading.Thread(target=self._keep_errors)]
        for reader in self._readers:
            reader.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def _keep_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._errors.append(line)

    @property
    def errors(self) -> str:
        """What it has said to stderr; all of it once it has ended."""
        return "".join(self._errors)

    def says(self, text: str) -> str:
        """Wait for a line with this in it."""
        while True:
            try:
                line = self._lines.get(timeout=WITHIN)
            except queue.Empty:
                line = None
            if line is None:
                raise AssertionError(f"it did not say {text!r}, but:\n" + "\n".join(self.said) + "\n" + self.errors)
            self.said.append(line)
            if text in line:
                return line

    async def says_meanwhile(self, text: str) -> str:
        """As `says`, for tests with a worker on their own event loop, which goes on."""
        return await asyncio.to_thread(self.says, text)

    def tell(self, line: str) -> None:
        """Write a line to its input."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def freeze(self, database: Database) -> None:
        """Stop it until SIGCONT, where it holds nothing that others would wait for."""
        while True:
            self.signal(signal.SIGSTOP)
            os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)
            if not database.is_held():
                return
            self.signal(signal.SIGCONT)
            sleep(0.01)

    def kill(self) -> None:
        """Kill it, and wait until it is gone."""
        self.process.kill()
        assert self.process.wait(WITHIN) == -signal.SIGKILL

    def ends(self, within: float = WITHIN) -> int:
        """Wait for its end; the exit code. All that it has said until then is in `said` and `errors`."""
        code = self.process.wait(within)
        for reader in self._readers:
            reader.join(WITHIN)
        while not self._lines.empty():
            line = self._lines.get()
            self.said += [] if line is None else [line]
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for reader in self._readers:
            reader.join(WITHIN)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


async def until(condition: Callable[[], Awaitable[Any] | bool], within: float = WITHIN, *, every: float = 0.005) -> None:
    """Wait until it holds, looking again and again."""
    async with asyncio.timeout(within):
        while True:
            holds = condition()
            if await holds if inspect.isawaitable(holds) else holds:
                return
            await asyncio.sleep(every)


def say(*words: object) -> None:
    """Tell the test that has started this process."""
    print(*words, flush=True)


def forked(function: Any, *arguments: Any) -> int:
    """Call this in a fork of this process, which has no threads yet; how it ended, as `os.waitstatus_to_exitcode` says it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            function(*arguments)
            code = 0
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            if code:
                sys.excepthook(*sys.exc_info())
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
