"""What pages may cost: bytes on the way to a browser, verbs of the store, and nothing from anywhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Request

from tests.browser.conftest import Complaints, NewContext
from tests.browser.looks import seeded
from tests.browser.served import Door, Site
from tests.web.seeing import Counting

pytestmark = pytest.mark.parametrize("site", ["sqlite"], indirect=True)

KILOBYTES_AT_FIRST = 60
KILOBYTES_OF_SCRIPT = 30
VERBS = 6


def sizes(context: BrowserContext, url: str) -> dict[str, int]:
    """Bytes as they were sent, headers included, of all that a first visit to a page fetches."""
    page = context.new_page()
    asked: list[Request] = []
    page.on("requestfinished", lambda request: asked.append(request))
    page.goto(url, wait_until="load")
    sizes = [(request.url, request.sizes()) for request in asked]
    assert all(address.startswith(url[: url.index("/", 8)]) for address, _ in sizes)
    return {address: size["responseBodySize"] + size["responseHeadersSize"] for address, size in sizes}


def kilobytes(sent: dict[str, int], ending: str = "") -> float:
    return sum(size for address, size in sent.items() if address.endswith(ending)) / 1024


def test_a_first_visit_to_tasks_and_to_a_run_fetches_little(new_context: NewContext, site: Site, door: Door) -> None:
    for handle in site.do(site.app.start_many("nap", [{"user_id": number, "email": f"user{number}@example.com"} for number in range(60)])):
        site.becomes(handle.run_id, "sleeping")
    run_id = site.start("mailing", {"count": 300})
    site.becomes(run_id, "completed")

    for path in ("/tasks", f"/runs/{run_id}"):
        sent = sizes(new_context(), door.url + path)
        assert kilobytes(sent) <= KILOBYTES_AT_FIRST, sent
        assert kilobytes(sent, ".js") <= KILOBYTES_OF_SCRIPT, sent


def test_a_second_page_fetches_nothing_but_itself(new_context: NewContext, door: Door) -> None:
    context = new_context()
    sizes(context, f"{door.url}/tasks")

    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{door.url}/workers", wait_until="load")
    fetched = page.evaluate("performance.getEntriesByType('resource').filter(each => each.transferSize).map(each => each.name)")

    assert {each.removeprefix(door.url) for each in fetched} <= {"/-/events", "/workers"}
    assert all(each.startswith(door.url) for each in asked)


@contextmanager
def counted(site: Site) -> Iterator[Counting]:
    """How often the store is asked. Nobody else must ask meanwhile."""
    home: Any = site.app._home
    real = home._store
    home._store = counting = Counting(real)
    try:
        yield counting
    finally:
        home._store = real


def test_no_page_asks_the_store_more_than_six_times(
    new_context: NewContext, site: Site, door: Door, complaints: Complaints, gate: Any
) -> None:
    complaints.expect("40[04]")
    addresses = seeded(site, gate)
    page = new_context(base_url=door.url, java_script_enabled=False).new_page()

    for name, path in addresses.items():
        with counted(site) as counting:
            page.goto(path)
        assert counting.asked.total() <= VERBS, (name, counting.asked)
