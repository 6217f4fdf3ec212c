"""A mail to each of many recipients: read from a CSV file in one step, then sent side by side, each mail a step of its own.

A worker that is killed half-way loses nothing. The next one goes on with the mails that are not recorded as sent; only those that were
under way in that very moment may arrive twice, and then with the same Message-ID, by which mailboxes know them. `make demo` shows it.

    python examples/bulk_mail.py recipients.csv     # columns: name,email
    SMTP_SERVER=mail.example.org:25 python examples/bulk_mail.py recipients.csv

Without SMTP_SERVER the mails are printed instead of sent.
"""

from __future__ import annotations

import asyncio
import csv
import os
import smtplib
import sys
from email.headerregistry import Address
from email.message import EmailMessage
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import BaseModel

from stepwell import Logger, Retry, Step, Stepwell, current_step, workflow

AT_ONCE = 50
"""Connections to the mail server."""


class Recipient(BaseModel):
    """A line of the file."""

    name: str
    email: str


class Mailing(BaseModel):
    """Which recipients get mail."""

    recipients: Path


class Sent(BaseModel):
    """What was done."""

    mails: int


@workflow(retry=Retry(max_attempts=10, initial_interval="1s"))
async def bulk_mail(mailing: Mailing, step: Step, logger: Logger) -> Sent:
    """Send each recipient one mail."""
    recipients = await step.run("read", read_recipients, mailing.recipients)
    logger.info("sending", mails=len(recipients))
    sent = await step.map("send", send_mail, recipients, concurrency=AT_ONCE)
    logger.info("sent", mails=len(sent))
    return Sent(mails=len(sent))


def read_recipients(file: Path) -> list[Recipient]:
    """Read the file, once: who is added to it later gets no mail of this run."""
    with file.open(newline="", encoding="utf-8") as lines:
        return [Recipient.model_validate(line) for line in csv.DictReader(lines)]


def send_mail(recipient: Recipient) -> str:
    """Send one mail, and return its Message-ID. It is made of what is the same on every attempt, so a mail sent twice can be told."""
    mail = EmailMessage()
    mail["Message-ID"] = f"<{current_step().idempotency_key.replace(':', '.')}@example.org>"
    mail["From"] = "Stepwell <news@example.org>"
    mail["To"] = Address(recipient.name, addr_spec=recipient.email)
    mail["Subject"] = "News"
    mail.set_content(f"Dear {recipient.name},\n\nthis mail was sent by a workflow.\n")
    deliver(mail)
    return str(mail["Message-ID"])


def deliver(mail: EmailMessage) -> None:
    """Hand it to the mail server that SMTP_SERVER names, or print it."""
    server = os.environ.get("SMTP_SERVER")
    if server is None:
        print(f"  {mail['To']}: {mail['Subject']}  {mail['Message-ID']}")
        return
    host, _, port = server.partition(":")
    with smtplib.SMTP(host, int(port or 25), local_hostname="localhost", timeout=30) as connection:
        connection.send_message(mail)


async def main(recipients: Path, database_url: str | None = None) -> None:
    """Send the mails."""
    async with Stepwell(database_url, workflows=[bulk_mail]) as app, app.worker():
        handle = await app.start(bulk_mail, Mailing(recipients=recipients))
        print(f"run {handle.run_id}")
        sent = await handle.result()
        print(f"it sent {sent.mails} mails")


def _sample(folder: str) -> Path:
    """Two recipients, to try it."""
    file = Path(folder) / "recipients.csv"
    file.write_text("name,email\nAda Lovelace,ada@example.org\nAlan Turing,alan@example.org\n", encoding="utf-8")
    return file


if __name__ == "__main__":
    with TemporaryDirectory() as scratch:
        asyncio.run(main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else _sample(scratch)))
