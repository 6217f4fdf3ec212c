"""What is printed: JSON for programs, tables for people, and nothing that would command the terminal."""

import io
import json
import sys
from pathlib import Path

import pytest
from rich.console import Console

from stepwell.cli.command import actor
from stepwell.cli.output import Column, cell_text, complain, console, print_json, print_table, printable, table
from stepwell.config import shown_url
from stepwell.core.status import RunStatus

COLUMNS = (Column(title="id", short=4), Column(title="queue", rank=2), Column(title="created", rank=1), Column(title="status"))
ROWS = [["0123456789", "default", "yesterday", "completed"], ["abcdefghij", "mail", "today", "failed"]]


def drawn(width: int) -> list[str]:
    target = Console(file=io.StringIO(), width=width)
    target.print(table(COLUMNS, ROWS, width))
    assert isinstance(target.file, io.StringIO)
    return [line.rstrip() for line in target.file.getvalue().splitlines()]


def test_a_table_shows_all_where_there_is_room() -> None:
    assert drawn(80) == [
        "id          queue    created    status",
        "0123456789  default  yesterday  completed",
        "abcdefghij  mail     today      failed",
    ]


def test_a_narrow_terminal_cuts_what_may_be_short_before_it_leaves_out_a_column() -> None:
    assert drawn(36) == ["id    queue    created    status", "0123  default  yesterday  completed", "abcd  mail     today      failed"]


def test_a_narrow_terminal_leaves_out_the_least_important_columns() -> None:
    assert drawn(30) == ["id    created    status", "0123  yesterday  completed", "abcd  today      failed"]
    assert drawn(20) == ["id    status", "0123  completed", "abcd  failed"]


def test_the_narrowest_terminal_still_shows_everything_that_matters() -> None:
    text = "".join(drawn(12)).replace(" ", "")

    assert "0123" in text
    assert all(line.strip() for line in drawn(12))


@pytest.mark.parametrize(("width", "last"), [(40, "no worker has pay v2"), (30, "no worker…"), (26, "no wo…")])
def test_the_elastic_column_gets_the_room_that_is_left(width: int, last: str) -> None:
    columns = (Column(title="id"), Column(title="why", short=6, elastic=True))
    target = Console(file=io.StringIO(), width=width)

    target.print(table(columns, [["0123456789abcdefgh", "no worker has pay v2"]], width))

    assert isinstance(target.file, io.StringIO)
    assert target.file.getvalue().splitlines()[1].rstrip() == "0123456789abcdefgh  " + last


def test_what_is_no_terminal_gets_long_lines_whole_and_without_colours(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([Column(title="text"), Column(title="status")], [["x" * 500, RunStatus.FAILED]], empty="none")

    assert capsys.readouterr().out.splitlines()[1] == "x" * 500 + "  failed"


def test_no_rows_are_said_beside_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(COLUMNS, [], empty="there are no runs")

    assert capsys.readouterr() == ("", "there are no runs\n")


@pytest.mark.parametrize(("no_color", "coloured"), [(None, True), ("1", False)])
def test_colours_are_for_terminals_and_no_color_is_heeded(monkeypatch: pytest.MonkeyPatch, no_color: str | None, coloured: bool) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    monkeypatch.setenv("TERM", "xterm-256color")
    if no_color:
        monkeypatch.setenv("NO_COLOR", no_color)

    console().print(table(COLUMNS, ROWS, 80))

    assert ("\x1b[1;31m" in terminal.getvalue()) is coloured


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (True, "yes"),
        (False, "no"),
        ((), "-"),
        (("a", "b"), "a, b"),
        (["v2", "without"], "v2, without"),
        ("a\nb", "a b"),
        (3, "3"),
    ],
)
def test_a_cell_is_one_line(value: object, text: str) -> None:
    assert cell_text(value) == text


def test_what_a_run_says_cannot_command_the_terminal() -> None:
    assert printable("\x1b[2J\x07 ok\tümlaut 🎉\n") == "\\x1b[2J\\x07 ok\tümlaut 🎉\n"


def test_an_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    complain("first\n  second\n")

    assert capsys.readouterr().err == "error: first second\n"


@pytest.mark.parametrize(("encoding", "bytes_written"), [("utf-8", '"é"'.encode()), ("ascii", b'"\\u00e9"')])
def test_json_is_right_in_every_encoding(monkeypatch: pytest.MonkeyPatch, encoding: str, bytes_written: bytes) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))

    print_json("é")
    sys.stdout.flush()

    assert written.getvalue().strip() == bytes_written
    assert json.loads(written.getvalue()) == "é"


@pytest.mark.parametrize(
    ("url", "label"),
    [
        ("postgresql://ann:secret@db.acme:5432/shop?sslmode=require", "postgresql://ann@db.acme:5432/shop?sslmode=require"),
        ("sqlite:///stepwell.db", "sqlite:///stepwell.db"),
        ("sqlite:////var/lib/a.db", "sqlite:////var/lib/a.db"),
    ],
)
def test_a_database_is_named_without_its_password(url: str, label: str) -> None:
    assert shown_url(url) == label


def test_whoever_acts_has_a_name_also_where_the_system_knows_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOGNAME", "ann")
    assert actor() == "cli:ann"

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    assert actor().startswith("cli:")
