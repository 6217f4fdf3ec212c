"""Runs with their steps as they are recorded, made up: for tests of timelines, and for pictures of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from stepwell.core.naming import key_name, name_of
from stepwell.core.records import Event, Run, StepRecord
from stepwell.core.status import RunStatus
from stepwell.web.timeline import Timeline, View, timeline_of

BEGIN = datetime(2026, 1, 14, 12, 1, 7, tzinfo=UTC)
MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0


def at(seconds: float) -> datetime:
    """So many seconds after the run was created."""
    return BEGIN + timedelta(seconds=seconds)


def a_run(status: RunStatus = RunStatus.COMPLETED, *, begun: float | None = 0.0, over: float | None = None, **more: Any) -> Run:
    """A run that was created at `BEGIN`."""
    return Run(
        id="0197eb4f-0000-7000-8000-0000000000d1",
        workflow="process_payment",
        version="v2",
        status=status,
        input=None,
        output=None,
        error=None,
        attempt=1,
        key=None,
        queue="default",
        priority=0,
        tags=(),
        created_at=BEGIN,
        available_at=BEGIN,
        started_at=None if begun is None else at(begun),
        finished_at=None if over is None else at(over),
        worker=None,
        **more,
    )


def a_step(
    key: str,
    begin: float,
    end: float | None,
    status: str = "completed",
    *,
    attempt: int = 1,
    kind: str = "function",
    child: str | None = None,
    retry: float | None = None,
) -> StepRecord:
    """One attempt."""
    return StepRecord(
        key=key,
        name=name_of(key),
        kind=kind,
        status=status if end is not None else "running",
        attempt=attempt,
        output=None,
        error=None,
        started_at=at(begin),
        finished_at=None if end is None else at(end),
        child_id=child,
        retry_at=None if retry is None else at(retry),
    )


def an_event(seconds: float, action: str) -> Event:
    return Event(at=at(seconds), action=action, actor="ada")


def drawn(run: Run, steps: Sequence[StepRecord] = (), events: Sequence[Event] = (), *, now: float = 1_000_000.0, **asked: Any) -> Timeline:
    """The timeline, with a view of these fields."""
    return timeline_of(run, steps, events, at(now), View(**asked))


@dataclass(frozen=True, kw_only=True)
class Example:
    """A run worth looking at."""

    run: Run
    steps: list[StepRecord]
    events: tuple[Event, ...] = ()
    now: float = 1_000_000.0

    def timeline(self, **asked: Any) -> Timeline:
        return timeline_of(self.run, self.steps, self.events, at(self.now), View(**asked))


def retried() -> Example:
    """Three steps, one of which fails thrice."""
    steps = [
        a_step("create_order", 0.11, 0.23),
        a_step("charge_card", 0.25, 0.46, "failed"),
        a_step("charge_card", 0.86, 1.03, "failed", attempt=2),
        a_step("charge_card", 1.63, 1.94, "failed", attempt=3),
        a_step("tell_customer", 1.20, 1.31),
    ]
    return Example(run=a_run(RunStatus.FAILED, begun=0.11, over=1.94), steps=sorted(steps, key=lambda step: step.started_at))


def concurrent() -> Example:
    """Forty steps side by side, of uneven length; some are tried twice, one fails."""
    steps = [a_step("plan", 0.02, 0.31)]
    for place in range(40):
        key = f"@0.{place}/fetch_page"
        begin, length = 0.35 + 0.03 * (place % 8) + 0.2 * (place // 8), 0.2 + (place * 37 % 23) / 12
        if place % 9 == 4:
            steps.append(a_step(key, begin, begin + 0.3, "failed"))
            steps.append(a_step(key, begin + 0.8, begin + 0.8 + length, "failed" if place == 31 else "completed", attempt=2))
        else:
            steps.append(a_step(key, begin, begin + length))
    steps.append(a_step("merge", 4.4, 4.9))
    return Example(run=a_run(begun=0.02, over=4.95), steps=sorted(steps, key=lambda step: step.started_at))


def a_day_asleep() -> Example:
    """A little work, a day's sleep, a signal, a child, and a pause."""
    steps = [
        a_step("create_account", 0.2, 0.9),
        a_step("send_welcome", 1.0, 2.4, "failed"),
        a_step("send_welcome", 3.4, 4.1, attempt=2),
        a_step("let_it_settle", 4.2, DAY + 4.2, kind="sleep"),
        a_step("now", DAY + 4.2, DAY + 4.2, kind="value"),
        a_step("send_tips", DAY + 4.3, DAY + 5.5),
        a_step("approval", DAY + 5.6, DAY + 5.6 + 7_300, kind="signal"),
        a_step("send_receipt", DAY + 7_306, DAY + 7_308.5, kind="child", child="0197ec00-0000-7000-8000-00000000beef"),
        a_step("close", DAY + 7_308.6, DAY + 7_310),
    ]
    events = (an_event(DAY + 3_000, "pause"), an_event(DAY + 4_000, "resume"))
    return Example(run=a_run(begun=0.1, over=DAY + 7_310.1), steps=steps, events=events)


def thousands() -> Example:
    """Five thousand mails, three of which failed, between a few other steps."""
    steps = [a_step("fetch_users", 0.3, 4.8), a_step("make_plan", 4.9, 5.4)]
    for place in range(5_000):
        begin = 6 + place * 0.05 * (1.4 if place > 2_500 else 1)
        failed = place in {1_200, 1_201, 4_003}
        steps.append(a_step(f"send_email_{place}", begin, begin + 0.1 + (place * 31 % 17) / 60, "failed" if failed else "completed"))
    steps += [a_step("report" if not place else f"report:{place}", 312 + place * 2, 313 + place * 2) for place in range(12)]
    return Example(run=a_run(RunStatus.FAILED, begun=0.3, over=337), steps=steps)


def running_now() -> Example:
    """A step runs now, beside one whose next attempt is due; it was retried before."""
    steps = [
        a_step("collect", 0.5, 2.0),
        a_step("transform", 2.1, 5.0),
        a_step("upload", 5.1, 6.0, "failed"),
        a_step("upload", 64.0, 67.5, attempt=2),
        a_step("@0.0/index_documents", 67.6, None),
        a_step("@0.1/warm_cache", 67.6, 69.0, "failed"),
        a_step("@0.1/warm_cache", 71.0, None, attempt=2),
    ]
    return Example(run=a_run(RunStatus.RUNNING, begun=0.4), steps=steps, events=(an_event(63.5, "retry"),), now=76.0)


def asleep_now() -> Example:
    """A run that waits for the next attempt of a step."""
    steps = [
        a_step("collect", 0.5, 2.0),
        a_step("sync", 2.1, 3.0, "failed"),
        a_step("sync", 4.0, 5.0, "failed", attempt=2, retry=31 * MINUTE),
    ]
    return Example(run=a_run(RunStatus.SLEEPING, begun=0.4), steps=steps, now=30 * MINUTE)


def odd() -> Example:
    """Long names, a canceled step, one that was cut off, many attempts, and a name that is markup."""
    steps = [
        a_step("fetch_the_customers_whose_orders_have_not_been_paid_within_thirty_days", 0.2, 1.4),
        a_step(key_name("<script>alert(1)</script>"), 1.5, 2.0),
        a_step("@0.1.4.2/race", 2.1, 3.0, "canceled"),
        a_step("lost", 2.1, None),
        a_step("lost", 4.0, 4.4, attempt=2),
        *(a_step("poll", 5 + place * 0.05, 5.03 + place * 0.05, "failed", attempt=place + 1) for place in range(60)),
        a_step("poll", 8.2, 9.0, attempt=61),
        a_step("tiny", 9.1, 9.1001),
        a_step("after_an_hour", 9.2, HOUR, kind="sleep"),
        a_step("after_a_day", HOUR, HOUR + DAY, kind="signal"),
        a_step("end", HOUR + DAY, HOUR + DAY + 1),
    ]
    return Example(run=a_run(RunStatus.CANCELED, begun=MINUTE / 600, over=HOUR + DAY + 1), steps=steps)


EXAMPLES = {
    "retried": retried,
    "concurrent": concurrent,
    "asleep": a_day_asleep,
    "thousands": thousands,
    "running": running_now,
    "waiting": asleep_now,
    "chosen": retried,
    "zoomed": concurrent,
    "opened": thousands,
    "odd": odd,
}


def environment() -> Environment:
    """As pages have it."""
    return Environment(
        loader=PackageLoader("stepwell.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def markup(timeline: Timeline, **more: str) -> str:
    """What the template makes of it."""
    macros = environment().get_template("run/_timeline.html").module
    return str(macros.timeline(timeline, **more))  # type: ignore[attr-defined]  # a macro of the template
