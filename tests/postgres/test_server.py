"""The servers that tests get are real ones: they keep what was committed, follow each other, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from tests.postgres import shared
from tests.postgres.binaries import ABSENT, CHOICE, binaries
from tests.postgres.keeping import soon, wait_for_end
from tests.postgres.pgbouncer import ABSENT as NO_POOLER
from tests.postgres.pgbouncer import IGNORED, pgbouncer, program
from tests.postgres.places import new_folder
from tests.postgres.server import NOT_DURABLE, Server, new_server, url_of


@pytest.fixture
def server() -> Iterator[Server]:
    if binaries() is None:
        shared.lacking(ABSENT)
    with new_server() as server:
        yield server


def test_a_server_that_is_killed_comes_back_with_what_was_committed(server: Server) -> None:
    server.execute("CREATE TABLE paid (number int)")
    server.execute("INSERT INTO paid VALUES (%s)", 7)

    server.kill()
    with pytest.raises(psycopg.OperationalError):
        server.execute("SELECT 1")
    server.start()

    assert server.execute("SELECT number FROM paid") == [(7,)]
    assert "was not properly shut down" in server.log


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_server_is_restarted_on_the_same_port_and_sends_its_clients_away(server: Server, mode: str) -> None:
    with psycopg.connect(server.url()) as connection:
        server.restart("fast" if mode == "fast" else "immediate")

        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    assert server.execute("SELECT 1") == [(1,)]


def test_a_server_asks_for_its_password_also_at_its_socket(server: Server) -> None:
    psycopg.connect(server.url(by_socket=True)).close()

    for url in (server.url(), server.url(by_socket=True)):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(url.replace(server.password, "guess"))


def test_a_server_writes_to_disk_unless_it_is_told_not_to(server: Server) -> None:
    switches = [*NOT_DURABLE, "synchronous_commit"]
    durable = [server.execute(f"SHOW {switch}")[0][0] for switch in switches]

    server.configure(**NOT_DURABLE)
    server.restart()

    assert durable == ["on", "on", "on"]
    assert [server.execute(f"SHOW {switch}")[0][0] for switch in switches] == ["off", "off", "on"]


def test_a_server_that_does_not_start_says_why(server: Server) -> None:
    server.stop()
    server.configure(shared_buffers="many")

    with pytest.raises(RuntimeError, match='invalid value for parameter "shared_buffers": "many"'):
        server.start()


def test_a_frozen_server_answers_later(server: Server) -> None:
    with ThreadPoolExecutor() as threads:
        with server.frozen():
            answer = threads.submit(server.execute, "SELECT 1")
            with pytest.raises(TimeoutError):
                answer.result(0.1)

        assert answer.result(120) == [(1,)]


def test_a_standby_follows_and_is_promoted_when_the_primary_is_killed(server: Server) -> None:
    with new_folder() as folder, server.base_backup(folder, name="second") as standby:
        url = url_of(server, standby, target_session_attrs="read-write")
        server.configure(synchronous_standby_names="second")
        server.reload()
        assert soon(lambda: server.execute("SELECT sync_state FROM pg_stat_replication WHERE application_name = 'second'") == [("sync",)])
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE paid AS SELECT 7 AS number")
            assert connection.info.port == server.port

        server.kill()
        assert standby.execute("SELECT pg_is_in_recovery()") == [(True,)]
        standby.promote()

        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT number FROM paid").fetchall() == [(7,)]
            assert connection.info.port == standby.port


def test_a_pooler_gives_each_transaction_any_connection(server: Server) -> None:
    if program() is None:
        shared.lacking(NO_POOLER)
    with pgbouncer(server, connections=1) as url, psycopg.connect(url) as one, psycopg.connect(url) as other:
        (first,) = one.execute("SELECT pg_backend_pid()").fetchall()
        one.commit()
        (second,) = other.execute("SELECT pg_backend_pid()").fetchall()

        assert first == second


def test_a_pooler_refuses_parameters_of_the_connection_unless_it_ignores_them(server: Server) -> None:
    if program() is None:
        shared.lacking(NO_POOLER)
    with pgbouncer(server) as url, pytest.raises(psycopg.OperationalError, match="unsupported startup parameter"):
        psycopg.connect(url, options="-c statement_timeout=1000")
    with pgbouncer(server, ignoring=IGNORED) as url, psycopg.connect(url, options="-c statement_timeout=1000") as connection:
        assert connection.execute("SHOW statement_timeout").fetchall() == [("0",)]


def test_each_namespace_and_each_database_is_fresh(postgres_url: str) -> None:
    with shared.fresh_namespace() as one, shared.fresh_namespace() as two, psycopg.connect(postgres_url) as connection:
        connection.execute(f"CREATE SCHEMA {one}; CREATE TABLE {one}.paid ()".encode())
        connection.commit()
        assert one != two
    with shared.fresh_database() as url, psycopg.connect(url) as connection:
        assert url != postgres_url
        assert connection.execute("SELECT FROM pg_namespace WHERE nspname = %s", [one]).fetchall() == []
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT FROM pg_namespace WHERE nspname = %s", [one]).fetchall() == []
    with shared.fresh_database() as other:
        assert other != url


def test_a_database_may_sort_as_people_do() -> None:
    if not shared.knows_languages():
        pytest.skip("this server was built without ICU, as that of the wheel is: it sorts by bytes only")
    with shared.fresh_database("en-US") as url, psycopg.connect(url) as connection:
        assert connection.execute("SELECT 'a' < 'B'").fetchone() == (True,)


# ------------------------------------------------------------------------------------------------------ the run of pytest

USES_IT = """
import os, pytest
from tests.postgres.shared import server_url

@pytest.mark.parametrize("number", range(4))
def test_it(number, pytestconfig):
    with open(os.environ["TOLD"], "a") as told:
        told.write(server_url() + "\\n")
    if number == 3 and "WAIT" in os.environ:
        input()
"""


class Run:
    """Of pytest, over a file that uses the server, in a process of its own."""

    def __init__(self, folder: Path, *options: str, **environment: str) -> None:
        (folder / "test_it.py").write_text(USES_IT)
        (folder / "conftest.py").write_text('pytest_plugins = ["tests.postgres.plugin"]\n')
        (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
        self.told = folder / "told"
        self.told.touch()
        shared_by_others = {shared.FOLDER, shared.GIVEN, "CI", "PYTEST_XDIST_WORKER"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-s", *options, folder],
            env={name: value for name, value in os.environ.items() if name not in shared_by_others}
            | {"TOLD": str(self.told), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            | environment,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def urls(self) -> list[str]:
        return self.told.read_text().splitlines()

    def output(self) -> str:
        with self.process:
            return self.process.communicate(timeout=250)[0]


def gone(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return True
    return False


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["one process", "workers"])
def test_a_run_has_one_server_for_all_its_workers_which_it_names_and_which_ends_with_it(tmp_path: Path, options: tuple[str, ...]) -> None:
    if binaries() is None:
        shared.lacking(ABSENT)
    run = Run(tmp_path, *options)

    output = run.output()

    assert "4 passed" in output
    assert len(set(run.urls())) == 1
    assert len(run.urls()) == 4
    assert gone(run.urls()[0])
    assert "thrown away afterwards" in output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_interrupted_or_killed_leaves_no_server_and_no_folder(tmp_path: Path, number: signal.Signals) -> None:
    if binaries() is None:
        shared.lacking(ABSENT)
    run = Run(tmp_path, WAIT="yes")
    assert soon(lambda: len(run.urls()) == 4)
    with psycopg.connect(run.urls()[0]) as connection:
        (data,) = connection.execute("SHOW data_directory").fetchone() or ()
    keeper = int((Path(data).parent / "keeper").read_text())

    run.process.send_signal(number)

    run.output()
    wait_for_end(keeper)
    assert soon(lambda: not Path(data).parent.exists())
    assert gone(run.urls()[0])


def test_a_run_uses_the_server_that_it_is_given(tmp_path: Path, server: Server) -> None:
    run = Run(tmp_path, **{shared.GIVEN: server.url()})

    output = run.output()

    assert set(run.urls()) == {server.url()}
    assert f"127.0.0.1:{server.port}, from {shared.GIVEN}" in output
    assert not gone(server.url())


@pytest.mark.parametrize(("ci", "outcome"), [("", "4 skipped"), ("true", "4 failed")])
def test_without_postgresql_its_tests_are_skipped_but_fail_on_ci_and_say_why(tmp_path: Path, ci: str, outcome: str) -> None:
    run = Run(tmp_path, "-rs", CI=ci, **{CHOICE: str(tmp_path)})

    output = run.output()

    assert outcome in output
    assert "no PostgreSQL on this machine" in output
