"""A real pgbouncer in front of a server, which gives a connection to whoever begins a transaction, and takes it back at the end of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg

from tests.postgres.keeping import WITHIN, keep, soon
from tests.postgres.places import free_port, give, new_folder
from tests.postgres.server import Server

ABSENT: Final = "no pgbouncer on this machine: scripts/test_services.sh installs it where it can (`apt-get install pgbouncer`)"

IGNORED: Final = "extra_float_digits,options"
"""Parameters of a connection that pgbouncer refuses unless it is told to ignore them."""


def program() -> str | None:
    """Where it is, also for users without the folder for administrators on their path."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")


@contextmanager
def pgbouncer(server: Server, *, connections: int = 20, ignoring: str = "") -> Iterator[str]:
    """The URL of a pooler in transaction mode, with so many connections to each database; `/postgres` is its path, as of the server's URL.

    Raises:
        LookupError: there is no pgbouncer on this machine; it says how to get it.
        RuntimeError: it does not start; with what it has said.
    """
    found = program()
    if found is None:
        raise LookupError(ABSENT)
    with new_folder() as folder:
        port = free_port()
        settings = folder / "pgbouncer.ini"
        users = folder / "users"
        users.write_text(f'"postgres" "{server.password}"\n')
        settings.write_text(f"""
            [databases]
            * = host={server.host} port={server.port}
            [pgbouncer]
            listen_addr = 127.0.0.1
            listen_port = {port}
            unix_socket_dir =
            auth_type = scram-sha-256
            auth_file = {users}
            pool_mode = transaction
            default_pool_size = {connections}
            max_client_conn = 1000
            ignore_startup_parameters = {ignoring}
            """)
        for file in (users, settings):
            file.chmod(0o600)
            give(file)
        url = f"postgresql://postgres:{server.password}@127.0.0.1:{port}/postgres"
        kept = keep([found, "-q", settings], folder)
        try:
            if not soon(lambda: kept.poll() is not None or _answers(url)) or kept.poll() is not None:
                raise RuntimeError(f"pgbouncer does not start:\n{(folder / 'log').read_text()}")
            yield url
        finally:
            assert kept.stdin is not None
            kept.stdin.close()
            kept.wait(WITHIN)


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True
