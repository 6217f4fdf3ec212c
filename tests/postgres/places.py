"""Where servers have their folders and ports, and who runs them. Starts nothing."""

from __future__ import annotations

import os
import pwd
import random
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ROOM: Final = 2 * 2**30
"""Bytes that must be free in memory for servers to have their data there."""

# Below those that systems give to outgoing connections: a server that is down finds its port free when it is started again.
PORTS: Final = range(20_000, 32_000)


def user() -> str | None:
    """Who runs servers, if it is not us: neither PostgreSQL nor pgbouncer lets root run it."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


@contextmanager
def new_folder() -> Iterator[Path]:
    """A folder for a server, in memory if there is room; it belongs to whoever runs servers, and is removed afterwards."""
    folder = make_folder()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def make_folder() -> Path:
    """The same, for whoever removes it."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > ROOM
    folder = Path(tempfile.mkdtemp(prefix="stepwell-postgres-", dir=memory if roomy else None))
    give(folder)
    return folder


def give(path: Path) -> None:
    """Let it belong to whoever runs servers."""
    if name := user():
        shutil.chown(path, name)


def free_port(host: str = "127.0.0.1") -> int:
    """A port of this address on which nobody listens."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
