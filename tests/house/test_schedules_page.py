"""What docs/schedules.md says of expressions and clocks is so: each row of its tables is computed."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from stepwell.core.cron import Cron, in_words
from stepwell.core.expression import ALIASES
from stepwell.errors import DefinitionError

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "schedules.md").read_text()
MAY = datetime(2026, 5, 1, tzinfo=ZoneInfo("UTC"))


def rows(heading: str) -> list[list[str]]:
    """Of the table that has this heading."""
    table = PAGE.partition(f"| {heading} |\n")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.strip("| ").split(" |")] for line in table.splitlines()[1:]]


def on_the_day(expression: str, zone: str, day: str) -> list[str]:
    begin = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone))
    end = begin + timedelta(days=1)  # of the calendar
    slots = Cron(expression.strip("`"), zone).between(begin.timestamp() - 1, end.timestamp() - 1)
    return [f"{datetime.fromtimestamp(slot, ZoneInfo(zone)):%H:%M %z}" for slot in slots]


@pytest.mark.parametrize("row", rows("expression | zone | on | comes at"))
def test_on_a_day_that_clocks_are_changed_slots_are_those_of_the_page(row: list[str]) -> None:
    expression, zone, day, slots = row

    assert ", ".join(on_the_day(expression, zone, day)) == slots


@pytest.mark.parametrize("row", rows("expression | zone | on | slots"))
def test_an_hourly_schedule_has_as_many_slots_as_the_page_says(row: list[str]) -> None:
    expression, zone, day, slots = row

    assert len(on_the_day(expression, zone, day)) == int(slots)


@pytest.mark.parametrize("row", rows("expression | comes on | from 1 May 2026 on"))
def test_an_expression_comes_on_the_days_of_the_page(row: list[str]) -> None:
    expression, _, days = row
    year = "" if "20" not in days else " %Y"

    slots = islice(Cron(expression.strip("`"), "UTC").between(MAY.timestamp() - 1, float("inf")), 3)

    found = [datetime.fromtimestamp(slot, MAY.tzinfo) for slot in slots]
    assert ", ".join(f"{each.day} {each:%B{year}}" for each in found) == days


def test_the_aliases_are_those_of_the_page() -> None:
    assert {alias.strip("`"): fields.strip("`") for alias, fields in rows("alias | is")} == ALIASES


def test_the_examples_of_what_can_be_written_can_be() -> None:
    written = rows("written | means | example")
    examples = [example for *_, cell in written for example in re.findall(r"`(.*?)`", cell)]

    assert len(examples) == 7
    for example in examples:
        Cron(f"* * * * {example}" if re.search("[A-Z#]", example) else f"{example} * * * *", "UTC")


def test_what_the_page_says_of_single_expressions_is_so() -> None:
    expression, words = re.findall(r"in words: `(.*?)` is `(.*?)`", PAGE)[0]
    assert in_words(expression) == words

    (never,) = re.findall(r"that no date fits, such as `(.*?)`", PAGE)
    with pytest.raises(DefinitionError, match="never comes"):
        Cron(never, "UTC")

    ranges = re.findall(r"`SAT-SUN` is `(.*?)`, and `22-4` is `(.*?)`", PAGE)[0]
    assert ranges == ("6-7", "22,23,0-4")
    assert len(list(Cron(f"0 {ranges[1]} * * {ranges[0]}", "UTC").between(0, 7 * 86_400))) == 14

    assert list(Cron("*/40 * * * *", "UTC").between(0, 7200)) == [2400, 3600, 6000, 7200]
