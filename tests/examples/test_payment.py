"""Payments: no card is charged twice, and one that is declined is not tried again."""

from __future__ import annotations

import pytest

from examples import payment
from examples.payment import CardDeclined, Order, Provider, Receipt
from stepwell import InvalidInput, RunFailed, Stepwell
from tests.engine.harness import scenario


@pytest.fixture(autouse=True)
def provider(monkeypatch: pytest.MonkeyPatch) -> Provider:
    """One that loses its first answer."""
    made = Provider(unanswered=1)
    monkeypatch.setattr(payment, "provider", made)
    return made


@scenario
async def test_a_card_is_charged_once_though_the_first_answer_was_lost(url: str, provider: Provider) -> None:
    async with Stepwell(url, workflows=[payment.payment]) as app, app.worker():
        handle = await app.start(payment.payment, Order(id="A-1", card="4242", cents=1250))

        assert await handle.result() == Receipt(order_id="A-1", charge_id="charge-1")
        assert [(record.attempt, record.status) for record in await handle.steps()] == [(1, "failed"), (2, "completed")]

    assert list(provider.charges.values()) == [1250]


@scenario
async def test_two_payments_of_one_order_are_two_charges(url: str, provider: Provider) -> None:
    order = Order(id="A-1", card="4242", cents=1250)

    async with Stepwell(url, workflows=[payment.payment]) as app, app.worker():
        for _ in range(2):
            await app.execute(payment.payment, order)

    assert list(provider.charges.values()) == [1250, 1250]


@scenario
async def test_a_declined_card_fails_the_run_at_the_first_attempt(url: str, provider: Provider) -> None:
    async with Stepwell(url, workflows=[payment.payment]) as app, app.worker():
        handle = await app.start(payment.payment, Order(id="A-2", card="4000-0000", cents=990))
        with pytest.raises(RunFailed, match="no funds") as failed:
            await handle.result()
        attempts = len(await handle.steps())

    assert (failed.value.caused_by(CardDeclined), attempts, provider.charges) == (True, 1, {})


@scenario
async def test_an_order_that_is_none_is_refused_at_the_start(url: str) -> None:
    async with Stepwell(url, workflows=[payment.payment]) as app:
        with pytest.raises(InvalidInput, match="cents"):
            await app.start("payment", {"id": "A-3", "card": "4242", "cents": 0})

        assert await app.runs.count() == {}


@scenario
async def test_its_program_takes_one_payment_and_is_refused_another(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    await payment.main(url)

    out = capsys.readouterr().out
    assert "the card was charged 1 time" in out
    assert "CardDeclined: no funds" in out
