"""What people do in the pages, step by step, on both databases."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.conftest import NewContext
from tests.browser.served import Door, Site


def test_the_steps_of_a_run_appear_on_its_page_without_reloading(page: Page, site: Site, gate: Path) -> None:
    run_id = site.start("parcel", {"gate": str(gate)})
    page.goto(f"/runs/{run_id}")
    page.evaluate("window.same = true")

    expect(page.locator("[data-step=collect]")).to_be_visible()
    expect(page.locator("[data-step=pack].running")).to_be_visible()
    gate.touch()

    expect(page.locator("[data-step=send].completed")).to_be_visible()
    expect(page.locator("h1 + .status")).to_have_text("✓ Completed")
    assert page.evaluate("window.same")


def test_a_run_that_is_paused_during_a_step_ends_the_step_and_goes_on_when_it_is_resumed(page: Page, site: Site, gate: Path) -> None:
    run_id = site.start("parcel", {"gate": str(gate)})
    page.goto(f"/runs/{run_id}")
    expect(page.locator("[data-step=pack].running")).to_be_visible()

    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("a step in progress goes on to its end")).to_be_visible()
    expect(page.locator("h1 + .status")).to_have_text("❚❚ Paused")
    gate.touch()
    expect(page.locator("[data-step=pack].completed")).to_be_visible()
    expect(page.get_by_text("a step in progress goes on to its end")).to_be_visible()
    expect(page.locator("[data-step=send]")).to_have_count(0)
    expect(page.locator("h1 + .status")).to_have_text("❚❚ Paused")

    page.get_by_role("button", name="Resume").click()
    expect(page.locator("[data-step=send].completed")).to_be_visible()
    expect(page.locator("h1 + .status")).to_have_text("✓ Completed")


def test_a_run_is_canceled_only_after_a_yes(page: Page, site: Site) -> None:
    run_id = site.start("nap", {})
    page.goto(f"/runs/{run_id}")

    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").get_by_role("button", name="No").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert site.status(run_id) != "canceled"
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").get_by_role("button", name="Yes").click()

    expect(page.locator("h1 + .status")).to_have_text("⊘ Canceled")
    assert site.status(run_id) == "canceled"


def test_a_failed_run_that_is_retried_keeps_what_it_has_done(page: Page, site: Site, gate: Path) -> None:
    run_id = site.start("payment", {"gate": str(gate)})
    page.goto(f"/runs/{run_id}")
    expect(page.locator(".card.error")).to_contain_text("card declined")
    gate.touch()

    page.get_by_role("button", name="Retry from failed step").click()

    expect(page.locator("h1 + .status")).to_have_text("✓ Completed")
    expect(page.locator("[data-step=charge_card]")).to_contain_text("2 tries")


def test_two_runs_that_are_ticked_are_paused_together(page: Page, site: Site, mark: str) -> None:
    first, second, third = (site.start("nap", {}, tags=[mark]) for _ in range(3))
    page.goto(f"/tasks?tag={mark}")
    expect(page.locator("[data-row]")).to_have_count(3)
    expect(page.locator(".bulk").get_by_role("button", name="Pause")).to_be_disabled()

    page.locator(f"[data-row] input[value='{first}']").check()
    page.locator(f"[data-row] input[value='{second}']").check()
    expect(page.get_by_text("2 selected")).to_be_visible()
    page.locator(".bulk").get_by_role("button", name="Pause").click()

    expect(page.get_by_text("2 runs were paused")).to_be_visible()
    expect(page.locator("[data-row].paused")).to_have_count(2)
    assert {site.status(first), site.status(second)} == {"paused"}
    assert site.status(third) != "paused"


def test_all_that_match_are_canceled_and_no_others(page: Page, site: Site, mark: str) -> None:
    others = site.start("nap", {}, tags=[f"not-{mark}"])
    ids = [handle.run_id for handle in site.do(site.app.start_many("nap", [{}] * 60, tags=[mark]))]
    for run_id in ids:
        site.becomes(run_id, "sleeping")
    page.goto(f"/tasks?tag={mark}&size=25")

    page.get_by_role("link", name="all that match").click()
    expect(page.get_by_text("Sleeping 60")).to_be_visible()
    later = site.start("nap", {}, tags=[mark])
    page.get_by_role("button", name="Cancel 60 runs").click()

    expect(page.get_by_text("60 runs were canceled")).to_be_visible()
    expect(page).to_have_url(re.compile(f"tag={mark}"))
    assert site.status(later) != "canceled"
    assert {site.status(run_id) for run_id in ids} == {"canceled"}
    assert site.status(others) != "canceled"


def test_the_search_field_finds_failed_runs(page: Page, site: Site, gate: Path, mark: str) -> None:
    failed = site.start("payment", {"gate": str(gate)}, tags=[mark])
    site.start("nap", {}, tags=[mark])
    page.goto("/tasks")

    page.get_by_role("searchbox", name="Find runs").fill(f"status:failed tag:{mark}")
    page.get_by_role("searchbox", name="Find runs").press("Enter")

    expect(page.locator("[data-row]")).to_have_count(1)
    expect(page.locator(f"[data-row] input[value='{failed}']")).to_be_visible()
    expect(page.locator("[data-row]")).to_contain_text("card declined")


def test_a_signal_that_is_sent_from_the_page_of_a_run_is_what_it_waited_for(page: Page, site: Site) -> None:
    run_id = site.start("approval", {})
    page.goto(f"/runs/{run_id}")
    expect(page.locator("h1 + .status")).to_have_text("☾ Sleeping")

    page.get_by_text("Send a signal").click()
    page.get_by_label("Name", exact=True).fill("approved")
    page.get_by_label("Payload").fill('{"by": "ada"}')
    page.get_by_role("button", name="Send").click()

    expect(page.locator("h1 + .status")).to_have_text("✓ Completed")
    assert site.do(site.app.runs.get(run_id)).output == {"by": "ada"}


def test_a_new_run_comes_into_the_list_by_itself(page: Page, site: Site, mark: str) -> None:
    page.goto(f"/tasks?tag={mark}")
    expect(page.get_by_text("No run fits")).to_be_visible()

    site.start("nap", {}, tags=[mark])

    expect(page.locator("[data-row]")).to_have_count(1)


def test_back_and_forward_go_through_what_was_chosen(page: Page, door: Door, site: Site, mark: str) -> None:
    run_id = site.start("nap", {}, tags=[mark])
    page.goto(f"/tasks?tag={mark}")
    page.get_by_role("combobox", name="Status").select_option("failed")
    expect(page.get_by_text("No run fits")).to_be_visible()

    page.go_back()
    expect(page.locator("[data-row]")).to_have_count(1)
    page.locator("[data-row]").get_by_role("link", name="nap").click()
    expect(page).to_have_url(f"{door.url}/runs/{run_id}")
    page.go_back()
    expect(page.locator("[data-row]")).to_have_count(1)
    page.go_back()
    page.go_forward()

    expect(page.locator("[data-row]")).to_have_count(1)


def test_an_address_shows_the_same_to_whoever_opens_it(page: Page, new_context: NewContext, site: Site, door: Door) -> None:
    run_id = site.start("hello", "world")
    page.goto(f"/runs/{run_id}")
    expect(page.locator("h1 + .status")).to_have_text("✓ Completed")
    page.locator("[data-step=greet] .tl-link").click()
    expect(page.locator("#step-panel")).to_contain_text("World")
    page.get_by_role("link", name="History").click()
    expect(page.locator("#tab")).to_contain_text("begun by a worker")

    other = new_context().new_page()
    other.goto(page.url)

    expect(other.locator("#step-panel")).to_contain_text("World")
    expect(other.locator("#tab")).to_contain_text("begun by a worker")
