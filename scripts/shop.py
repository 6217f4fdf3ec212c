"""The shop whose pages are in the README: its workflows, and what has happened in it."""

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from stepwell import Logger, Retry, Schedule, Step, workflow

if TYPE_CHECKING:
    from tests.browser.served import Site

_MINUTES = 60


async def _takes(seconds: float) -> dict[str, float]:
    await asyncio.sleep(seconds)
    return {"took": seconds}


async def _charge(order: int) -> str:
    await asyncio.sleep(0.15)
    if order % 7 == 0:
        raise ValueError("card declined")
    return f"receipt {order}"


@workflow(version="v2")
async def process_payment(input: dict[str, int], step: Step, logger: Logger) -> str:
    """Charges a card, with a retry or two."""
    logger.info("new order", order=input["order"])
    await step.run("create_order", _takes, 0.12)
    charge = step.define("charge_card", _charge, retry=Retry(max_attempts=3, initial_interval="400ms"))
    receipt = await charge.run(input["order"])
    await step.run("send_receipt", _takes, 0.08)
    return receipt


@workflow
async def trial_reminder(input: dict[str, str], step: Step) -> None:
    """Waits most of its life."""
    await step.run(f"welcome {input['email']}", _takes, 0.05)
    await step.sleep("trial", "14d")
    await step.run("remind", _takes, 0.05)


@workflow
async def send_bulk_email(input: dict[str, int], step: Step) -> int:
    """Takes its time."""
    await step.run("fetch_users", _takes, 0.3)
    for number in range(input["users"]):
        await step.run(f"send_{number + 1}", _takes, 1.1)
        await step.progress(number + 1, input["users"])
    return input["users"]


@workflow(schedules=[Schedule("every_night", "0 2 * * *", timezone="Europe/Paris"), Schedule("hourly", "@hourly")])
async def daily_report(step: Step) -> str:
    """Runs at night."""
    await step.run("collect", _takes, 0.2)
    return "sent"


def seeded(site: "Site") -> dict[str, str]:
    """Let things happen; the addresses of the pages to show."""
    slow = site.start("send_bulk_email", {"users": 400}, tags=["newsletter"])
    site.start("send_bulk_email", {"users": 250}, tags=["acme"])
    paused = site.start("send_bulk_email", {"users": 90})
    site.start("trial_reminder", {"email": "ada@example.com"}, tags=["acme"])
    orders = [site.start("process_payment", {"order": number, "user_id": 40 + number}, key=f"order-{number}") for number in range(1, 15)]
    site.do(site.app.schedules.trigger("daily_report", "every_night"))
    site.becomes(paused, "running")
    site.do(site.app.runs.pause(paused, actor="ada"))
    for number, run_id in enumerate(orders, 1):
        site.becomes(run_id, "failed" if number % 7 == 0 else "completed")
    failed = orders[6]
    site.start("process_payment", {"order": 21, "user_id": 61}, delay=timedelta(minutes=_MINUTES))
    return {"tasks": "/tasks", "run": f"/runs/{failed}?step=charge_card", "live": f"/runs/{slow}"}
