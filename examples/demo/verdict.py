"""Compares what the mail server received with the CSV file, and what was recorded at the kill with what came after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from examples.demo.mail_server import Mail
    from stepwell import StepRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """What was there right after the worker was killed, when nothing of it was alive any more."""

    mails: int
    """How many the server had."""
    steps: Sequence[StepRecord]
    """What the database had of the run."""

    @property
    def recorded(self) -> list[StepRecord]:
        """The steps that are done."""
        return [record for record in self.steps if record.status == "completed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How it went."""

    recipients: int
    missing: tuple[str, ...]
    """Recipients who got no mail."""
    strangers: tuple[str, ...]
    """Who got mail and is no recipient."""
    recorded: int
    """Steps that were recorded when the worker was killed."""
    run_again: tuple[str, ...]
    """Keys of those of them that were run again."""
    sent_twice: int
    """Mails that came more than once."""
    at_once: int
    """So many can have been under way at the kill."""

    @property
    def holds(self) -> bool:
        """Whether everything is as Stepwell promises."""
        return not (self.missing or self.strangers or self.run_again) and self.sent_twice <= self.at_once


def compare(recipients: Collection[str], mails: Sequence[Mail], kill: Kill, steps: Sequence[StepRecord], at_once: int) -> Verdict:
    """Judge the whole.

    A step was run again when its record has changed since the kill, or when its mail, which it gives as its result, came once more
    after the kill.
    """
    reached = {mail.to for mail in mails}
    later = {mail.message_id for mail in mails[kill.mails :]}
    now = {record.key: record for record in steps if record.status == "completed"}
    again = (record for record in kill.recorded if now.get(record.key) != record or (record.name == "send" and record.output in later))
    return Verdict(
        recipients=len(recipients),
        missing=tuple(sorted(set(recipients) - reached)),
        strangers=tuple(sorted(reached - set(recipients))),
        recorded=len(kill.recorded),
        run_again=tuple(record.key for record in again),
        sent_twice=len(mails) - len({mail.message_id for mail in mails}),
        at_once=at_once,
    )
