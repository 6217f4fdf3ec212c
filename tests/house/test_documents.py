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
    declared, tried = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
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


def test_the_commands_of_the_readme_work_on_what_its_program_has_made(tmp_path: Path) -> None:
    declared, _ = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
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
