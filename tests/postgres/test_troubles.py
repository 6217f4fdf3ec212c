"""The troubles that tests bring about are real ones, and over afterwards."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.postgres import shared
from tests.postgres.binaries import ABSENT, binaries
from tests.postgres.cluster import Cluster, new_cluster
from tests.postgres.keeping import soon
from tests.postgres.machines import Machine, absent, new_machine
from tests.postgres.server import Server, new_server
from tests.postgres.troubles import full, read_only, sending_away
from tests.postgres.wire import Side, Wire

READS = "import psycopg, sys; print(psycopg.connect(sys.argv[1], connect_timeout=5).execute('SELECT 7').fetchone())"

READS_TWICE = """
import psycopg, sys
connection = psycopg.connect(sys.argv[1])
for _ in range(2):
    input()
    print(connection.execute("SELECT 7").fetchone(), flush=True)
"""


@pytest.fixture
def server() -> Iterator[Server]:
    if binaries() is None:
        shared.lacking(ABSENT)
    with new_server(settings={"max_connections": "10"}) as server:
        yield server


@pytest.fixture
def machine() -> Iterator[Machine]:
    if lacks := absent():
        shared.lacking(lacks)
    with new_machine() as machine:
        yield machine


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    if binaries() is None:
        shared.lacking(ABSENT)
    with new_cluster() as cluster:
        yield cluster


def reads(machine: Machine, server: Server) -> subprocess.CompletedProcess[str]:
    url = server.url().replace("127.0.0.1", machine.here)
    return subprocess.run([*machine.through, sys.executable, "-c", READS, url], capture_output=True, text=True, timeout=120, check=False)


def test_a_machine_finds_the_server_until_its_cable_is_cut_and_when_it_is_mended(server: Server, machine: Machine) -> None:
    server.configure(listen_addresses="*")
    server.restart()

    before = reads(machine, server)
    with machine.cut_off():
        meanwhile = reads(machine, server)
    after = reads(machine, server)

    assert (before.stdout, after.stdout) == ("(7,)\n", "(7,)\n"), before.stderr + after.stderr
    assert "ConnectionTimeout" in meanwhile.stderr


def test_a_machine_is_not_disturbed_by_what_is_done_to_another(server: Server, machine: Machine) -> None:
    server.configure(listen_addresses="*")
    server.restart()

    with new_machine() as other, other.cut_off():
        assert other.here != machine.here
        assert reads(machine, server).stdout == "(7,)\n"


def test_a_connection_that_is_cut_hears_nothing_and_goes_on_when_it_is_mended(server: Server, machine: Machine) -> None:
    server.configure(listen_addresses="*")
    server.restart()
    url = server.url().replace("127.0.0.1", machine.here)
    twice = (
        "import psycopg, sys; c = psycopg.connect(sys.argv[1])\nfor _ in '12': input(); print(c.execute('SELECT 7').fetchone(), flush=True)"
    )
    command = [*machine.through, sys.executable, "-c", twice, url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdin.write("\n")
        assert program.stdout.readline() == "(7,)\n"

        with machine.cut_off():
            program.stdin.write("\n")
            with pytest.raises(subprocess.TimeoutExpired):
                program.wait(0.5)

        assert program.stdout.readline() == "(7,)\n"


def test_a_failover_keeps_what_was_confirmed_and_one_url_finds_either_server(cluster: Cluster) -> None:
    with psycopg.connect(cluster.url()) as connection:
        connection.execute("CREATE TABLE paid AS SELECT 7 AS number")

    cluster.fail_over()

    with psycopg.connect(cluster.url()) as connection:
        assert connection.execute("SELECT number FROM paid").fetchall() == [(7,)]
        connection.execute("INSERT INTO paid VALUES (8)")


def test_a_primary_confirms_nothing_while_its_standby_does_not_answer(cluster: Cluster) -> None:
    cluster.primary.execute("CREATE TABLE paid (number int)")

    with ThreadPoolExecutor() as threads, cluster.standby.frozen():
        confirmed = threads.submit(cluster.primary.execute, "INSERT INTO paid VALUES (7)")
        with pytest.raises(TimeoutError):
            confirmed.result(0.3)
        cluster.lag_behind()
        confirmed.result(120)

    assert cluster.primary.execute("SELECT number FROM paid") == [(7,)]


def test_clients_are_sent_away_again_and_again(server: Server) -> None:
    with sending_away(server, every=0.01) as sent:
        for _ in range(3):
            # On a busy machine, one may be sent away before it is told that it is connected.
            with pytest.raises(psycopg.OperationalError), psycopg.connect(server.url(), autocommit=True) as connection:
                connection.execute("SELECT pg_sleep(30)")

    assert sum(sent) >= 3
    assert server.execute("SELECT 7") == [(7,)]


def test_a_full_server_lets_nobody_in_and_has_sent_away_who_was_there(server: Server) -> None:
    with psycopg.connect(server.url()) as connection, full(server):
        with pytest.raises(psycopg.OperationalError, match="too many clients"):
            server.execute("SELECT 7")
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 7")

    assert soon(lambda: server.execute("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'") == [(1,)])


def test_a_server_that_is_read_only_refuses_to_write_also_on_connections_that_are_open(server: Server) -> None:
    server.execute("CREATE TABLE paid (number int)")
    with psycopg.connect(server.url(), autocommit=True) as connection:
        with read_only(server):
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                server.execute("INSERT INTO paid VALUES (7)")
            assert soon(lambda: refused(connection))

        assert soon(lambda: not refused(connection))


def refused(connection: psycopg.Connection) -> bool:
    try:
        connection.execute("INSERT INTO paid VALUES (7)")
    except psycopg.errors.ReadOnlySqlTransaction:
        return True
    return False


# -- a wire that is cut at a commit


def bought(server: Server, side: Side) -> list[tuple[object, ...]]:
    """What is left of two purchases when the link is cut at the second commit."""
    server.execute("CREATE TABLE IF NOT EXISTS paid (number int)")
    with Wire(server.url()) as wire, psycopg.connect(wire.url) as connection:
        wire.arm(2, side)
        for number in (1, 2):
            connection.execute("INSERT INTO paid VALUES (%s)", [number])
            if number == 2:
                with pytest.raises(psycopg.OperationalError):
                    connection.commit()
            else:
                connection.commit()
        assert wire.commits == 2
    return server.execute("SELECT number FROM paid")


def test_a_link_that_is_cut_before_a_commit_loses_it_and_one_that_is_cut_after_it_loses_the_answer(server: Server) -> None:
    lost = bought(server, "before")
    unheard = bought(server, "after")

    assert lost == [(1,)]
    assert unheard == [(1,), (1,), (2,)]


def test_a_wire_counts_statements_that_are_transactions_by_themselves(server: Server) -> None:
    with Wire(server.url()) as wire, psycopg.connect(wire.url, autocommit=True) as connection:
        wire.arm(0, "before")
        connection.execute("SELECT %s::int", [1])
        with connection.transaction():
            connection.execute("SELECT %s::int", [1])
            connection.execute("SELECT %s::int", [1])

    assert wire.commits == 2
