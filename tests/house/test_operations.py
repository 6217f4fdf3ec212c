"""What docs/operations.md says is so: its statements, commands and figures are tried on a real server, and on a file."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest

from stepwell import DatabaseUnavailable, Retry, Step, Stepwell, workflow
from stepwell.store.postgres import connection, store, target
from tests.postgres.binaries import ABSENT, binaries
from tests.postgres.shared import fresh_database, lacking

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text()
STATEMENTS = dict(re.findall(r"```sql\n-- (.*?)\n(.*?)```", PAGE, re.DOTALL))
FIGURES = {row[0]: row[1] for row in re.findall(r"^\| (.*?) \| (.*?) \|", PAGE, re.MULTILINE)}
BACKUP = re.findall(r"```\n(pg_dump .*?)```", PAGE, re.DOTALL)


@workflow
async def add(input: int, step: Step) -> int:
    return await step.run("one", lambda: input + 1)


@workflow
async def fail(step: Step) -> None:
    await step.define("divide", lambda: 1 // 0, retry=Retry.never()).run()


@workflow
async def nobody_serves(input: int) -> None: ...


@pytest.fixture
def url(fresh_postgres_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A database, with the tables in it."""
    for name in ("DATABASE_URL", "NAMESPACE", "RETENTION"):
        monkeypatch.delenv(f"STEPWELL_{name}", raising=False)
    monkeypatch.chdir(tmp_path)
    asyncio.run(do(fresh_postgres_url))
    return fresh_postgres_url


async def do(url: str, *, count: int = 0, leave: int = 0, **options: Any) -> int:
    """Execute runs, and leave some that nobody executes; how many connections there are at the end."""
    app = Stepwell(url, workflows=[add, fail], **options)
    async with app:
        for number in range(leave):
            await app.start(nobody_serves, number)
        if count:
            async with app.worker():
                handles = await app.start_many(add, list(range(count)))
                assert [await handle.result() for handle in handles] == list(range(1, count + 1))
                await app.runs.list()
        with psycopg.connect(url) as looking:
            (found,) = looking.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()").fetchone() or (0,)
            return int(found) - 1


def answers(url: str, title: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as looking:
        return looking.execute(STATEMENTS[title]).fetchall()


# ------------------------------------------------------------------------------------------------------------- what to watch


def test_the_statements_of_the_page_show_what_it_says(url: str) -> None:
    async def prepare() -> None:
        app = Stepwell(url, workflows=[add, fail])
        async with app, app.worker(name="first"):
            failed = await app.start(fail)
            assert await app.execute(add, 1) == 2
            await asyncio.wait({asyncio.ensure_future(failed.result())})
            await app.start(nobody_serves, 1)
            await app.start(nobody_serves, 2)
            ((name, *_, dead, seconds),) = answers(url, "workers, and how long ago each was heard of")
            assert (name, dead, seconds <= 30) == ("first", False, True)
            assert sum(count for *_, count in answers(url, "connections")) > 1

    asyncio.run(prepare())

    ((*lane, oldest),) = answers(url, "what could be taken now, and since when")
    assert lane == ["default", "nobody_serves", 2]
    assert 0 <= oldest < 60
    assert dict(answers(url, "runs by status")) == {"completed": 1, "failed": 1, "pending": 2}
    assert answers(url, "failures of the last hour") == [("fail", 1)]
    assert answers(url, "migrations that are applied")[0] == (1, "0001_initial.sql")
    assert "runs" in {table for table, *_ in answers(url, "dead rows, and when they were last cleaned away")}


def test_a_timer_that_nobody_wakes_is_shown_as_late(url: str) -> None:
    async def start() -> None:
        async with Stepwell(url, workflows=[add]) as app:
            await app.start(add, 1, delay="1h")

    asyncio.run(start())
    title = next(title for title in STATEMENTS if title.startswith("timers that are late"))
    assert answers(url, title) == [(0, None)]

    with psycopg.connect(url) as connection:
        connection.execute("UPDATE stepwell.runs SET due = due - 7200")

    ((late, seconds),) = answers(url, title)
    assert late == 1
    assert 3500 < seconds < 3700


def test_who_holds_an_old_snapshot_is_shown(url: str) -> None:
    with psycopg.connect(url, application_name="forgotten") as holder:
        holder.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        holder.execute("SELECT count(*) FROM stepwell.runs")

        assert "forgotten" in [row[2] for row in answers(url, "old snapshots")]
        assert isinstance(answers(url, "slots and prepared transactions that hold one"), list)


def test_every_statement_of_the_page_is_tried() -> None:
    tried = Path(__file__).read_text()

    assert len(STATEMENTS) == PAGE.count("```sql")
    assert [title for title in STATEMENTS if f'"{title.partition(":")[0]}' not in tried] == []


# --------------------------------------------------------------------------------------------------------------------- roles


class Roles(NamedTuple):
    """The URLs of those that the page makes."""

    worker: str
    reader: str


@pytest.fixture
def roles(url: str) -> Iterator[Roles]:
    """Under other names: those of a server are there for all its databases."""
    mark, password = secrets.token_hex(4), secrets.token_hex(8)
    names = [f"stepwell_{kind}_{mark}" for kind in ("worker", "reader")]
    statements = STATEMENTS["roles"].replace("stepwell_worker", names[0]).replace("stepwell_reader", names[1])
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute(statements)
        for name in names:
            owner.execute(f"ALTER ROLE {name} PASSWORD '{password}'")
        yield Roles(*(re.sub(r"//[^@]*@", f"//{name}:{password}@", url) for name in names))
        for name in names:
            owner.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


@pytest.mark.parametrize("migrate", [True, False])
def test_the_role_for_workers_can_do_what_workers_do_and_make_no_tables(roles: Roles, migrate: bool) -> None:
    asyncio.run(do(roles.worker, count=3, migrate=migrate))

    with pytest.raises(DatabaseUnavailable, match="permission denied for database"):
        asyncio.run(do(roles.worker, namespace="another"))


def test_the_role_for_readers_sees_all_and_changes_nothing(roles: Roles) -> None:
    asyncio.run(do(roles.worker, count=1))

    assert "add" in _stepwell("runs", "list", url=roles.reader)
    assert "completed" in _stepwell("runs", "show", _only(roles.reader), url=roles.reader)
    _stepwell("workers", "list", url=roles.reader)
    with pytest.raises(DatabaseUnavailable, match="permission denied for table"):
        asyncio.run(do(roles.reader, leave=1))


def test_tables_of_later_migrations_are_for_the_same_roles(url: str, roles: Roles) -> None:
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute("CREATE TABLE stepwell.later (number integer)")

    with psycopg.connect(roles.worker) as worker, psycopg.connect(roles.reader) as reader:
        worker.execute("INSERT INTO stepwell.later VALUES (1)")
        worker.commit()
        assert reader.execute("SELECT number FROM stepwell.later").fetchall() == [(1,)]


# ----------------------------------------------------------------------------------------------------- migrations and backup


def test_a_schema_that_was_made_from_the_printed_sql_is_taken_as_it_is(fresh_postgres_url: str) -> None:
    _psql(fresh_postgres_url, _stepwell("migrate", "--sql", url=fresh_postgres_url))

    asyncio.run(do(fresh_postgres_url, count=1, migrate=False))


def test_runs_go_on_in_a_database_that_was_made_from_the_backup(url: str, tmp_path: Path) -> None:
    (backup,) = BACKUP
    asyncio.run(_start(url, 7))
    with fresh_database() as copy:
        ended = subprocess.run(
            ["sh", "-e", "-c", backup],
            cwd=tmp_path,
            env={"PATH": _programs(), "STEPWELL_DATABASE_URL": url, "ANOTHER_URL": copy},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

        assert ended.returncode == 0, ended.stderr
        assert asyncio.run(_result(copy)) == 8


def test_a_file_is_copied_while_it_is_open_and_the_copy_goes_on(tmp_path: Path) -> None:
    vacuum, backup = re.findall(r"`sqlite3 stepwell.db \"(VACUUM INTO 'copy.db')\"`, or `(\.backup) copy.db`", PAGE)[0]
    assert backup == ".backup"

    async def copy() -> None:
        async with Stepwell(f"sqlite:///{tmp_path}/stepwell.db", workflows=[add]) as app:
            await app.start(add, 7)
            other = sqlite3.connect(tmp_path / "stepwell.db")
            other.execute(vacuum.replace("copy.db", f"{tmp_path}/first.db"))
            second = sqlite3.connect(tmp_path / "second.db")
            other.backup(second)
            second.close()
            other.close()

    asyncio.run(copy())

    assert asyncio.run(_result(f"sqlite:///{tmp_path}/first.db")) == 8
    assert asyncio.run(_result(f"sqlite:///{tmp_path}/second.db")) == 8


async def _start(url: str, number: int) -> None:
    async with Stepwell(url, workflows=[add]) as app:
        await app.start(add, number)


async def _result(url: str) -> Any:
    """Of the one run that is there."""
    app = Stepwell(url, workflows=[add])
    async with app, app.worker():
        (run,) = await app.runs.list()
        return await app.handle(run.id).result()


# ------------------------------------------------------------------------------------------------------------------- figures


def test_a_process_has_no_more_connections_than_the_page_says(url: str) -> None:
    assert FIGURES["workers and callers, who share a pool: `pool_size` in the URL"] == str(target.POOL_SIZE)
    assert FIGURES["lists, searches and counts that people ask for"] == str(store.SEARCHES)
    of_steps = next(int(count) for what, count in FIGURES.items() if what.startswith("steps that are transactions"))
    assert of_steps == target.POOL_SIZE
    most = sum(int(count) for what, count in FIGURES.items() if count.isdecimal() and not what.startswith("`"))
    assert most == 9 + of_steps

    assert 3 <= asyncio.run(do(url, count=500)) <= 9


def test_the_time_outs_are_those_of_the_page() -> None:
    figures = {
        "a server answers a new connection": connection.TO_CONNECT,
        "a statement": connection.STATEMENT,
        "a statement waits for a lock": connection.LOCK,
        "our transaction falls silent, and the server ends it": connection.IDLE,
        "a transaction as a whole, seen from the process; the connection is given up": connection.ALTOGETHER,
        "sent, and not acknowledged by the network (`tcp_user_timeout`)": _given("tcp_user_timeout") / 1_000,
        "nothing heard before the network is asked (`keepalives_idle`)": _given("keepalives_idle"),
    }

    assert {what: FIGURES[what] for what in figures} == {what: f"{timedelta(seconds=each).seconds} s" for what, each in figures.items()}


def test_workers_say_what_the_page_says_of_an_outage() -> None:
    sources = "\n".join(file.read_text() for file in (ROOT / "src" / "stepwell" / "engine").glob("*.py"))
    texts = [text for text in re.findall(r'log\.\w+\("(.*?)"', sources) if len(text) > 20]
    said = [re.sub(r"%[^a-z]*[a-z]", ".+", re.escape(text)) for text in texts]
    shown = re.search(r"\| it logs .*?\n\n", PAGE, re.DOTALL)
    assert shown is not None
    messages = re.findall(r"^\| `(.*?)`", shown[0], re.MULTILINE)

    assert len(messages) == 5
    assert [message for message in messages if not any(re.fullmatch(each, message) for each in said)] == []
    (others,) = re.findall(r"the same for (.*?);", PAGE)
    assert [what for what in re.findall(r"`(.*?)`", others) if f'"{what}"' not in sources] == []


def _given(name: str) -> int:
    return int(connection.connection_parameters("postgresql://db/shop", {})[name])


def test_the_migration_sets_what_the_page_says(url: str) -> None:
    with psycopg.connect(url) as looking:
        found = looking.execute("SELECT relname, reloptions FROM pg_class WHERE relnamespace = 'stepwell'::regnamespace").fetchall()
    settings = {table: dict(option.split("=") for option in options) for table, options in found if options}

    said = {row.strip("`"): value for row, value in FIGURES.items() if row.strip("`") in settings["runs"]}
    assert settings == {"runs": said, "workers": {"fillfactor": "50"}, "schedules": {"fillfactor": "50"}}


# ------------------------------------------------------------------------------------------------------------------- helpers


def _only(url: str) -> str:
    with psycopg.connect(url) as looking:
        ((run_id,),) = looking.execute("SELECT id FROM stepwell.runs").fetchall()
        return str(run_id)


def _stepwell(*arguments: str, url: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "stepwell", *arguments],
        env=os.environ | {"STEPWELL_DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout


def _psql(url: str, script: str) -> None:
    subprocess.run(
        ["psql", "-1", "-q", "-v", "ON_ERROR_STOP=1", url], env={"PATH": _programs()}, input=script, text=True, timeout=120, check=True
    )


def _programs() -> str:
    found = binaries()
    if found is None:
        lacking(ABSENT)
    return f"{found.folder}:{os.environ.get('PATH', os.defpath)}"
