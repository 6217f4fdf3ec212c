"""The demo: it holds, it notices when something does not, and it leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from examples.demo.mail_server import Mail
from examples.demo.processes import ROOT, ProcessEnded, mail_server, worker
from examples.demo.recipients import MOST, write_recipients
from examples.demo.show import Show
from examples.demo.verdict import Kill, Verdict, compare
from stepwell import StepRecord
from tests.engine.harness import scenario

DEMO = [sys.executable, "-m", "examples.demo"]


# -- the whole


def test_the_demo_kills_a_worker_and_every_recipient_gets_the_mail(tmp_path: Path) -> None:
    ended = subprocess.run(
        [*DEMO, "--recipients", "400"],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    rows = {words[0]: words[-1] for line in ended.stdout.splitlines() if len(words := line.rsplit(maxsplit=1)) == 2}
    assert rows["   recipients in the CSV file"] == "400"
    assert rows["   of them got the mail"] == "400"
    assert int(rows["   steps recorded when the worker was killed"]) > 100
    assert rows["   of them run again"] == "0"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_stopped_takes_its_processes_along(number: signal.Signals, tmp_path: Path) -> None:
    with subprocess.Popen(
        DEMO, cwd=ROOT, env=os.environ | {"TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if "is ready" in line)
        process.send_signal(number)
        # Its end of the pipe is closed when the last process has gone that has it.
        process.stdout.read()

    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []


# -- its parts


def test_the_recipients_are_the_same_each_time_and_all_different(tmp_path: Path) -> None:
    first, second = (write_recipients(tmp_path / name, MOST) for name in ("a", "b"))

    assert first == second
    assert len(set(first)) == MOST == 2_000
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@scenario
async def test_a_worker_that_ends_of_itself_ends_the_demo() -> None:
    said: list[str] = []

    with pytest.raises(ExceptionGroup) as raised:
        async with mail_server(Path(os.devnull), lambda _: None) as server, worker("lost", "nonsense://", dict(os.environ), said.append):
            await server.reached(1)

    assert raised.group_contains(ProcessEnded, match="lost has ended with exit code")
    assert "nonsense" in " ".join(said)


@scenario
async def test_a_mail_server_that_cannot_keep_its_mails_ends_the_demo(tmp_path: Path) -> None:
    with pytest.raises(ExceptionGroup) as raised:
        async with mail_server(tmp_path / "none" / "mails", lambda _: None):
            pytest.fail("it listens")

    assert raised.group_contains(ProcessEnded, match="the mail server has ended with exit code 1")


# -- what it notices

PEOPLE = ("ada@example.org", "alan@example.org")


def sent(number: int) -> Mail:
    return Mail(PEOPLE[number], f"<{number}>")


def step(number: int, **changes: Any) -> StepRecord:
    at = datetime(2027, 1, 15, tzinfo=UTC)
    known: dict[str, Any] = {"key": f"send:{number}", "name": "send", "kind": "function", "status": "completed", "attempt": 1}
    return StepRecord(**{**known, "output": f"<{number}>", "error": None, "started_at": at, "finished_at": at, **changes})


def judged(mails: list[Mail], kill: Kill, steps: list[StepRecord]) -> Verdict:
    return compare(PEOPLE, mails, kill, steps, at_once=1)


KILL = Kill(mails=1, steps=[step(0)])
STEPS = [step(0), step(1)]


def test_everybody_once_is_as_it_should_be() -> None:
    assert judged([sent(0), sent(1)], KILL, STEPS).holds


def test_a_mail_that_was_in_flight_at_the_kill_may_come_twice() -> None:
    verdict = judged([sent(0), sent(1), sent(1)], Kill(mails=2, steps=[step(0)]), STEPS)

    assert (verdict.holds, verdict.sent_twice) == (True, 1)


@pytest.mark.parametrize(
    ("mails", "kill", "steps", "wrong"),
    [
        ([sent(0)], KILL, STEPS, "1 recipients got no mail: alan@example.org"),
        ([sent(0), sent(1), Mail("eve@example.org", "<2>")], KILL, STEPS, "1 got mail and are no recipients: eve@example.org"),
        ([sent(0), sent(0), sent(1)], KILL, STEPS, "1 steps were run again though they were recorded: send:0"),
        ([sent(0), sent(1)], KILL, [step(0, attempt=2), step(1)], "1 steps were run again though they were recorded: send:0"),
        ([sent(0), sent(1), sent(1), sent(1)], KILL, STEPS, "2 mails were sent twice, and only 1 can have been in flight"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_noticed_and_said(mails: list[Mail], kill: Kill, steps: list[StepRecord], wrong: str) -> None:
    verdict = judged(mails, kill, steps)
    out = StringIO()

    Show(2, Console(file=out, width=120)).verdict(verdict, 1.0)

    assert not verdict.holds
    assert wrong in out.getvalue()
    assert "Every recipient" not in out.getvalue()


# -- what it shows


def shown(**console: Any) -> str:
    out = StringIO()
    show = Show(4, Console(file=out, width=80, **console))
    with show:
        show.says("worker", "a long line " * 20)
        for count in range(1, 5):
            show.reached(count)
        show.reached(4)
    show.verdict(judged([sent(0), sent(1)], KILL, STEPS), 1.0)
    return out.getvalue()


def test_on_a_terminal_no_line_is_wider_than_it_and_a_bar_moves() -> None:
    out = shown(force_terminal=True, color_system=None, legacy_windows=False)

    assert "4/4" in out
    assert "recipients have got mail" not in out
    assert "a long line" in out
    assert max(len(line) for line in out.splitlines() if "\x1b" not in line) <= 80


def test_elsewhere_it_writes_plain_lines_one_for_each_quarter() -> None:
    out = shown()

    assert "\x1b" not in out
    assert [line for line in out.splitlines() if "recipients have got mail" in line] == [
        f" mail server  {count} of 4 recipients have got mail" for count in range(1, 5)
    ]
    assert f"      worker  {('a long line ' * 20)}" in out
