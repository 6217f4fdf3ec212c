"""Figures for Prometheus, as a parser of theirs reads them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from stepwell.core.records import NewWorker
from stepwell.engine.counters import Histogram
from stepwell.testing.clock import MovedClock
from stepwell.web.exposition import Exposition
from tests.loops import on_a_loop
from tests.web.apis import problem, served


@dataclass(frozen=True)
class Figures:
    """Samples by name and labels."""

    samples: dict[tuple[str, frozenset[tuple[str, str]]], float]
    kinds: dict[str, str]

    def of(self, name: str, **labels: str) -> float:
        return self.samples[name, frozenset(labels.items())]


def parsed(text: str) -> Figures:
    families = list(text_string_to_metric_families(text))
    samples = {(sample.name, frozenset(sample.labels.items())): sample.value for family in families for sample in family.samples}
    return Figures(samples, {family.name: family.type for family in families})


async def figures(client: Any) -> Figures:
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return parsed(answer.text)


@on_a_loop
async def test_they_say_what_there_is() -> None:
    async with served() as site:
        await site.post("/runs/start_many", {"workflow": "order", "inputs": [{"item": "lamp"}] * 3, "queue": 'a "b"\\\nc'}, status=201)
        await site.post("/runs", {"workflow": "order", "input": {"item": "lamp"}, "delay": "1h"}, status=201)
        told = await figures(site.client)

    assert told.of("stepwell_runs", status="pending") == 4
    assert told.of("stepwell_runs", status="failed") == 0
    assert told.of("stepwell_ready_runs", queue='a "b"\\\nc', workflow="order", version="") == 3
    assert told.of("stepwell_queue_age_seconds") >= 0
    assert told.of("stepwell_workers", state="live") == 0
    assert told.of("stepwell_schedules") == 0
    assert told.of("stepwell_database_size_bytes") > 0
    assert told.kinds["stepwell_runs"] == "gauge"
    assert not any(name.startswith("stepwell_claims") for name, _ in told.samples)


@on_a_loop
async def test_they_say_what_the_workers_of_this_process_have_done() -> None:
    async with served() as site:
        handles = await site.app.start_many("order", [{"item": "lamp", "count": count} for count in (1, 2, 3, 9)])
        async with site.app.worker(concurrency=7):
            await asyncio.gather(*(handle.result(10) for handle in handles), return_exceptions=True)
            told = await figures(site.client)

    assert told.of("stepwell_workers", state="live") == 1
    assert told.of("stepwell_slots") == 7
    assert told.of("stepwell_claimed_runs_total") == 4
    assert told.of("stepwell_claims_total") >= 1
    assert told.of("stepwell_step_duration_seconds_count") == 4
    assert told.of("stepwell_step_duration_seconds_bucket", le="+Inf") == 4
    assert told.of("stepwell_failed_attempts_total") == 1
    assert told.of("stepwell_commit_writes_sum") >= 8
    assert told.of("stepwell_lost_leases_total") == 0
    assert told.kinds["stepwell_step_duration_seconds"] == "histogram"
    assert told.kinds["stepwell_claims"] == "counter"


@on_a_loop
async def test_workers_that_are_not_heard_of_are_lost_and_slots_that_nobody_fires_are_overdue() -> None:
    clock = MovedClock()
    async with served(clock=clock) as site:
        await site.work()
        at_first = await figures(site.client)
        await site.app._home.store.register(_silent(clock.now()))
        living = await figures(site.client)
        clock.move_to(clock.now() + 3_600)
        later = await figures(site.client)

    assert (living.of("stepwell_workers", state="live"), living.of("stepwell_workers", state="lost")) == (1, 0)
    assert (later.of("stepwell_workers", state="live"), later.of("stepwell_workers", state="lost")) == (0, 1)
    assert (living.of("stepwell_slots"), later.of("stepwell_slots")) == (8, 0)
    assert (at_first.of("stepwell_schedules"), at_first.of("stepwell_schedules_overdue")) == (1, 0)
    assert later.of("stepwell_schedules_overdue") == 1


def _silent(now: float) -> NewWorker:
    """A worker that never beats."""
    return NewWorker(id="w", name="w", host="h", pid=1, queues=None, concurrency=8, lease=30.0, started_at=now, definitions=())


def test_a_histogram_counts_each_value_below_the_bounds_that_it_does_not_pass() -> None:
    histogram = Histogram((1.0, 10.0))
    for value in (0.5, 1.0, 1.5, 10.0, 11.0):
        histogram.add(value)
    exposition = Exposition()

    exposition.histogram("seconds", "How long.", histogram)
    told = parsed(exposition.text())

    assert [told.of("seconds_bucket", le=bound) for bound in ("1.0", "10.0", "+Inf")] == [2, 4, 5]
    assert (told.of("seconds_sum"), told.of("seconds_count")) == (24.0, 5)


@on_a_loop
async def test_they_take_a_token_where_there_are_tokens() -> None:
    async with served(tokens={"v" * 16: "viewer"}) as site:
        refused = await site.client.get("/metrics")
        told = await site.client.get("/metrics", headers={"authorization": f"Bearer {'v' * 16}"})
        posted = await site.client.post("/metrics", headers={"authorization": f"Bearer {'v' * 16}"})

    problem(refused, 401)
    problem(posted, 405)
    assert told.status_code == 200
