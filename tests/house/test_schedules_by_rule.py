"""What docs/schedules.md says of inputs, overlaps, reasons and commands is so: its programs run, and its tables are tried row by row."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from stepwell import Schedule, Step, Workflow, workflow
from stepwell.core.options import CatchUp, Overlap
from stepwell.core.slots import LATE
from stepwell.engine.inputs import LONGEST
from stepwell.engine.scheduler import KEPT, OUTVOTED
from stepwell.schedules import MAX_BACKFILL
from stepwell.testing import TestApp
from stepwell.testing.clock import MovedClock
from tests.engine.harness import scenario

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "schedules.md").read_text()
PROGRAM, TESTED = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
EXAMPLES = """
from stepwell.testing import TestApp
from reports import report

"""


def rows(heading: str) -> list[list[str]]:
    """Of the table whose heading begins so."""
    table = PAGE.partition(f"\n| {heading}")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.strip("| ").split(" |")] for line in table.splitlines()[2:]]


def test_the_test_of_the_page_passes_for_its_program(tmp_path: Path) -> None:
    (tmp_path / "reports.py").write_text(PROGRAM)
    (tmp_path / "trial.py").write_text(f"{EXAMPLES}{TESTED}\nimport asyncio\nasyncio.run(test_a_week_of_reports())\n")

    assert printed(tmp_path, "trial.py") == ""


def test_the_commands_of_the_page_work_on_what_its_program_declares(tmp_path: Path) -> None:
    commands = re.findall(r"`stepwell (schedules [^`]*)`", PAGE)
    (tmp_path / "reports.py").write_text(PROGRAM)
    (tmp_path / "declare.py").write_text(
        "import asyncio\nfrom reports import app\nasync def main():\n    async with app, app.worker():\n        pass\nasyncio.run(main())\n"
    )
    printed(tmp_path, "declare.py")

    assert {command.split()[1] for command in commands} == {"list", "show", "preview", "pause", "trigger", "backfill"}
    for command in dict.fromkeys(commands):
        words = shlex.split(command)
        asks = ["--yes"] if words[1] == "backfill" else []
        assert printed(tmp_path, "-m", "stepwell", *words, *asks), command


def printed(folder: Path, *arguments: str) -> str:
    ended = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


# -- what becomes of slots


def ticking(**options: Any) -> Workflow[None, None]:
    """A workflow whose runs are going until they are told that it is over."""

    @workflow(schedules=[Schedule("minutely", "* * * * *", **options)])
    async def tick(step: Step) -> None:
        await step.wait_for_signal("over")

    return tick


async def fates(app: TestApp) -> list[tuple[int, str]]:
    """Of all runs: the minute of the slot, and how they stand."""
    runs = await app.runs.list(workflow="tick", order="oldest")
    return [(run.scheduled_at.minute, run.status.value) for run in runs if run.scheduled_at is not None]


async def be_away(app: TestApp, seconds: float) -> None:
    """No worker is there for so long. The clock of a TestApp begins with a minute."""
    async with app:
        pass
    app.clock = MovedClock(start=app.clock.now() + seconds)


GOING, CANCELED, DONE = "sleeping", "canceled", "completed"
BESIDE = {
    "allow": ([(1, GOING), (2, GOING)], [(1, DONE), (2, DONE)]),
    "skip": ([(1, GOING)], [(1, DONE)]),
    "cancel": ([(1, CANCELED), (2, GOING)], [(1, CANCELED), (2, DONE)]),
    "wait": ([(1, GOING)], [(1, DONE), (2, GOING)]),
}
"""What there is when the second slot has come, and what when all are told that it is over."""
TOGETHER = {"allow": [(1, GOING), (2, GOING)], "skip": [(1, GOING)], "cancel": [(2, GOING)], "wait": [(1, GOING)]}


def test_the_page_knows_each_overlap_and_each_way_to_catch_up() -> None:
    assert [row[0].strip('`"') for row in rows("`overlap` | a slot")] == list(BESIDE) == list(TOGETHER) == list(get_args(Overlap))
    assert [row[0].strip('`"') for row in rows("`catch_up` | four slots")] == list(get_args(CatchUp))


@pytest.mark.parametrize("overlap", BESIDE)
@scenario
async def test_a_slot_that_comes_while_the_last_run_is_going_does_what_the_page_says(overlap: str) -> None:
    async with TestApp(ticking(overlap=overlap)) as app:
        await app.advance("2m")
        before = await fates(app)
        await app.runs.signal_all("over", workflow="tick")
        await app.advance("1s")
        after = await fates(app)

    assert (before, after) == BESIDE[overlap]


@pytest.mark.parametrize("overlap", TOGETHER)
@scenario
async def test_two_slots_that_are_due_at_once_do_what_the_page_says(overlap: str) -> None:
    app = TestApp(ticking(overlap=overlap, catch_up="all"))
    await be_away(app, 2 * 60 + LATE)

    async with app:
        await app.advance("1s")

        assert await fates(app) == TOGETHER[overlap]
        assert (await app.schedules.get("tick", "minutely")).waiting_at is not None or overlap != "wait"


@pytest.mark.parametrize(("catch_up", "expected"), [("latest", [4]), ("all", [1, 2, 3, 4]), ("none", [])])
@scenario
async def test_of_four_slots_that_were_missed_those_make_runs_that_the_page_says(catch_up: str, expected: list[int]) -> None:
    app = TestApp(ticking(catch_up=catch_up))
    await be_away(app, 4 * 60 + LATE)

    async with app:
        await app.advance("1s")

        assert await fates(app) == [(minute, GOING) for minute in expected]
        missed = [slot.count for slot in await app.schedules.slots("tick", "minutely") if slot.outcome == "missed"]
        assert missed == ([4 - len(expected)] if len(expected) < 4 else [])


def test_the_reasons_of_the_page_are_those_that_are_given() -> None:
    sources = "\n".join(
        file.read_text() for room in ("core", "engine", "store") for file in (ROOT / "src" / "stepwell" / room).rglob("*.py")
    )
    texts = " ".join(re.findall(r"['\"](.*?)['\"](?=[,)\n]| if)", sources))
    known = re.sub(r"\{.*?\}", "…", texts)
    given = [(outcome, reason) for outcome, reason, *_ in rows("outcome | reason") if reason]

    assert len(given) == 10
    assert [reason for _, reason in given if reason not in known] == []


# -- figures


def test_the_figures_of_the_page_are_those_of_the_code() -> None:
    assert f"has not been fired {LATE:g} s later" in PAGE
    assert f"may take {LONGEST:g} s" in PAGE
    assert f"goes through {MAX_BACKFILL:,} slots at most" in PAGE
    assert f"the newest {KEPT:,} of each" in PAGE
    assert OUTVOTED == 10.0
    assert "within ten seconds" in PAGE
