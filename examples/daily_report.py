"""A daily report: each morning in the zone of the shop, about the day before, which follows from the time of the slot.

python examples/daily_report.py               # makes up for the last three mornings, and shows when the next ones come
stepwell dev examples/daily_report.py         # or: stays, and reports every morning
"""

from __future__ import annotations

import asyncio
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from pydantic import BaseModel

from stepwell import RunInfo, Schedule, Step, Stepwell, workflow

ZONE = "Europe/Zurich"


class Day(BaseModel):
    """What is reported: a day of the shop's calendar."""

    date: date


class Report(BaseModel):
    """What is in it."""

    date: date
    orders: int
    due: datetime | None
    """The slot that it was made for, however late; None: it was asked for by hand."""


def day_before(slot: datetime) -> Day:
    """The day that has just ended. The slot comes in the schedule's zone, so this is the shop's day, whatever it is in UTC."""
    return Day(date=slot.date() - timedelta(days=1))


@workflow(schedules=[Schedule("every_morning", "0 7 * * *", input=day_before, timezone=ZONE)])
async def daily_report(day: Day, run: RunInfo, step: Step) -> Report:
    """Count the orders of a day, and send the report.

    It asks no clock: the same day gives the same report, tomorrow, by `backfill` or a second time.
    """
    orders = await step.run("count", count_orders, day.date)
    report = Report(date=day.date, orders=orders, due=run.scheduled_at)
    await step.run("send", send, report)
    return report


def count_orders(day: date) -> int:
    """Of that day in the shop's zone: from midnight to midnight, which is 23 or 25 hours where clocks are changed."""
    midnight, next_midnight = (datetime.combine(each, time(), ZoneInfo(ZONE)) for each in (day, day + timedelta(days=1)))
    return shop.orders_between(midnight.timestamp(), next_midnight.timestamp())


def send(report: Report) -> None:
    """Replace the report of that day: a second attempt leaves what the first one would have left."""
    shop.reports[report.date] = report


class Shop:
    """Stands for the database and the mailbox of a shop, which sells one thing every hour."""

    def __init__(self) -> None:
        self.reports: dict[date, Report] = {}

    def orders_between(self, start: float, end: float) -> int:
        """How many there were."""
        return int(end // 3600 - start // 3600)


shop = Shop()


async def main(database_url: str | None = None) -> None:
    """Make up for the last three mornings, a second time to no effect, and show the next ones."""
    async with Stepwell(database_url, workflows=[daily_report]) as app, app.worker():
        mornings = await app.schedules.preview(daily_report, "every_morning", 3)
        for _ in range(2):
            handles = await app.schedules.backfill(daily_report, "every_morning", mornings[0] - timedelta(days=3), mornings[0])
            for handle in handles:
                await handle.result()
            print(f"made up for {len(handles)} mornings")
        for done in await app.runs.list(workflow="daily_report", limit=3):
            print(f"due {done.scheduled_at:%Y-%m-%d %H:%M} UTC: {done.output['orders']} orders on {done.output['date']}")
        for morning in mornings:
            print(f"next: {morning.astimezone(ZoneInfo(ZONE)):%Y-%m-%d %H:%M %Z}, {morning:%H:%M} UTC")


if __name__ == "__main__":
    asyncio.run(main())
