"""A wire to a server that notices each commit on it, and at a chosen one does something: before it gets there, or after it was confirmed
and before the client hears of it. Speaks PostgreSQL's protocol just enough for that.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Literal, Self
from urllib.parse import urlsplit

Side = Literal["before", "after"]

ENCRYPTION: Final = (80877103, 80877104)
"""What a client sends first to ask for encryption, with TLS or GSSAPI. The servers of tests have neither."""

ABORT: Final = struct.pack("ii", 1, 0)
"""To close at once: the other end is told of an error, and what was not sent yet is lost."""


class Wire:
    """Leads to the server of a URL; `url` leads to the wire. From `arm` on, it counts what may commit.

    That is a COMMIT, or a statement outside of a transaction. At the chosen number, `act` is called with the link on which it is.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname or "127.0.0.1", parts.port or 5432)
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.url = parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{port}").geturl()
        self.commits = 0
        self._lock = threading.Lock()
        self._number = 0
        self._side: Side = "before"
        self._act: Callable[[Link], None] = Link.cut
        self._links: list[Link] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def arm(self, number: int, side: Side, act: Callable[[Link], None] | None = None) -> None:
        """Count from here, and do this at the n-th commit, or cut its link."""
        with self._lock:
            self.commits, self._number, self._side = 0, number, side
            self._act = act or Link.cut

    def passes(self, link: Link) -> bool:
        """A commit is on its way. Whether something is to be done after it."""
        with self._lock:
            self.commits += 1
            chosen = self.commits == self._number
        if chosen and self._side == "before":
            self._act(link)
        return chosen and self._side == "after"

    def returns(self, link: Link) -> None:
        """The one after which something is to be done is confirmed."""
        self._act(link)

    def _accept(self) -> None:
        # Ends when the listener is closed.
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._links.append(Link(self, client, socket.create_connection(self._server)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()
        for link in self._links:
            link.cut()
            link.join()


class Link:
    """One client's connection, in two threads: one for each way."""

    def __init__(self, wire: Wire, client: socket.socket, server: socket.socket) -> None:
        self._wire = wire
        self._client = client
        self._server = server
        self._idle = True
        self._marked = False
        for end in (client, server):
            # Each message is sent as it comes, and the system is not to wait for more.
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._threads = [threading.Thread(target=self._run, args=(way,), daemon=True) for way in (self._there, self._back)]
        for thread in self._threads:
            thread.start()

    def cut(self) -> None:
        """Both ends are told that it is broken."""
        for end in (self._client, self._server):
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def join(self) -> None:
        """Wait until it is gone."""
        for thread in self._threads:
            thread.join()

    def _run(self, way: Callable[[], None]) -> None:
        # An end that has gone takes the other with it.
        with suppress(OSError, EOFError):
            way()
        self.cut()

    def _there(self) -> None:
        self._greet()
        while True:
            kind, message = self._message(self._client)
            # A statement is over with a sync, except a simple one, which BEGIN and COMMIT are.
            commits = message[5:11].upper() == b"COMMIT" if kind == b"Q" else kind == b"S" and self._idle
            if commits:
                self._marked = self._wire.passes(self)
            self._server.sendall(message)

    def _back(self) -> None:
        while True:
            kind, message = self._message(self._server)
            if kind == b"Z":
                self._idle = message[5:6] == b"I"
                if self._marked:
                    self._marked = False
                    self._wire.returns(self)
            self._client.sendall(message)

    def _greet(self) -> None:
        """What a client says first has no kind; and it may ask for encryption before."""
        while True:
            length = self._exactly(self._client, 4)
            rest = self._exactly(self._client, int.from_bytes(length) - 4)
            if int.from_bytes(rest[:4]) not in ENCRYPTION:
                self._server.sendall(length + rest)
                return
            # No server of ours would agree; so it need not be asked.
            self._client.sendall(b"N")

    def _message(self, end: socket.socket) -> tuple[bytes, bytes]:
        head = self._exactly(end, 5)
        return head[:1], head + self._exactly(end, int.from_bytes(head[1:]) - 4)

    def _exactly(self, end: socket.socket, count: int) -> bytes:
        read = b""
        while len(read) < count:
            more = end.recv(count - len(read))
            if not more:
                raise EOFError
            read += more
        return read
