"""`python -m benchmarks.pages [--runs N] [--postgres URL]`: how long pages take where there are very many runs.

Server times are those of whole requests, rendering included, without a network: as `stepwell ui` answers them, one after the other.
First paint is what Chromium says of a page over loopback that it has seen before.
"""

from __future__ import annotations

import argparse
import math
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
from playwright.sync_api import sync_playwright

from stepwell.core.records import Declaration, Definition, NewSchedule, NewWorker
from stepwell.web import create_app
from tests.browser.chromium import chromium, flags
from tests.browser.served import Site, working

APART_MS = 2_000
COLUMNS = (
    "id, status, lane, workflow, version, queue, priority, due, attempt, created_at, available_at, started_at, begun_at, finished_at, "
    "preview, error"
)
LISTS = {
    "Tasks": "/tasks",
    "Tasks, failed": "/tasks?status=failed",
    "Tasks, all time": "/tasks?from=all",
    "Tasks, one workflow": "/tasks?workflow=payment&from=all",
    "Tasks, a rare status": "/tasks?status=canceled&from=all",
    "Tasks, search": "/tasks?q=user77&from=all",
    "Tasks, a queue of nobody": "/tasks?queue=none&from=all",
    "Tasks, also completed": "/tasks?queue=none&status=completed&from=all",
    "Start a run": "/runs/new",
    "Workflows": "/workflows",
    "Workflows, found": "/workflows?find=999",
    "Workflow": "/workflows/nap",
    "Schedules": "/schedules",
    "Schedules, found": "/schedules?find=nothing",
    "Workers": "/workers",
    "Charts, 30 days": "/charts?range=30d",
    "System": "/system",
}
FIRST_PAINT = """() => new Promise(done => new PerformanceObserver(list => {
    for (const each of list.getEntriesByName("first-contentful-paint")) done(each.startTime);
}).observe({type: "paint", buffered: true}))"""
BUDGETS = {"Tasks": 30, "Tasks, failed": 50, "Run, 500 steps": 50}
WIDE = 10_000
"""Workflows that are published, and schedules that are declared, besides."""
LONG = 10_000
"""Steps of a run, besides one of 500."""
"""Milliseconds on SQLite; 80 on PostgreSQL."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=60)
    parser.add_argument("--postgres", metavar="URL", help="a database of PostgreSQL in which the namespace `pages` may be made and dropped")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = options.postgres or f"sqlite:///{folder}/pages.db"
        with Site(url, "pages") as site:
            measure(site, options.runs, options.repeat, 80 if options.postgres else None)
    if options.postgres:
        with psycopg.connect(options.postgres, autocommit=True) as connection:
            connection.execute("DROP SCHEMA pages CASCADE")


def measure(site: Site, runs: int, repeat: int, budget: float | None) -> None:
    with working(site):
        long = site.start("mailing", {"count": 500})
        for name in ("nap", "payment", "hello"):
            site.start(name, "x" if name == "hello" else {"gate": "/nowhere"})
        site.becomes(long, "completed")
        longer = site.start("mailing", {"count": LONG})
        site.becomes(longer, "completed", within=600)
    began = time.perf_counter()
    seed(site, runs)
    site.do(publish(site), within=60)
    print(f"{runs:,} runs, {WIDE:,} workflows and {WIDE:,} schedules written in {time.perf_counter() - began:.0f} s")
    pages = {**LISTS, "Run, 500 steps": f"/runs/{long}", f"Run, {LONG:,} steps": f"/runs/{longer}"}
    for name, (middle, late) in site.do(served(site, pages, repeat), within=600).items():
        allowed = BUDGETS.get(name) and (budget or BUDGETS[name])
        verdict = "" if allowed is None else f"   budget {allowed:.0f}: {'kept' if late <= allowed else 'MISSED'}"
        print(f"{name:<24} p50 {middle:7.1f} ms   p95 {late:7.1f} ms{verdict}", flush=True)
    paint(site)


async def served(site: Site, pages: dict[str, str], repeat: int) -> dict[str, tuple[float, float]]:
    """Milliseconds by page: the median, and what 95 of 100 keep below."""
    found = {}
    transport = httpx.ASGITransport(create_app(site.app, tokens={}))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as client:
        for name, path in pages.items():
            times = []
            for _ in range(repeat + 3):
                began = time.perf_counter()
                answer = await client.get(path)
                times.append(1_000 * (time.perf_counter() - began))
                assert answer.status_code == 200, (path, answer.text[:500])
            warm = sorted(times[3:])
            found[name] = statistics.median(warm), warm[math.ceil(0.95 * len(warm)) - 1]
    return found


def paint(site: Site) -> None:
    path = chromium()
    if path is None:
        print("first paint: there is no Chromium here")
        return
    door = site.door()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=flags())
        page = browser.new_page()
        times = []
        for _ in range(12):
            page.goto(f"{door.url}/tasks", wait_until="load")
            times.append(page.evaluate(FIRST_PAINT))
        browser.close()
    print(f"{'Tasks, first paint':<24} p50 {statistics.median(times[2:]):7.1f} ms   most {max(times[2:]):7.1f} ms   budget 200")


# -- very many runs


def seed(site: Site, count: int) -> None:
    """Runs that were started every two seconds until now, nearly all of which have ended."""
    if site.database_url.startswith("sqlite"):
        with sqlite3.connect(site.database_url.removeprefix("sqlite:///"), timeout=60) as file:
            marks = ", ".join("?" * len(COLUMNS.split(",")))
            file.executemany(f"INSERT INTO pages_runs ({COLUMNS}) VALUES ({marks})", rows(count))
        file.close()
        return
    order = f"COPY pages.runs ({COLUMNS}) FROM STDIN".encode()
    with psycopg.connect(site.database_url) as connection, connection.cursor() as cursor, cursor.copy(order) as copy:
        for row in rows(count):
            copy.write_row(row)
    with psycopg.connect(site.database_url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE pages.runs")


async def publish(site: Site) -> None:
    """Many workflows, a tenth of which have ten schedules each: by a worker that is gone, and not yet forgotten."""
    store, now = site.app._home.store, site.app.now()
    published = tuple(Definition(f"flow_{number:05}", None, "default", 0, None, False, "{}", "{}") for number in range(WIDE))
    await store.register(
        NewWorker(
            id="wide",
            name="wide",
            host="elsewhere",
            pid=1,
            queues=None,
            concurrency=10,
            lease=3_600.0,
            started_at=now,
            definitions=published,
        )
    )
    expression = ("*/5 * * * *", "UTC", "allow", "latest", None, "null", None, now + 300)
    schedules = tuple(NewSchedule(f"s{number}", *expression) for number in range(WIDE // 1_000))
    await store.declare("wide", [Declaration(each.name, "wide", schedules) for each in published[: WIDE // 10]], None, now)


def rows(count: int) -> Iterator[tuple[Any, ...]]:
    now = int(time.time() * 1_000)
    for number in range(count):
        tick = now - (count - number) * APART_MS
        digits, at = f"{tick:012x}", tick / 1_000
        status = "sleeping" if number % 2_000 == 0 else "canceled" if number % 5_000 == 1 else "failed" if number % 50 == 2 else "completed"
        ended = None if status == "sleeping" else at + 1.5
        due = at + 10_000_000 if status == "sleeping" else None
        yield (
            f"{digits[:8]}-{digits[8:]}-7000-8000-{number:012x}", status, 1, ("nap", "payment", "hello")[number % 3], "", "default", 0, due,
            1, at, at, at, at, ended, f'{{"user_id":{number},"email":"user{number}@example.com"}}',
            '{"type":"ValueError","message":"card declined","traceback":""}' if status == "failed" else None,
        )  # fmt: skip


if __name__ == "__main__":
    main()
