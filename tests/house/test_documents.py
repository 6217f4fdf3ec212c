"""What the documents show is so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from stepwell.core.status import diagram

ROOT = Path(__file__).resolve().parents[2]


def test_the_readme_runs_to_the_letter(tmp_path: Path) -> None:
    declared, tried = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "trial.py").write_text(declared)
    (tmp_path / "try_it.py").write_text(tried)

    ended = subprocess.run([sys.executable, "try_it.py"], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)

    assert ended.stderr == ""
    lines = ended.stdout.splitlines()
    assert lines[:3] == ["Welcome! → ada@example.com", "How was it? → ada@example.com", "{'reminded': True}"]
    assert [line.split()[2:5] for line in lines[3:]] == [
        ["function", "welcome", "completed"],
        ["sleep", "trial", "completed"],
        ["function", "reminder", "completed"],
    ]
    welcomed, reminded = (line.split()[0] for line in (lines[3], lines[5]))
    assert (welcomed[:7], reminded[:7]) == ("2027-01", "2027-02")


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
