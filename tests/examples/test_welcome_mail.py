"""The first workflow."""

from __future__ import annotations

import pytest

from examples.welcome_mail import Customer, Welcomed, main, welcome_mail
from stepwell import InvalidInput
from stepwell.testing import TestApp
from tests.engine.harness import scenario


@scenario
async def test_the_second_mail_is_sent_when_the_trial_is_over() -> None:
    async with TestApp(welcome_mail) as app:
        handle = await app.start(welcome_mail, Customer(email="ada@example.org", trial="30 days"))

        assert await handle.result() == Welcomed(mails=2)
        welcome, trial, ask = await handle.steps()

    assert [record.key for record in (welcome, trial, ask)] == ["welcome", "trial", "ask"]
    assert (ask.started_at - welcome.started_at).days == 30


@scenario
async def test_its_program_says_what_was_sent_and_recorded(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    await main(url)

    out = capsys.readouterr().out
    assert "mail to ada@example.org: Welcome!" in out
    assert [line.split()[1:] for line in out.splitlines()[-3:]] == [
        ["function", "welcome", "completed"],
        ["sleep", "trial", "completed"],
        ["function", "ask", "completed"],
    ]


@scenario
async def test_a_customer_without_an_address_is_refused_at_the_start() -> None:
    async with TestApp(welcome_mail) as app:
        with pytest.raises(InvalidInput, match="email"):
            await app.start("welcome_mail", {"trial": "1s"})

        assert await app.runs.count() == {}
