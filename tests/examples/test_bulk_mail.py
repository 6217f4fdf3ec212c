"""Bulk mail, with a real mail server."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.bulk_mail import Mailing, Sent, bulk_mail, main, read_recipients
from examples.demo.mail_server import mails_in
from examples.demo.processes import mail_server
from examples.demo.recipients import write_recipients
from stepwell import Stepwell
from tests.engine.harness import scenario


@scenario
async def test_each_recipient_gets_one_mail_with_an_id_of_its_own(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = write_recipients(tmp_path / "recipients.csv", 120)

    async with mail_server(tmp_path / "mails", lambda _: None) as server, Stepwell(url, workflows=[bulk_mail]) as app:
        monkeypatch.setenv("SMTP_SERVER", server.address)
        async with app.worker():
            handle = await app.start(bulk_mail, Mailing(recipients=tmp_path / "recipients.csv"))
            assert await handle.result() == Sent(mails=120)

    mails = mails_in(tmp_path / "mails")
    assert sorted(mail.to for mail in mails) == sorted(addresses)
    assert len({mail.message_id for mail in mails}) == 120
    assert all(mail.message_id.startswith(f"<{handle.run_id}.send") for mail in mails)


def test_a_line_without_an_address_is_no_recipient(tmp_path: Path) -> None:
    (tmp_path / "recipients.csv").write_text("name\nAda\n")

    with pytest.raises(ValueError, match="email"):
        read_recipients(tmp_path / "recipients.csv")


@scenario
async def test_without_a_mail_server_its_program_prints_the_mails(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    addresses = write_recipients(tmp_path / "recipients.csv", 3)

    await main(tmp_path / "recipients.csv", url)

    out = capsys.readouterr().out
    assert [address for address in addresses if f"<{address}>: News" not in out] == []
    assert "it sent 3 mails" in out
