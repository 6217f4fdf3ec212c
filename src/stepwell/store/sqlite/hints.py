"""Hints between the processes that have one file open: a unix datagram to each after a commit.

Every process binds a socket beside the file. Where that cannot be done (no unix sockets, a directory that cannot be written to) nobody
is told, and everything works all the same, by looking once a second. A socket that refuses is one whose process has ended: the kernel
knows, whichever container it was in. Whoever meets it so renames it, and the new name stays as the sign of that. A socket that is missing
is no sign: somebody may have tidied up.
"""

from __future__ import annotations

import asyncio
import contextlib
import glob
import logging
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final

from stepwell.store.port import Hint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

log = logging.getLogger(__name__)

MAX_PATH: Final = 100
"""Bytes of a socket's path: systems allow 104 to 108."""

LOOKS: Final = 64
"""Sends for which a directory that has changed is read: what comes within one tick of the file system's clock leaves its time as it is."""

_LETTERS: Final = {Hint.READY: b"r", Hint.DUE: b"d", Hint.NOTICE: b"n", Hint.ENDED: b"e"}
_SUFFIX: Final = ".sock"
_GONE: Final = ".gone"
_KEPT: Final = 24 * 3600.0
"""Seconds for which the signs of ended processes are kept: long after the leases that they cut short."""

_HINTS: Final = {letter[0]: hint for hint, letter in _LETTERS.items()}


class Datagrams:
    """One process's socket beside a file, on the running event loop."""

    def __init__(self, path: str, told: Callable[[set[Hint]], None]) -> None:
        self._told = told
        self._loop = asyncio.get_running_loop()
        self._process = os.getpid()
        self._directory = Path(path).resolve().parent
        self._folder: int | None = None  # for directories with long names
        self._socket: socket.socket | None = None
        self.name: str | None = None
        """The socket's file, in the directory of the database; None: there is none, and nobody can tell us anything."""
        self._prefix = f"{Path(path).name}-"
        self._peers: list[str] = []
        self._seen: int | None = None  # when the directory had last changed, the last time that we looked
        self._looks = 0
        self._bind(f"{self._prefix}{os.getpid():x}-{id(self) & 0xFFFFFF:06x}{_SUFFIX}")

    def _bind(self, name: str) -> None:
        try:
            if len(os.fsencode(self._directory / name)) > MAX_PATH:
                self._folder = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
            bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                bound.setblocking(False)
                bound.bind(self._path(name))
                self._loop.add_reader(bound, self._receive)
            except BaseException:
                bound.close()
                raise
        except (AttributeError, NotImplementedError, OSError) as error:
            log.debug("no hints between processes: %s", error)
            return
        self._socket, self.name = bound, name
        self._tidy_up()

    def _tidy_up(self) -> None:
        """Take old signs away. The time is that of the file system."""
        with contextlib.suppress(OSError):  # others do the same
            now = (self._directory / (self.name or "")).lstat().st_mtime
            for sign in self._directory.glob(f"{glob.escape(self._prefix)}*{_GONE}"):
                if now - sign.lstat().st_mtime > _KEPT:
                    sign.unlink()

    def _path(self, name: str) -> str:
        if self._folder is not None:
            return f"/proc/self/fd/{self._folder}/{name}"
        return str(self._directory / name)

    def send(self, hints: Iterable[Hint]) -> None:
        """Tell all other processes that have the file open."""
        if self._socket is None:
            return
        message = b"".join(_LETTERS[hint] for hint in hints)
        for peer in self._others():
            try:
                self._socket.sendto(message, self._path(peer))
            except ConnectionRefusedError:
                self._mark_gone(peer)  # what a process has left that was killed
            except OSError as error:  # full: it has much to read already
                log.debug("no hint to %s: %s", peer, error)

    def _others(self) -> list[str]:
        changed = self._directory.stat().st_mtime_ns
        if changed != self._seen:
            self._seen, self._looks = changed, LOOKS
        if self._looks:
            self._looks -= 1
            names = (entry.name for entry in os.scandir(self._directory))
            self._peers = [name for name in names if name.startswith(self._prefix) and name.endswith(_SUFFIX) and name != self.name]
        return self._peers

    def is_gone(self, peer: str) -> bool:
        """Whether the process of this socket is known to have ended: it refuses, or did so before."""
        if self.name is None:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
                probe.connect(self._path(peer))
        except ConnectionRefusedError:
            return True
        except FileNotFoundError:
            return os.path.lexists(self._directory / f"{peer}{_GONE}")
        except OSError as error:
            log.debug("cannot tell whether %s lives: %s", peer, error)
        return False

    def _mark_gone(self, peer: str) -> None:
        with contextlib.suppress(OSError):  # others do the same
            sign = (self._directory / peer).rename(self._directory / f"{peer}{_GONE}")
            os.utime(sign)

    def _receive(self) -> None:
        hints: set[Hint] = set()
        with contextlib.suppress(OSError):  # nothing more is there
            while self._socket is not None:
                hints.update(_HINTS[letter] for letter in self._socket.recv(64) if letter in _HINTS)
        if hints:
            self._told(hints)

    def close(self) -> None:
        """Take the socket away."""
        if self._socket is not None and os.getpid() == self._process:
            with contextlib.suppress(RuntimeError):  # the loop has been closed before us
                self._loop.remove_reader(self._socket)
            self._socket.close()
            with contextlib.suppress(OSError):
                (self._directory / (self.name or "")).unlink()
        if self._folder is not None:
            os.close(self._folder)
        self._socket = self._folder = self.name = None
