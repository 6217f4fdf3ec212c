"""The page of the system: whether all is well, and how the server is set, with nothing on it that is secret."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from stepwell import Stepwell
from stepwell.core.records import DatabaseFacts
from stepwell.testing import TestApp
from stepwell.web.system import clock_of
from stepwell.web.words import compact, percent, size
from tests.engine.harness import scenario
from tests.web.seeing import ADMIN, OPERATOR, TOKENS, VIEWER, app_in, seen, send_mail, text_of, with_runs


@scenario
async def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    async with with_runs(tmp_path) as app, seen(app) as client:
        text = text_of(await client.get("/system"))

    assert "Database ✓ ok SQLite answers" in text
    assert "Workers ✕ wrong 0 alive" in text
    assert "Served ✕ wrong no worker can run nobody_has_it (1), send_mail v1 (1)" in text
    assert "Start one that has their workflows: stepwell worker app.py" in text
    assert "cancel these runs if nobody will have it again" in text
    assert "all applied: 0001_initial" in text
    assert re.search(r"Ready for a worker 2, the oldest since \d+ m?s", text)
    assert re.search(r"Oldest pending run [0-9a-f]{8}…[0-9a-f]{4} of send_mail , created ", text)


@scenario
async def test_all_is_well_where_nothing_waits(tmp_path: Path) -> None:
    app = app_in(tmp_path)
    async with app, seen(app) as client:
        text = text_of(await client.get("/system"))

    assert "wrong" not in text
    assert "Start " not in text  # nothing needs to be done
    assert "Ready for a worker 0 Oldest pending run none" in text


@scenario
async def test_a_database_in_memory_is_told_to_end_with_the_process() -> None:
    app = TestApp(send_mail, self_moving=False)
    async with app, seen(app) as client:
        text = text_of(await client.get("/system"))

    assert "what is in it is gone when this process ends" in text
    assert "STEPWELL_DATABASE_URL" in text


@pytest.mark.parametrize(
    ("retention", "said"),
    [
        ({}, "Ended runs are kept for ever"),
        ("7d", "Ended runs are kept 7 d"),
        ({"completed": "7d", "failed": "90d"}, "completed 7 d, failed 90 d, canceled for ever"),
    ],
)
@scenario
async def test_it_is_said_for_how_long_runs_are_kept(retention: Any, said: str, tmp_path: Path) -> None:
    app = Stepwell(f"sqlite:///{tmp_path / 'kept.db'}", retention=retention)
    async with app, seen(app) as client:
        assert said in text_of(await client.get("/system"))


@pytest.mark.parametrize(
    ("facts", "said", "ok"),
    [
        (None, "the database's is this machine's", True),
        (0.0004, "the database's shows the same as this machine's", True),
        (1.5, "the database's is 1.5 s ahead of this machine's", True),
        (-90.0, "the database's is 1 m 30 s behind this machine's", False),
    ],
)
def test_clocks_that_differ_are_told_with_what_helps(facts: float | None, said: str, ok: bool) -> None:
    found = clock_of(DatabaseFacts(kind="PostgreSQL", version="15", size=None, migrations=(), clock_skew=facts))

    assert (found.found, found.ok) == (said, ok)
    assert ("NTP" in found.do) is not ok


@scenario
async def test_settings_are_shown_without_secrets(tmp_path: Path) -> None:
    app = app_in(tmp_path)
    async with app, seen(app, read_only=True, redact=("iban",)) as client:
        answer = await client.get("/system")

    text = text_of(answer)
    assert "Access by token; read-only" in text
    assert "Hidden fields iban" in text
    assert "You web, viewer" in text
    assert not any(token in answer.text for token in TOKENS)
    assert ADMIN not in answer.text


@pytest.mark.parametrize(("token", "is_told"), [(VIEWER, False), (OPERATOR, True), (ADMIN, True)])
@scenario
async def test_where_the_database_is_is_told_to_those_who_look_after_it(token: str, is_told: bool, tmp_path: Path) -> None:
    app = app_in(tmp_path)
    async with app, seen(app, token=token) as client:
        answer = await client.get("/system")

    assert (str(tmp_path) in answer.text) == is_told
    assert "Database ✓ ok" in text_of(answer)


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0"), (41, "41"), (999, "999"), (1_000, "1k"), (8_230, "8.23k"), (1_500_000, "1.5M"), (2_000_000_000, "2G")]
)
def test_figures_among_words_are_short(number: int, words: str) -> None:
    assert compact(number) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [(None, "not known"), (0, "0 bytes"), (1_023, "1,023 bytes"), (1_536, "1.5 KiB"), (300 * 1024**2, "300 MiB"), (5 * 1024**4, "5.0 TiB")],
)
def test_sizes_are_told_in_their_units(number: int | None, words: str) -> None:
    assert size(number) == words


@pytest.mark.parametrize(("part", "whole", "words"), [(0, 0, ""), (0, 9, "0 %"), (1, 200, "0.5 %"), (1, 3, "33 %"), (3, 3, "100 %")])
def test_shares_are_told_in_percent(part: int, whole: int, words: str) -> None:
    assert percent(part, whole) == words
