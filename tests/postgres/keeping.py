"""Runs the programs of servers, as whoever may run them, and looks after their processes. Knows none of them by name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from tests.postgres import keeper
from tests.postgres.places import user

WITHIN: Final = 60.0
"""Seconds in which a server starts or stops, on a busy machine."""


def keep(
    command: Sequence[object], folder: Path, *, through: Sequence[str] = (), held_by: IO[bytes] | None = None
) -> subprocess.Popen[bytes]:
    """Start this server in its folder, where its output goes to `log`; what is returned ends when it does.

    The server ends with this process, however this ends. If a pipe is given, it ends with those who hold its other end, and its
    folder is removed then: nobody else may be left to do it.
    """
    own = [sys.executable, "-I", keeper.__file__, user() or "", folder if held_by else ""]
    with (folder / "log").open("ab") as log:
        kept = subprocess.Popen(
            [*through, *map(str, own), *map(str, command)],
            cwd=folder,
            env=environment(),
            stdin=held_by or subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    (folder / "keeper").write_text(str(kept.pid))
    return kept


def run(command: Sequence[object], folder: Path, *, through: Sequence[str] = ()) -> None:
    """Run this program to its end.

    Raises:
        RuntimeError: it failed; with what it has said.
    """
    name = user()
    ended = subprocess.run(
        [*through, *map(str, command)],
        user=name,
        extra_groups=[] if name else None,
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=WITHIN,
        check=False,
    )
    if ended.returncode:
        raise RuntimeError(f"{command[0]} failed in {folder}:\n{ended.stdout}{ended.stderr}")


def environment() -> dict[str, str]:
    """What the programs may know of ours: no PGDATA, PGPORT or the like."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}


def children(pid: int) -> list[int]:
    """Of this process, where the system tells."""
    told = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in told.read_text().split()] if told.exists() else []


def kill(pid: int) -> None:
    """Kill it, if it is still there."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def wait_for_end(pid: int) -> None:
    """Wait until this process is gone.

    Raises:
        TimeoutError: it stays.
    """
    if not soon(lambda: not _alive(pid)):
        raise TimeoutError(f"process {pid} has not ended")


def soon(condition: Callable[[], bool], within: float = WITHIN) -> bool:
    """Whether it comes to hold in time."""
    pause = threading.Event()
    for _ in range(int(within / 0.01)):
        if condition():
            return True
        pause.wait(0.01)
    return False


def _alive(pid: int) -> bool:
    """Whether it runs: one whose end its parent has not noticed does not, where the system tells."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat")
        return not state.exists() or state.read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
