"""The types that users get are those that the documentation promises, for mypy and for pyright.

Each file in `cases` must pass without an error. What a user must not be allowed to write is in there too, with a comment that
expects the error: both checkers complain about one that is not needed.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CASES = sorted((Path(__file__).parent / "cases").glob("*.py"))
# The first run of a checker reads all of its knowledge of the standard library; pyright may fetch itself.
PATIENCE = 300


def checked(*command: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "MYPYPATH": str(ROOT / "src")}
    paths = [str(case) for case in CASES]
    return subprocess.run([sys.executable, "-m", *command, *paths], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.timeout(PATIENCE)
def test_mypy_infers_what_is_promised(tmp_path: Path) -> None:
    answer = checked("mypy", "--config-file", "pyproject.toml", "--cache-dir", str(tmp_path))

    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.timeout(PATIENCE)
def test_pyright_infers_what_is_promised() -> None:
    answer = checked("pyright", "--pythonpath", sys.executable)

    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_each_case_promises_something(case: Path) -> None:
    text = case.read_text()

    assert "assert_type(" in text or "# type: ignore[" in text
