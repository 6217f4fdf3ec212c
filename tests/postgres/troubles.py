"""What happens to servers in real life, short of their end: clients sent away, no connection left, nothing but reading."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg

from tests.postgres.keeping import soon
from tests.postgres.server import Server

OTHERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"


def send_away(server: Server) -> int:
    """End each connection that a client has; how many there were."""
    return len(server.execute(OTHERS))


@contextmanager
def sending_away(server: Server, *, every: float = 1.0) -> Iterator[list[int]]:
    """All clients are sent away again and again, with so many seconds between; how many there were each time."""
    sent: list[int] = []
    over = threading.Event()

    def go_on() -> None:
        while not over.wait(every):
            sent.append(send_away(server))

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield sent
    finally:
        over.set()
        thread.join()


@contextmanager
def full(server: Server) -> Iterator[None]:
    """Each connection that the server allows, those for superusers as well, is another's: who was there is sent away.

    Give the server few of them (`max_connections`). Nobody can ask it anything meanwhile.
    """
    with ExitStack() as taken:
        others = taken.enter_context(psycopg.connect(server.url(), autocommit=True))
        ((most,),) = others.execute("SHOW max_connections").fetchall()
        ours = [others.info.backend_pid]
        while len(ours) < int(most):
            try:
                connection = taken.enter_context(psycopg.connect(server.url(), autocommit=True))
            except psycopg.OperationalError as error:
                if "too many clients" not in str(error):
                    raise
                # Whoever was sent away may come back before us, or not have left yet.
                others.execute(OTHERS + " AND NOT pid = ANY(%s)", [ours])
            else:
                ours.append(connection.info.backend_pid)
        yield


@contextmanager
def read_only(server: Server) -> Iterator[None]:
    """No transaction may write, unless it says that it does, as when a disk is full or the primary has become a standby."""
    _set_read_only(server, "on")
    try:
        yield
    finally:
        _set_read_only(server, "off")


def _set_read_only(server: Server, value: str) -> None:
    server.configure(default_transaction_read_only=value)
    server.reload()
    assert soon(lambda: server.execute("SHOW default_transaction_read_only") == [(value,)])
