"""The daily report: each day of the shop has one, whatever clocks do."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from examples import daily_report as example
from examples.daily_report import ZONE, Day, Report, Shop, daily_report, main
from stepwell.testing import TestApp
from stepwell.testing.clock import MovedClock
from tests.engine.harness import scenario


@pytest.fixture(autouse=True)
def shop(monkeypatch: pytest.MonkeyPatch) -> Shop:
    """One without reports."""
    monkeypatch.setattr(example, "shop", Shop())
    return example.shop


def beginning(year: int, month: int, day: int) -> TestApp:
    """An app with the report, at midnight in UTC."""
    app = TestApp(daily_report)
    app.clock = MovedClock(start=datetime(year, month, day, tzinfo=UTC).timestamp())
    return app


@pytest.mark.parametrize(
    ("begins", "changed", "hours"),
    [(date(2027, 3, 26), date(2027, 3, 28), 23), (date(2027, 10, 29), date(2027, 10, 31), 25)],
    ids=["spring", "autumn"],
)
@scenario
async def test_each_morning_reports_the_day_before_also_over_a_change_of_clocks(
    shop: Shop, begins: date, changed: date, hours: int
) -> None:
    async with beginning(begins.year, begins.month, begins.day) as app:
        await app.advance("5 days")
        done = await app.runs.list(workflow="daily_report", order="oldest")

    mornings = [each.scheduled_at.astimezone(ZoneInfo(ZONE)) for each in done if each.scheduled_at is not None]
    assert [f"{morning:%H:%M}" for morning in mornings] == ["07:00"] * 5
    assert list(shop.reports) == [begins + timedelta(days=number - 1) for number in range(5)]
    assert {day: report.orders for day, report in shop.reports.items() if report.orders != 24} == {changed: hours}
    assert len({morning.utcoffset() for morning in mornings}) == 2


@scenario
async def test_a_report_that_is_late_is_that_of_its_morning(shop: Shop) -> None:
    async with beginning(2027, 1, 15) as app:
        app.fail_step("count", times=4, error=ConnectionError("the database of the shop is away"))
        await app.advance("1 day")

    morning = datetime(2027, 1, 15, 6, tzinfo=UTC)
    assert shop.reports == {date(2027, 1, 14): Report(date=date(2027, 1, 14), orders=24, due=morning)}


@scenario
async def test_a_day_that_is_reported_twice_has_one_report(shop: Shop) -> None:
    async with beginning(2027, 1, 15) as app:
        await app.advance("1 day")
        again = await app.execute(daily_report, Day(date=date(2027, 1, 14)))

    assert again == Report(date=date(2027, 1, 14), orders=24, due=None)
    assert shop.reports == {date(2027, 1, 14): again}


@scenario
async def test_its_program_makes_up_for_three_mornings_once(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    await main(url)
    await main(url)

    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("made up")] == [f"made up for {count} mornings" for count in (3, 0, 0, 0)]
    assert [line.startswith("due ") for line in lines[:8]] == [False, False, True, True, True, False, False, False]
    assert lines[2:5] == lines[10:13]
    assert all(" 07:00 CE" in line for line in lines[5:8])
