"""What the documents show is so."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

from stepwell.core.status import diagram

ROOT = Path(__file__).resolve().parents[2]


def test_the_readme_runs_to_the_letter(tmp_path: Path) -> None:
    declared, booked, _, tried = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "orders.py").write_text(declared)
    (tmp_path / "test_orders.py").write_text(tried)
    mails = ["ada@example.com: receipt for lamp", "ada@example.com: How do you like your lamp?", "receipt for lamp"]

    assert _printed(tmp_path, "orders.py") == mails
    assert _printed(tmp_path, "test_orders.py") == [
        *mails,
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


def test_the_transaction_of_the_readme_runs_on_postgresql(tmp_path: Path, fresh_postgres_url: str) -> None:
    _, _, booked, _ = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
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
    declared, *_ = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    commands = re.search(r"```\n(stepwell worker .*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
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
        working.wait(30)

    assert "receipt for lamp" in "\n".join(started)
    assert any("fulfil_order" in line for line in listed)


def _printed(folder: Path, *arguments: str) -> list[str]:
    ended = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=40, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
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
