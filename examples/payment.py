"""Takes a payment: typed input and output, an error that trying again would not mend, and an idempotency key against paying twice.

python examples/payment.py
"""

from __future__ import annotations

import asyncio

from pydantic import BaseModel, Field

from stepwell import NonRetryable, Retry, RunFailed, Step, Stepwell, current_step, workflow


class Order(BaseModel):
    """What is to be paid. An order that is no such thing is refused at its start, and nothing of it is stored."""

    id: str
    card: str
    cents: int = Field(gt=0)


class Receipt(BaseModel):
    """What the customer gets. The run fails rather than return anything else."""

    order_id: str
    charge_id: str


class CardDeclined(NonRetryable):
    """The bank says no, and will say so again: the step fails at its first attempt."""


class Provider:
    """Stands for the service that takes the money. As they all do, it charges once for one idempotency key, however often it is asked."""

    def __init__(self, unanswered: int = 0) -> None:
        self.charges: dict[str, int] = {}
        self._unanswered = unanswered

    def charge(self, card: str, cents: int, idempotency_key: str) -> str:
        """Charge the card; the charge's id."""
        if card == "4000-0000":
            raise CardDeclined("no funds")
        self.charges.setdefault(idempotency_key, cents)
        if self._unanswered:
            self._unanswered -= 1
            raise ConnectionError("the card was charged, but the line broke before the answer came")
        return f"charge-{list(self.charges).index(idempotency_key) + 1}"


provider = Provider(unanswered=1)


@workflow(retry=Retry(max_attempts=5, initial_interval="200ms"))
async def payment(order: Order, step: Step) -> Receipt:
    """Charge the card, and write the receipt."""
    charge_id = await step.run("charge", charge, order)
    return Receipt(order_id=order.id, charge_id=charge_id)


def charge(order: Order) -> str:
    """Charge the order's card. The key is the same on every attempt, also on those after a crash."""
    return provider.charge(order.card, order.cents, idempotency_key=current_step().idempotency_key)


async def main(database_url: str | None = None) -> None:
    """Take two payments: the first answer of the provider is lost, and the second card has no funds."""
    async with Stepwell(database_url, workflows=[payment]) as app, app.worker():
        paid = await app.start(payment, Order(id="A-1", card="4242-4242", cents=1250))
        print(f"A-1: {await paid.result()!r}")
        for record in await paid.steps():
            print(f"  attempt {record.attempt} {record.status}: {record.error or record.output}")
        print(f"  the card was charged {len(provider.charges)} time")
        try:
            await app.execute(payment, Order(id="A-2", card="4000-0000", cents=990))
        except RunFailed as failed:
            if not failed.caused_by(CardDeclined):
                raise
            print(f"A-2: {failed.error}")


if __name__ == "__main__":
    asyncio.run(main())
