"""`stepwell doctor` and `stepwell migrate`."""

import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.cli.harness import Call, Command
from tests.cli.test_runs import started

BUSY = """
@workflow
async def busy(step: Step) -> None:
    import asyncio
    async def hang() -> None:
        print("busy now", flush=True)
        await asyncio.Event().wait()
    await step.run("hang", hang)
"""


def findings(call: Call, code: int) -> dict[str, Any]:
    answer = call("doctor", "--json")
    assert answer.code == code
    assert answer.data["ok"] is (code == 0)
    return {finding["what"]: finding for finding in answer.data["findings"]}


def test_all_is_well_where_nothing_is_to_do(shop: Path, call: Call, work: Callable[[], None]) -> None:
    work()

    found = findings(call, 0)

    assert list(found) == ["Python", "SQLite", "disk", "database", "writes", "workers", "served", "keeping up", "schedules"]
    assert found["database"]["found"] == "sqlite:///stepwell.db is reachable and migrated"
    assert call("doctor").out.count("ok ") == len(found)


def test_a_database_that_is_not_there_is_wrong_and_is_not_made(here: Path, call: Call) -> None:
    found = findings(call, 1)

    assert found["database"]["ok"] is False
    assert list(here.iterdir()) == []


def test_a_server_has_no_disk_here_and_its_password_is_not_shown(
    here: Path, call: Call, postgres_url: str, postgres_namespace: str
) -> None:
    place = ("--database", postgres_url, "--namespace", postgres_namespace)
    before = call("doctor", *place)
    assert call("migrate", *place).code == 0
    after = call("doctor", "--json", *place)

    assert before.code == 1
    assert "stepwell migrate" in before.out
    assert [finding["what"] for finding in after.data["findings"]][:4] == ["Python", "psycopg", "database", "writes"]
    assert after.code == 0
    password = urlsplit(postgres_url).password
    assert password is None or password not in before.out + after.out


def test_a_folder_that_is_not_there_is_wrong(here: Path, call: Call) -> None:
    answer = call("doctor", "--database", "sqlite:///away/stepwell.db")

    assert answer.code == 1
    assert f"there is no folder {here / 'away'}" in answer.out


def test_runs_without_a_worker_are_wrong(shop: Path, call: Call) -> None:
    for _ in range(2):
        started(call, "greet", "--input", '"Ann"')

    found = findings(call, 1)

    assert found["workers"] == {"what": "workers", "ok": False, "found": "0 alive; 2 runs to do"}
    assert found["served"] == {"what": "served", "ok": False, "found": "no worker has greet (2 runs)"}


def test_a_worker_that_lives_serves_its_runs(shop: Path, call: Call) -> None:
    with Command("worker", "flows.py", cwd=shop) as worker:
        worker.says("is ready")
        found = findings(call, 0)

    assert found["workers"]["found"] == "1 alive; 0 runs to do"


def test_a_run_that_waits_too_long_for_its_turn_is_wrong(shop: Path, call: Call) -> None:
    with (shop / "flows.py").open("a") as file:
        file.write(BUSY)
    with Command("worker", "flows.py", "--concurrency", "1", cwd=shop) as worker:
        worker.says("is ready")
        started(call, "busy")
        worker.says("busy now")
        started(call, "greet", "--input", '"Ann"')
        assert re.fullmatch(r"the oldest run waits for its turn since \d+s", findings(call, 0)["keeping up"]["found"])
        with sqlite3.connect(shop / "stepwell.db") as database:
            database.execute("UPDATE stepwell_runs SET available_at = available_at - 3600 WHERE status = 'pending'")
        database.close()
        found = findings(call, 1)

    assert found["keeping up"]["ok"] is False
    assert "waits for its turn since 1h" in found["keeping up"]["found"]


def test_a_database_that_cannot_be_written_is_wrong(shop: Path, call: Call, work: Callable[[], None]) -> None:
    work()
    holder = sqlite3.connect(shop / "stepwell.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")

    found = findings(call, 1)

    holder.close()
    assert found["writes"]["ok"] is False


# -- migrate


def test_migrate_makes_the_tables(here: Path, call: Call) -> None:
    assert call("migrate").out == "sqlite:///stepwell.db is up to date\n"
    assert call("migrate").code == 0
    assert call("runs", "list", "--json").data == {"runs": [], "next_cursor": None}


def test_migrate_may_only_print_its_sql_which_does_the_same(here: Path, call: Call) -> None:
    answer = call("migrate", "--sql", "--namespace", "acme")
    assert "CREATE TABLE acme_runs" in answer.out
    assert list(here.iterdir()) == []

    with sqlite3.connect(here / "stepwell.db") as database:
        database.executescript(answer.out)
    database.close()

    assert call("runs", "list", "--json", "--namespace", "acme").data == {"runs": [], "next_cursor": None}
    assert call("migrate", "--namespace", "acme").code == 0
