"""`make demo`, or `python -m examples.demo`: sends two thousand mails, kills the worker in the middle, and counts.

It ends with 0 only if every recipient got the mail and no step that was recorded at the kill was run again. It looks at what the mail
server has kept and at the database, not at what the workflow says of itself.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from examples.bulk_mail import AT_ONCE, Mailing, bulk_mail
from examples.demo.mail_server import mails_in
from examples.demo.processes import ProcessEnded, mail_server, worker
from examples.demo.recipients import MOST, write_recipients
from examples.demo.show import Show
from examples.demo.verdict import Kill, Verdict, compare
from stepwell import Stepwell, StepwellError

if TYPE_CHECKING:
    from collections.abc import Callable

WITHIN: Final = 55.0
"""Seconds after which the demo gives up: it should take 10."""

_INTERRUPTED: Final = 130
"""The exit code of what was ended from outside, as shells have it."""


async def demo(folder: Path, count: int, show: Show) -> Verdict:
    """Send so many mails with a worker that is killed and one that goes on, and judge."""
    recipients = write_recipients(folder / "recipients.csv", count)
    journal, url = folder / "mails.jsonl", f"sqlite:///{folder / 'stepwell.db'}"
    async with asyncio.timeout(WITHIN), mail_server(journal, show.reached) as server, Stepwell(url) as app:
        show.says("mail server", f"listens on {server.address}, process {server.process.pid}")
        handle = await app.start(bulk_mail, Mailing(recipients=folder / "recipients.csv"))
        show.says("demo", f"starts bulk_mail, run {handle.run_id}")
        environment = os.environ | {"SMTP_SERVER": server.address}

        async with worker("first worker", url, environment, _voice(show, "first worker")) as first:
            await server.reached(count // 2)
            await first.kill()
        kill = Kill(mails=len(mails_in(journal)), steps=await handle.steps())
        show.says(
            "demo", f"kills it (kill -9 {first.process.pid}) at {kill.mails:,} mails; {len(kill.recorded):,} steps are recorded", "red"
        )

        async with worker("next worker", url, environment, _voice(show, "next worker")):
            sent = await handle.result()
        show.says("demo", f"gets the result: {sent!r}")
        return compare(recipients, mails_in(journal), kill, await handle.steps(), AT_ONCE)


def _voice(show: Show, name: str) -> Callable[[str], None]:
    return lambda line: show.says(name, line, "dim")


def main() -> int:
    """Run the demo; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description="Send mails, kill the worker half-way, and count.")
    parser.add_argument("--recipients", type=int, default=MOST, help=f"how many get a mail, at most {MOST:,}")
    count = parser.parse_args().recipients
    if not 1 <= count <= MOST:
        parser.error(f"--recipients is from 1 to {MOST:,}, not {count:,}")
    # As upon Ctrl+C, the children end, too.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    with TemporaryDirectory(prefix="stepwell-demo-") as folder, asyncio.Runner() as runner, Show(count) as show:
        begun = runner.get_loop().time()
        try:
            verdict = runner.run(demo(Path(folder), count, show))
        except (TimeoutError, ExceptionGroup) as error:
            show.says("wrong", _reason(error), "red")
            return 1
        except KeyboardInterrupt:
            return _INTERRUPTED
        seconds = runner.get_loop().time() - begun
    show.verdict(verdict, seconds)
    return 0 if verdict.holds else 1


def _reason(error: Exception) -> str:
    """Why it could not go on to its end. Raises the error, if it is none that was foreseen."""
    if isinstance(error, TimeoutError):
        return f"it has not ended within {WITHIN:g} seconds"
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    if not isinstance(error, ProcessEnded | StepwellError):
        raise error
    return str(error)


if __name__ == "__main__":
    sys.exit(main())
