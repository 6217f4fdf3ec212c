"""PostgreSQL servers of our own: made, started, stopped, killed, copied to a standby and promoted. Knows nothing of pytest."""

from __future__ import annotations

import ctypes
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, Literal, Self
from urllib.parse import quote, urlencode

import psycopg

from tests.postgres.binaries import ABSENT, Binaries, binaries, runnable
from tests.postgres.keeping import WITHIN, children, keep, kill, run, soon, wait_for_end
from tests.postgres.places import free_port, give, new_folder

Mode = Literal["smart", "fast", "immediate"]
"""How a server stops: when all clients have left, when they have been sent away, or as if it had crashed."""

SIGNALS: Final[Mapping[Mode, signal.Signals]] = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}

IPC_RMID: Final = 0
"""Tells the system to take shared memory away."""

SETTINGS: Final = {
    "max_connections": "200",
    "shared_buffers": "128MB",
    "jit": "off",
    # Who connects and falls silent is in the way of CREATE and DROP DATABASE until then.
    "authentication_timeout": "5s",
    # In the folder of the server, which is thrown away: a server that is killed leaves it.
    "dynamic_shared_memory_type": "mmap",
    # The copy of a standby, and a test that kills its server, are about what was written: nothing is switched off there.
    "fsync": "on",
}

NOT_DURABLE: Final = {"fsync": "off", "full_page_writes": "off"}
"""For servers whose data need not outlive the machine. A commit is written as ever, and outlives the server."""


class Server:
    """One server, in a folder of its own that belongs to whoever runs it (`new_folder`): `data/`, `log`, and a socket.

    It listens on `host` too, on one port for all its life, asks for a password, and has one superuser, `postgres`. It ends with
    this process, however this ends; but if a pipe is given to `start`, then with those who hold its other end. `through` is a command
    that runs it.
    """

    def __init__(
        self,
        folder: Path,
        programs: Binaries,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        password: str | None = None,
        settings: Mapping[str, str] | None = None,
        through: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.programs = programs
        self.host = host
        self.port = port or free_port()
        self.password = password or secrets.token_hex(16)
        self.settings = SETTINGS | dict(settings or {})
        self._through = through
        self._keeper: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> str:
        """What it has said since it was made."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def running(self) -> bool:
        return self._keeper is not None and self._keeper.poll() is None

    def url(self, database: str = "postgres", *, by_socket: bool = False, **parameters: object) -> str:
        """Where a client finds it."""
        return url_of(self, database=database, by_socket=by_socket, **parameters)

    def execute(self, statement: str, *parameters: object, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Have it execute a statement, in a connection of its own and without a transaction; the rows, if it has any."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    # ------------------------------------------------------------------------------------------------- starts and stops

    def create(self) -> None:
        """Make its data: an empty cluster."""
        secret = self.folder / "password"
        secret.write_text(self.password)
        give(secret)
        access = ("--username=postgres", "--auth=scram-sha-256", f"--pwfile={secret}")
        run([self.programs["initdb"], "-D", self.data, "--encoding=UTF8", "--no-locale", "--no-sync", *access], self.folder)
        secret.unlink()
        self.configure()

    def configure(self, **settings: str) -> None:
        """Write its settings, and these from now on. They hold from its next start, many of them from `reload` on."""
        self.settings |= settings
        own = {"listen_addresses": self.host, "port": str(self.port), "unix_socket_directories": str(self.folder)}
        lines = [f"{name} = {_quoted(value)}\n" for name, value in (own | self.settings).items()]
        (self.data / "postgresql.conf").write_text("".join(lines))
        access = ["local all all", "host all all all", "host replication all all"]
        (self.data / "pg_hba.conf").write_text("".join(f"{line} scram-sha-256\n" for line in access))

    def reload(self) -> None:
        """Have it read its settings again; a connection soon after may still find the old ones."""
        os.kill(self.pid, signal.SIGHUP)

    def start(self, held_by: IO[bytes] | None = None) -> None:
        """Start it, and wait until it answers: as a standby, until it answers readers.

        Raises:
            RuntimeError: it does not start; with what it has said.
        """
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        self._keeper = keep([self.programs["postgres"], "-D", self.data], self.folder, through=self._through, held_by=held_by)
        if not soon(lambda: not self.running or self._line(7) in {"ready", "standby"}) or not self.running:
            raise RuntimeError(f"PostgreSQL in {self.folder} does not start:\n{self.log}")

    def stop(self, mode: Mode = "fast") -> None:
        """Stop it, and wait until it is gone. What is not running is left alone."""
        if self.running:
            os.kill(self.pid, SIGNALS[mode])
        self._gone()

    def kill(self) -> None:
        """Kill it and each of its processes at once, as a loss of power does."""
        whole = [self.pid, *children(self.pid)]
        memory = int(self._line(6).split()[1])
        os.kill(self.pid, signal.SIGSTOP)
        for pid in {*whole, *children(self.pid)}:
            kill(pid)
        self._gone()
        for pid in whole:
            wait_for_end(pid)
        # Its next start would take it away, but perhaps there is none.
        ctypes.CDLL(None).shmctl(memory, IPC_RMID, None)

    def restart(self, mode: Mode = "fast") -> None:
        """Stop it, and start it again."""
        self.stop(mode)
        self.start()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """None of its processes does anything meanwhile; the system goes on accepting connections for it."""
        whole = [self.pid, *children(self.pid)]
        for pid in whole:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in reversed(whole):
                os.kill(pid, signal.SIGCONT)

    # --------------------------------------------------------------------------------------------------------- standbys

    def base_backup(self, folder: Path, *, name: str = "standby", **options: Any) -> Server:
        """A standby of this server in another folder, not started: it follows as `name`, which `synchronous_standby_names` may say."""
        standby = Server(folder, self.programs, password=self.password, settings=self.settings, **{"host": self.host} | options)
        source = self.url("", application_name=name)
        command = [self.programs["pg_basebackup"], "-D", standby.data, "-d", source, "-c", "fast", "-X", "stream", "-R", "-N"]
        run(command, folder, through=self._through)
        standby.configure(synchronous_standby_names="")
        return standby

    def promote(self) -> None:
        """Let a standby be a primary, and wait until it is."""
        assert self.execute("SELECT pg_promote(true, 60)") == [(True,)]

    # ---------------------------------------------------------------------------------------------------------- insides

    @property
    def pid(self) -> int:
        """Of its first process."""
        return int(self._line(0))

    def _line(self, number: int) -> str:
        """What it writes of itself: first its process, in line 6 its shared memory, in line 7 `ready` or, of a standby, `standby`."""
        path = self.data / "postmaster.pid"
        lines = path.read_text().split("\n") if path.exists() else []
        return lines[number].strip() if len(lines) > number else ""

    def _gone(self) -> None:
        if self._keeper is not None:
            self._keeper.wait(WITHIN)
            if self._keeper.stdin is not None:
                self._keeper.stdin.close()
            self._keeper = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop("immediate")


def url_of(*servers: Server, database: str = "postgres", by_socket: bool = False, **parameters: object) -> str:
    """Where a client finds one of these servers, which have one password: `target_session_attrs="read-write"` finds the primary."""
    places = ",".join(f"{quote(str(each.folder), safe='') if by_socket else each.host}:{each.port}" for each in servers)
    said = f"?{urlencode(parameters)}" if parameters else ""
    return f"postgresql://postgres:{servers[0].password}@{places}/{database}{said}"


@contextmanager
def new_server(*, settings: Mapping[str, str] | None = None, **options: Any) -> Iterator[Server]:
    """A running server with nothing in it, which is thrown away afterwards. Its commits are durable, unless NOT_DURABLE is given.

    Raises:
        LookupError: there is no PostgreSQL on this machine; it says how to get one.
    """
    found = binaries()
    if found is None:
        raise LookupError(ABSENT)
    with new_folder() as folder:
        server = Server(folder, runnable(found), settings=settings, **options)
        server.create()
        with server:
            yield server


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
