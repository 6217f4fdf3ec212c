"""An SMTP server, as a process of its own: `python -m examples.demo.mail_server JOURNAL`.

It appends each mail that it accepts to the journal, before it says so, and never changes what is there. It prints its port, then with
each mail how many recipients have got one; and ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import email
import json
import sys
from pathlib import Path
from typing import IO, NamedTuple

from aiosmtpd.smtp import SMTP, Envelope, Session


class Mail(NamedTuple):
    """A line of the journal."""

    to: str
    message_id: str


def mails_in(journal: Path) -> list[Mail]:
    """All that it has accepted, in order."""
    with journal.open(encoding="utf-8") as lines:
        return [Mail(**json.loads(line)) for line in lines if line.endswith("\n")]  # the last one may be half-written


class Mailbox:
    """Takes every mail."""

    def __init__(self, journal: IO[str]) -> None:
        self._journal = journal
        self._reached: set[str] = set()

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802  # aiosmtpd's
        """Keep the mail; only then it is accepted."""
        headers = email.message_from_bytes(envelope.original_content or b"")
        for recipient in envelope.rcpt_tos:
            self._journal.write(json.dumps(Mail(recipient, headers["Message-ID"])._asdict()) + "\n")
            self._reached.add(recipient)
        self._journal.flush()
        print(len(self._reached), flush=True)
        return "250 OK"


async def serve(journal: IO[str]) -> None:
    """Serve on a free port of this machine until nobody holds the standard input open."""
    mailbox = Mailbox(journal)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(mailbox, hostname="localhost", loop=loop), "127.0.0.1", 0, backlog=1_000)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    with Path(sys.argv[1]).open("a", encoding="utf-8") as file:
        asyncio.run(serve(file))
