"""Runs started and rerun by forms, schedules triggered, and workers asked to leave."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import Complaints, NewContext
from tests.browser.served import Door, Site, working

pytestmark = pytest.mark.parametrize("site", ["sqlite"], indirect=True)


def test_a_run_is_started_once_what_was_wrong_beside_a_field_is_right(page: Page, site: Site, complaints: Complaints) -> None:
    complaints.expect("422")
    page.goto("/tasks")
    page.get_by_role("link", name="Start a run").click()
    page.get_by_role("link", name="order").click()

    page.get_by_label("email").fill("ada@example.com")
    page.get_by_label("amount").fill("-3")
    page.get_by_label("street").fill("Main Street 1")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("alert")).to_contain_text("Nothing was started")
    expect(page.get_by_label("amount")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("email")).to_have_value("ada@example.com")
    page.get_by_label("amount").fill("9007199254740993")
    page.get_by_role("button", name="Start").click()

    expect(page.locator("h1 + .status")).to_have_text("✓ Completed")
    run = site.do(site.app.runs.get(page.url.rpartition("/")[2]))
    assert run.input["amount"] == run.output == 9007199254740993
    assert run.input["address"] == {"street": "Main Street 1", "city": "Seoul"}


def test_a_form_that_is_sent_twice_while_its_answer_is_awaited_starts_one_run(page: Page) -> None:
    held: list[Route] = []
    page.route("**/runs/new?workflow=hello", lambda route: held.append(route) if route.request.method == "POST" else route.continue_())
    page.goto("/runs/new?workflow=hello")
    page.locator("form.form").get_by_role("textbox").first.fill("world")

    box = page.get_by_role("button", name="Start").bounding_box()
    assert box is not None
    with page.expect_request(lambda request: request.method == "POST"):
        page.mouse.click(box["x"] + 5, box["y"] + 5)
    for _ in range(2):
        page.mouse.click(box["x"] + 5, box["y"] + 5)
    held[0].continue_()

    expect(page.locator("h1 + .status")).to_be_visible()
    assert len(held) == 1


def test_a_run_is_started_and_rerun_without_javascript(new_context: NewContext, site: Site, door: Door) -> None:
    page = new_context(base_url=door.url, java_script_enabled=False).new_page()
    page.goto("/runs/new?workflow=hello")

    page.locator("form.form").get_by_role("textbox").first.fill("world")
    page.get_by_role("button", name="Start").click()
    first = page.url.rpartition("/")[2]
    site.becomes(first, "completed")
    page.get_by_role("link", name="Rerun…").click()
    page.locator("form.form").get_by_role("textbox").first.fill("again")
    page.get_by_role("button", name="Rerun").click()
    second = page.url.rpartition("/")[2]

    site.becomes(second, "completed")
    assert second != first
    assert site.do(site.app.runs.get(second)).output == "Again"


def test_a_failed_run_goes_on_in_another_one_from_the_step_that_failed(page: Page, site: Site, gate: Path) -> None:
    failed = site.start("payment", {"gate": str(gate)})
    page.goto(f"/runs/{failed}?step=charge_card")
    expect(page.locator("#step-panel")).to_contain_text("card declined")
    gate.touch()

    page.get_by_role("link", name="Rerun from here").or_(page.get_by_role("button", name="Rerun from here")).click()
    page.get_by_role("button", name="Yes").or_(page.get_by_role("button", name="Rerun", exact=True)).click()

    expect(page.locator("h1 + .status")).to_have_text("✓ Completed")
    page.get_by_role("link", name=f"{failed[:8]}…").click()
    expect(page.locator("h1 + .status")).to_have_text("✕ Failed")


def test_a_schedule_is_triggered_and_paused(page: Page, site: Site, door: Door) -> None:
    page.goto("/schedules")
    page.get_by_role("link", name="nightly").first.click()

    page.get_by_role("button", name="Trigger now").click()
    expect(page.get_by_role("status")).to_be_visible()
    page.goto("/tasks?workflow=report")
    expect(page.locator("[data-row].completed").first).to_be_visible()
    page.goto("/schedules/report/nightly")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    page.get_by_role("button", name="Resume").click()

    expect(page.get_by_role("button", name="Pause")).to_be_visible()


def test_a_worker_that_is_drained_leaves_and_the_page_shows_it(page: Page, site: Site) -> None:
    with working(site, name="short-lived") as worker:
        page.goto("/workers")
        row = page.locator("[data-row]", has_text="short-lived")
        row.get_by_role("button", name="Drain").click()
        page.get_by_role("dialog").get_by_role("button", name="Yes").click()

        assert worker.ends() == 0
    expect(row).to_have_count(0)
