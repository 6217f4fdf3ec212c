"""The command line as tests call it: in this process, or as processes of its own that are signalled and killed for real."""

from __future__ import annotations

import json
import os
import pty
import queue
import re
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from stepwell.cli import main

WITHIN = 120.0
"""Seconds in which a process says what is expected of it, on a busy machine."""

FLOWS = """
from stepwell import Logger, Step, workflow

@workflow
async def greet(name: str, step: Step, logger: Logger) -> str:
    logger.info("greeting", who=name)
    return await step.run("say", lambda: f"Hello {name}")

@workflow
async def fail(step: Step) -> None:
    def break_down() -> None:
        raise ValueError("no funds")
    await step.define("charge", break_down, retry=Retry.never()).run()

@workflow(queue="slow")
async def wait_long(step: Step) -> str:
    await step.sleep("nap", "1h")
    return "awake"
""".replace("Step, workflow", "Retry, Step, workflow")


class Answer(NamedTuple):
    """What a command has left."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """Its one JSON document."""
        return json.loads(self.out)


Call = Callable[..., Answer]
"""Calls the command line in this process."""


def called(capture: Any, *arguments: str) -> Answer:
    capture.readouterr()
    code = main(arguments)
    out, err = capture.readouterr()
    return Answer(code, out, err)


class Command:
    """The command line in a process of its own; killed at the end, if it has not ended.

    With `columns` it has a terminal that is so wide.
    """

    def __init__(self, *arguments: str, cwd: Path, columns: int | None = None) -> None:
        self.said: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        ours, theirs = os.pipe() if columns is None else pty.openpty()
        if columns is not None:
            termios.tcsetwinsize(theirs, (60, columns))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "stepwell", *arguments],
            cwd=cwd,
            env=os.environ | {"PYTHONUNBUFFERED": "1", "TERM": "xterm-256color"},
            start_new_session=True,
            stdin=subprocess.DEVNULL if columns is None else theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        self._ours = ours
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        rest = b""
        while more := self._read_some():
            # What is drawn anew on a terminal begins with a return, without a new line.
            *lines, rest = re.split(rb"[\r\n]+", rest + more)
            for line in lines:
                self._lines.put(line.decode())
        if rest:
            self._lines.put(rest.decode())
        self._lines.put(None)

    def _read_some(self) -> bytes:
        try:
            return os.read(self._ours, 65536)
        except OSError:  # a terminal that nobody has open any more
            return b""

    def types(self, line: str) -> None:
        """Type a line on its terminal."""
        os.write(self._ours, line.encode() + b"\n")

    def says(self, text: str) -> str:
        """Wait for a line with this in it."""
        while True:
            try:
                line = self._lines.get(timeout=WITHIN)
            except queue.Empty:
                line = None
            if line is None:
                raise AssertionError(f"it did not say {text!r}, but:\n" + "\n".join(self.said))
            self.said.append(line)
            if text in line:
                return line

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ends(self) -> int:
        """Wait for its end; the exit code. What it has said until then is in `said`."""
        code = self.process.wait(WITHIN)
        self._reader.join(WITHIN)
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
        self._reader.join(WITHIN)
        os.close(self._ours)
