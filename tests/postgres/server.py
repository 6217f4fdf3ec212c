"""PostgreSQL servers of our own: made, started, stopped, killed, copied to a standby and promoted. Knows nothing of pytest."""

from __future__ import annotations

import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Final, Literal, Self
from urllib.parse import quote, urlencode

import psycopg

from tests.postgres import keeper
from tests.postgres.binaries import ABSENT, Binaries, binaries, runnable, user

WITHIN: Final = 60.0
"""Seconds in which a server starts or stops, on a busy machine."""

ROOM: Final = 2 * 2**30
"""Bytes that must be free in memory for a server to have its data there."""

# Below those that systems give to outgoing connections: a server that is down finds its port free when it is started again.
PORTS: Final = range(20_000, 32_000)

Mode = Literal["smart", "fast", "immediate"]
"""How a server stops: when all clients have left, when they have been sent away, or as if it had crashed."""

SIGNALS: Final[Mapping[Mode, signal.Signals]] = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}

SETTINGS: Final = {
    "max_connections": "200",
    "shared_buffers": "128MB",
    "jit": "off",
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
        _give(secret)
        self._run(
            "initdb", "-D", self.data, "-U", "postgres", "-E", "UTF8", "--no-locale", "-N", "-A", "scram-sha-256", f"--pwfile={secret}"
        )
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
        # The folder of a server that is held by others must vanish with them; ours is removed by whoever made it.
        command = [sys.executable, "-I", keeper.__file__, user() or "", str(self.folder) if held_by else ""]
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        with (self.folder / "log").open("ab") as log:
            self._keeper = subprocess.Popen(
                [*self._through, *command, self.programs["postgres"], "-D", str(self.data)],
                cwd=self.folder,
                env=_environment(),
                stdin=held_by or subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        (self.folder / "keeper").write_text(str(self._keeper.pid))
        if not _soon(lambda: not self.running or self._state() in {"ready", "standby"}) or not self.running:
            raise RuntimeError(f"PostgreSQL in {self.folder} does not start:\n{self.log}")

    def stop(self, mode: Mode = "fast") -> None:
        """Stop it, and wait until it is gone. What is not running is left alone."""
        if self.running:
            os.kill(self.pid, SIGNALS[mode])
        self._gone()

    def kill(self) -> None:
        """Kill it and each of its processes at once, as a loss of power does."""
        whole = [self.pid, *_children(self.pid)]
        os.kill(self.pid, signal.SIGSTOP)
        for pid in {*whole, *_children(self.pid)}:
            _kill(pid)
        self._gone()
        for pid in whole:
            wait_for_end(pid)

    def restart(self, mode: Mode = "fast") -> None:
        """Stop it, and start it again."""
        self.stop(mode)
        self.start()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """None of its processes does anything meanwhile; the system goes on accepting connections for it."""
        whole = [self.pid, *_children(self.pid)]
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
        self._run("pg_basebackup", "-D", standby.data, "-d", source, "-c", "fast", "-X", "stream", "-R", "-N")
        standby.configure(synchronous_standby_names="")
        return standby

    def promote(self) -> None:
        """Let a standby be a primary, and wait until it is."""
        assert self.execute("SELECT pg_promote(true, 60)") == [(True,)]

    # ---------------------------------------------------------------------------------------------------------- insides

    @property
    def pid(self) -> int:
        """Of its first process."""
        return int((self.data / "postmaster.pid").read_text().split("\n")[0])

    def _state(self) -> str:
        """What it writes of itself: `starting`, `ready`, `standby`, `stopping`, or nothing yet."""
        path = self.data / "postmaster.pid"
        lines = path.read_text().split("\n") if path.exists() else []
        return lines[7].strip() if len(lines) > 7 else ""

    def _gone(self) -> None:
        if self._keeper is not None:
            self._keeper.wait(WITHIN)
            if self._keeper.stdin is not None:
                self._keeper.stdin.close()
            self._keeper = None

    def _run(self, program: str, *arguments: object) -> None:
        command = [*self._through, self.programs[program], *map(str, arguments)]
        ended = subprocess.run(
            command, user=user(), extra_groups=[] if user() else None, cwd=self.folder, env=_environment(),
            capture_output=True, text=True, timeout=WITHIN, check=False,
        )  # fmt: skip
        if ended.returncode:
            raise RuntimeError(f"{program} failed in {self.folder}:\n{ended.stdout}{ended.stderr}")

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
    _give(folder)
    return folder


def wait_for_end(pid: int) -> None:
    """Wait until this process is gone.

    Raises:
        TimeoutError: it stays.
    """
    if not _soon(lambda: not _alive(pid)):
        raise TimeoutError(f"process {pid} has not ended")


def free_port(host: str = "127.0.0.1") -> int:
    """A port on which nobody listens."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _give(path: Path) -> None:
    if name := user():
        shutil.chown(path, name)


def _environment() -> dict[str, str]:
    """What the programs may know of ours: no PGDATA, PGPORT or the like."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}


def _children(pid: int) -> list[int]:
    """Of this process, where the system tells."""
    told = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in told.read_text().split()] if told.exists() else []


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _alive(pid: int) -> bool:
    """Whether it runs: one whose end its parent has not noticed does not, where the system tells."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat")
        return not state.exists() or state.read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _soon(condition: Any, within: float = WITHIN) -> bool:
    """Whether it comes to hold in time."""
    pause = threading.Event()
    for _ in range(int(within / 0.01)):
        if condition():
            return True
        pause.wait(0.01)
    return False
