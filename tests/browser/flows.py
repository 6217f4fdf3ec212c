"""Workflows for tests in a browser. A step that is to wait does so until a file is there, which the test makes."""

import asyncio
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from stepwell import Logger, Retry, Schedule, Step, workflow

HOSTILE = "<script>document.title = 'owned'</script><img src=x onerror=alert(1)>\"'&amp;"


async def at_once(value: Any = None) -> Any:
    return value


def until_there(gate: str) -> str:
    """Ends when there is such a file."""
    while not Path(gate).exists():
        time.sleep(0.02)
    return "open"


def only_if_there(gate: str) -> str:
    """Fails as long as there is no such file."""
    if not Path(gate).exists():
        raise ValueError("card declined")
    return "charged"


@workflow
async def parcel(input: dict[str, Any], step: Step, logger: Logger) -> str:
    logger.info("begin", parcel=input.get("name"))
    await step.run("collect", at_once, input)
    await step.run("pack", until_there, input["gate"])
    await step.run("send", at_once, "sent")
    return "delivered"


@workflow(retry=Retry.never())
async def payment(input: dict[str, Any], step: Step) -> str:
    await step.run("create_order", at_once, {"order": 8})
    return await step.run("charge_card", only_if_there, input["gate"])


def _refuse() -> None:
    raise ValueError("not this time")


@workflow(retry=Retry(max_attempts=3, initial_interval="10ms"))
async def stubborn(step: Step) -> None:
    await step.run("tries", _refuse)


@workflow
async def approval(input: dict[str, Any], step: Step) -> Any:
    return await step.wait_for_signal("approved", type=Any)


@workflow
async def letter(input: dict[str, Any], step: Step) -> Any:
    await step.run("write", until_there, input["gate"])
    return await step.wait_for_signal("answer", type=Any)


@workflow
async def nap(input: dict[str, Any], step: Step) -> None:
    await step.sleep("rest", "1d")


@workflow
async def hello(name: str, step: Step) -> str:
    return await step.run("greet", str.title, name)


class Address(BaseModel):
    street: str
    city: str = "Seoul"


class Order(BaseModel):
    email: str = Field(description="Where the receipt goes.", min_length=3)
    amount: int = Field(gt=0, examples=[100])
    express: bool = False
    address: Address
    notes: list[str] = []


@workflow
async def order(input: Order, step: Step) -> int:
    return await step.run("charge", at_once, input.amount)


@workflow
async def mailing(input: dict[str, Any], step: Step) -> int:
    async with asyncio.TaskGroup() as group:
        for number in range(input["count"]):
            group.create_task(step.run(f"send_{number}", at_once, number))
    return int(input["count"])


@workflow(retry=Retry.never())
async def hostile(input: dict[str, Any], step: Step, logger: Logger) -> None:
    def fail() -> None:
        raise ValueError(HOSTILE)

    logger.warning(HOSTILE, field=HOSTILE)
    await step.run(HOSTILE, at_once, HOSTILE)
    await step.progress(1, 2, HOSTILE)
    await step.run("fails", fail)


@workflow(schedules=[Schedule("nightly", "0 2 * * *", timezone="Europe/Paris"), Schedule("yearly", "@yearly")])
async def report(step: Step) -> str:
    return await step.run("write", at_once, "written")
