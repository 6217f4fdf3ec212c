"""Many workers, each a fork of this process: `python -m tests.faults.fleet FOLDER RELEASE NUMBER`.

Upon `replace` on its input, the oldest is killed and another one started; upon `end`, all are told to stop.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Final

from tests.faults.processes import say
from tests.faults.scheduled import work

LEASE: Final = "3s"


class Fleet:
    """The workers that live, the oldest first. They end with this process, however it ends."""

    def __init__(self, folder: Path, release: str) -> None:
        self._folder = folder
        self._release = release
        self._held, self._holds = os.pipe()
        self._workers: list[int] = []

    def start(self) -> None:
        """One more."""
        child = os.fork()
        if child:
            self._workers.append(child)
            return
        os.close(self._holds)
        threading.Thread(target=self._end_with_parent, daemon=True).start()
        try:
            asyncio.run(work(self._folder, self._release, lease=LEASE))
        finally:
            os._exit(1 if sys.exc_info()[0] else 0)

    def _end_with_parent(self) -> None:
        os.read(self._held, 1)
        os._exit(1)

    def replace(self) -> None:
        """Kill the oldest, and start another."""
        killed = self._workers.pop(0)
        os.kill(killed, signal.SIGKILL)
        self.start()
        os.waitpid(killed, 0)

    def end(self) -> bool:
        """Tell all of them to stop; whether each has."""
        for worker in self._workers:
            os.kill(worker, signal.SIGTERM)
        return all(os.waitpid(worker, 0)[1] == 0 for worker in self._workers)


def main(folder: str, release: str, number: str) -> None:
    fleet = Fleet(Path(folder), release)
    for _ in range(int(number)):
        fleet.start()
    for line in sys.stdin:
        if line == "replace\n":
            fleet.replace()
        else:
            say("have all stopped" if fleet.end() else "some were ended")


if __name__ == "__main__":
    main(*sys.argv[1:])
