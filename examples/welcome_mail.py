"""A first workflow: typed input and output, two steps, a log line, and a durable sleep between the steps.

python examples/welcome_mail.py                 # starts one, works on it, and shows what was recorded
stepwell worker examples/welcome_mail.py        # or: a worker that stays, in as many terminals as you like,
stepwell start welcome_mail --input '{"email": "ada@example.org"}' --wait
"""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from stepwell import Logger, Step, Stepwell, workflow


class Customer(BaseModel):
    """Who is welcomed."""

    email: str
    trial: str = "1s"
    """How long the trial lasts: in earnest, `30 days`."""


class Welcomed(BaseModel):
    """What was done."""

    mails: int


def send_mail(to: str, subject: str) -> None:
    """Send a mail: here to the terminal."""
    print(f"  mail to {to}: {subject}")


@workflow
async def welcome_mail(customer: Customer, step: Step, logger: Logger) -> Welcomed:
    """Welcome a customer, and ask how it was when the trial is over.

    The worker may crash, or be replaced, at any line: each mail is a step, which is not done again once it is recorded.
    """
    await step.run("welcome", send_mail, to=customer.email, subject="Welcome!")
    await step.sleep("trial", customer.trial)
    logger.info("the trial is over", email=customer.email)
    await step.run("ask", send_mail, to=customer.email, subject="How was it?")
    return Welcomed(mails=2)


async def main(database_url: str | None = None) -> None:
    """Welcome one customer, and show what was recorded of it."""
    async with Stepwell(database_url, workflows=[welcome_mail]) as app, app.worker():
        handle = await app.start(welcome_mail, Customer(email="ada@example.org"))
        print(f"run {handle.run_id}")
        welcomed = await handle.result()
        print(f"it sent {welcomed.mails} mails, in these steps:")
        for record in await handle.steps():
            print(f"  {record.started_at:%H:%M:%S} {record.kind:8} {record.key:8} {record.status}")


if __name__ == "__main__":
    asyncio.run(main())
