"""Every example can be run as it is, and by the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.harness import Command

EXAMPLES = sorted(path for path in (Path(__file__).parents[2] / "examples").glob("*.py") if path.stem != "__init__")

SAYS = {
    "backups": "hourly: copied 1 files",
    "bulk_mail": "it sent 2 mails",
    "clean_up": "visits in 6 batches",
    "daily_report": "made up for 3 mornings",
    "outage": "all 20 of them",
    "payment": "the card was charged 1 time",
    "pipeline": "version 2: 14 words",
    "versions": "invoice 2024.1: 100.00 + 7.70 tax",
    "welcome_mail": "it sent 2 mails",
}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_from_any_directory_and_says_what_it_shows(example: Path, tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, example], cwd=tmp_path, capture_output=True, text=True, timeout=250, check=False)

    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr  # of failed attempts Stepwell warns there, in a line each
    assert SAYS[example.stem] in ended.stdout


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_names_how_it_is_run(example: Path) -> None:
    assert f"python examples/{example.name}" in example.read_text().partition('"""\n\nfrom')[0]


def test_a_worker_of_the_command_line_takes_an_example_and_another_command_starts_it(tmp_path: Path) -> None:
    example = next(path for path in EXAMPLES if path.stem == "welcome_mail")

    with Command("worker", str(example), cwd=tmp_path) as worker:
        worker.says("is ready: welcome_mail")
        with Command("start", "welcome_mail", "--input", '{"email": "ada@example.org"}', "--wait", cwd=tmp_path) as start:
            start.says('"mails": 2')
            assert start.ends() == 0
        worker.says("mail to ada@example.org: How was it?")
