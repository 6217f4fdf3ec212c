"""Holds a database as a process does that mends what a killed one left in its index: `python -m tests.faults.holder FILE`.

The index is beside the file, in shared memory. Whoever finds its two headers unequal must mend it, and the others wait for the locks
on bytes 120 (of who writes) and 122 (of who mends). It lets go upon a line on its input.
"""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path
from typing import Final

from tests.faults.processes import say

LOCKS: Final = (120, 122)
COUNTER: Final = 8
"""Where the header has the number of its last change."""


def main(file: str) -> None:
    """Hold it, and leave it as it was."""
    with Path(f"{file}-shm").open("r+b", buffering=0) as index:
        for lock in LOCKS:
            fcntl.lockf(index, fcntl.LOCK_EX, 1, lock)
        header = index.read(COUNTER + 1)
        put(index.fileno(), header[COUNTER] ^ 0xFF)
        say("has it")
        sys.stdin.readline()
        put(index.fileno(), header[COUNTER])


def put(index: int, value: int) -> None:
    """Write this byte, in one go."""
    os.pwrite(index, bytes([value]), COUNTER)


if __name__ == "__main__":
    main(sys.argv[1])
