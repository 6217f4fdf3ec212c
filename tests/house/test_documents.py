"""What the documents show is so."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

from stepwell.core.status import diagram
from tests.cli.harness import Command

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
MAILS = ["ada@example.com: receipt for lamp", "ada@example.com: How do you like your lamp?", "receipt for lamp"]


def test_the_readme_runs_to_the_letter(tmp_path: Path) -> None:
    declared, booked, _, _, _, _, _, tried = PROGRAMS
    (tmp_path / "orders.py").write_text(declared)
    (tmp_path / "test_orders.py").write_text(tried)

    assert _printed(tmp_path, "orders.py") == MAILS
    assert _printed(tmp_path, "test_orders.py") == [
        *MAILS,
        "function charge completed receipt for lamp",
        "function send_receipt completed None",
        "sleep let_it_arrive completed None",
        "function ask_for_review completed None",
    ]
    (tmp_path / "pay.py").write_text(booked)
    (tmp_path / "test_pay.py").write_text(_PAYS)
    assert _printed(tmp_path, "test_pay.py") == ["70", "no funds", "[(7, 70)]"]


_PAYS = """
import asyncio
import logging
from pay import pay
from stepwell import RunFailed
from stepwell.testing import TestApp

async def main():
    async with TestApp(pay, database="sqlite://") as app:
        app.connection.execute("CREATE TABLE accounts (id, balance)")
        app.connection.execute("INSERT INTO accounts VALUES (7, 100)")
        print(await app.execute(pay, 30))
        try:
            await app.execute(pay, 80)
        except RunFailed as failed:
            print(failed.error.message.rpartition(": ")[2])
        print(app.connection.execute("SELECT * FROM accounts").fetchall())

logging.disable()
asyncio.run(main())
"""


def test_from_one_machine_to_many_one_line_of_the_readme_changes(tmp_path: Path, fresh_postgres_url: str) -> None:
    (tmp_path / "orders.py").write_text(_on(fresh_postgres_url))

    assert _printed(tmp_path, "orders.py") == MAILS

    assert not (tmp_path / "stepwell.db").exists()


def test_the_runs_that_the_readme_starts_in_transactions_exist_if_these_commit(tmp_path: Path, fresh_postgres_url: str) -> None:
    *_, placing, placing_by_sqlalchemy, _ = PROGRAMS
    (tmp_path / "orders.py").write_text(_on(fresh_postgres_url))
    (tmp_path / "placing.py").write_text(placing)
    (tmp_path / "placing_by_sqlalchemy.py").write_text(placing_by_sqlalchemy)
    (tmp_path / "test_placing.py").write_text(_PLACES)

    assert _printed(tmp_path, "test_placing.py") == ["lamp", "chair", "fulfil_order", "fulfil_order"]


_PLACES = """
import asyncio
import psycopg
import placing
import placing_by_sqlalchemy
from orders import Order, app
from sqlalchemy import create_engine
from sqlalchemy.orm import Session
from stepwell import SyncStepwell

async def main():
    async with app, await psycopg.AsyncConnection.connect(app.database_url) as connection:
        await connection.execute("CREATE TABLE placed (item text)")
        await connection.commit()
        await placing.place(Order(item="hat", email="ada@example.com"), connection)
        await connection.rollback()
        await placing.place(Order(item="lamp", email="ada@example.com"), connection)

asyncio.run(main())
engine = create_engine(app.database_url.replace("postgresql://", "postgresql+psycopg://"))
with SyncStepwell(app.database_url) as blocking, Session(engine) as session:
    placing_by_sqlalchemy.place(Order(item="coat", email="ada@example.com"), session, blocking)
    session.rollback()
    placing_by_sqlalchemy.place(Order(item="chair", email="ada@example.com"), session, blocking)
    session.commit()
    with psycopg.connect(app.database_url) as connection:
        for (item,) in connection.execute("SELECT item FROM placed"):
            print(item)
    for run in blocking.runs.list():
        print(run.workflow)
engine.dispose()
"""


def _on(url: str) -> str:
    """The first program, with its line changed as the readme says, for a server that is there."""
    declared, _, _, _, changed, *_ = PROGRAMS
    program, count = re.subn(r"^app = .*\n", changed, declared, flags=re.MULTILINE)
    assert count == 1
    assert program.count("postgresql://shop@db.example.com/shop") == 1
    return program.replace("postgresql://shop@db.example.com/shop", url)


def test_the_transaction_of_the_readme_runs_on_postgresql(tmp_path: Path, fresh_postgres_url: str) -> None:
    _, _, booked, *_ = PROGRAMS
    (tmp_path / "pay.py").write_text(booked)
    (tmp_path / "test_pay.py").write_text(f"url = {fresh_postgres_url!r}\n{_PAYS_BY_SERVER}")

    assert _printed(tmp_path, "test_pay.py") == ["70", "no funds", "[(7, 70)]"]


_PAYS_BY_SERVER = """
import asyncio
import logging
import psycopg
from pay import pay
from stepwell import RunFailed, Stepwell

async def main():
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE accounts (id integer, balance integer)")
        connection.execute("INSERT INTO accounts VALUES (7, 100)")
        app = Stepwell(url, workflows=[pay])
        async with app, app.worker():
            print(await app.execute(pay, 30))
            try:
                await app.execute(pay, 80)
            except RunFailed as failed:
                print(failed.error.message.rpartition(": ")[2])
        print(connection.execute("SELECT * FROM accounts").fetchall())

logging.disable()
asyncio.run(main())
"""


def test_the_commands_of_the_readme_work_on_what_its_program_has_made(tmp_path: Path) -> None:
    declared, *_ = PROGRAMS
    commands = re.search(r"```\n(stepwell worker .*?)```", README, re.DOTALL)
    assert commands is not None
    worker, start, listing = (shlex.split(line)[1:] for line in commands[1].splitlines())
    (tmp_path / "orders.py").write_text(declared)
    _printed(tmp_path, "orders.py")

    working = subprocess.Popen(
        [sys.executable, "-m", "stepwell", *worker], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        started = _printed(tmp_path, "-m", "stepwell", *start)
        listed = _printed(tmp_path, "-m", "stepwell", *listing)
    finally:
        working.terminate()
        working.wait(120)

    assert "receipt for lamp" in "\n".join(started)
    assert any("fulfil_order" in line for line in listed)


def test_the_schedules_of_the_readme_are_those_that_its_commands_show_and_trigger(tmp_path: Path) -> None:
    _, _, _, scheduled, *_ = PROGRAMS
    commands = re.search(r"```\n(stepwell worker reports.*?)```", README, re.DOTALL)
    assert commands is not None
    worker, *others = (shlex.split(line)[1:] for line in commands[1].splitlines())
    (tmp_path / "reports.py").write_text(scheduled)

    with Command(*worker, cwd=tmp_path) as working:
        working.says("is ready: report")
        listed, triggered, shown = ("\n".join(_printed(tmp_path, "-m", "stepwell", *command)) for command in others)

    assert "every_morning" in listed
    assert "all_of_it" in listed
    assert re.search(r"the report of 20\d\d-\d\d-\d\d", triggered)
    assert "triggered" in shown


def _printed(folder: Path, *arguments: str) -> list[str]:
    ended = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stderr
    return ended.stdout.splitlines()


def test_the_diagram_of_the_architecture_is_that_of_the_table_of_transitions() -> None:
    shown = re.search(r"```mermaid\n(.*?)```", (ROOT / "ARCHITECTURE.md").read_text(), re.DOTALL)

    assert shown is not None
    assert shown[1] == diagram()


def test_the_architecture_is_short_enough_to_be_read_and_names_every_module() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()

    assert len(text.splitlines()) <= 200
    modules = {path.stem for path in (ROOT / "src" / "stepwell").rglob("*.py")} - {"__init__"}
    assert [
        module for module in sorted(modules) if f"`{module}" not in text and f"**`{module}`**" not in text and f"{module}.py" not in text
    ] == []
