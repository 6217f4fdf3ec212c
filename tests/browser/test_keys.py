"""Work without a mouse: everything is found and done by keys, and focus stays where it is while pages change."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.served import Door, Site

pytestmark = pytest.mark.parametrize("site", ["sqlite"], indirect=True)

FOCUS_IS_SEEN = """() => {
    const style = getComputedStyle(document.activeElement);
    return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
}"""


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.outerHTML"))


def leaves_by(page: Page, key: str) -> None:
    """Press a key that leads to another page, or to this one anew, and wait until that listens to keys."""
    with page.expect_navigation():
        page.keyboard.press(key)


def tab_to(page: Page, name: str) -> None:
    """Press Tab until what has this name has the focus; each stop on the way must be seen."""
    for _ in range(80):
        page.keyboard.press("Tab")
        text = page.evaluate("document.activeElement.getAttribute('aria-label') || document.activeElement.textContent.trim()")
        assert page.evaluate(FOCUS_IS_SEEN), f"nobody sees that the focus is on {focused(page)}"
        if text == name:
            return
    raise AssertionError(f"Tab never comes to {name!r}")


def test_a_failed_run_is_found_and_read_and_retried_by_keys_alone(page: Page, door: Door, site: Site, gate: Path, mark: str) -> None:
    run_id = site.start("payment", {"gate": str(gate)}, tags=[mark])
    page.goto("/tasks")

    page.keyboard.press("/")
    page.keyboard.type(f"status:failed tag:{mark}")
    leaves_by(page, "Enter")
    expect(page.locator("[data-row]")).to_have_count(1)
    page.keyboard.press("j")
    assert page.evaluate(FOCUS_IS_SEEN)
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{door.url}/runs/{run_id}")
    page.wait_for_load_state()
    expect(page.locator(".card.error")).to_contain_text("card declined")
    page.keyboard.press("e")
    expect(page.locator("#tab")).to_contain_text("ValueError")
    gate.touch()
    tab_to(page, "Retry from failed step")
    page.keyboard.press("Enter")

    expect(page.locator("h1 + .status")).to_have_text("✓ Completed")


def test_rows_stay_under_the_focus_and_are_brought_up_to_date_while_others_wait_to_be_asked_for(page: Page, site: Site, mark: str) -> None:
    first = site.start("nap", {}, tags=[mark])
    site.becomes(first, "sleeping")
    page.goto(f"/tasks?tag={mark}")
    page.keyboard.press("j")
    page.locator(f"#run-{first}[data-here]").wait_for()

    site.start("nap", {}, tags=[mark])
    expect(page.get_by_role("button", name="1 new run", exact=True)).to_be_visible()
    expect(page.locator(f"#run-{first}[data-here] a").first).to_be_focused()
    page.keyboard.press("x")
    expect(page.locator(f"#run-{first} input")).to_be_checked()
    site.do(site.app.runs.pause(first))
    expect(page.locator(f"#run-{first}.paused")).to_be_visible()
    site.start("nap", {}, tags=[mark])
    pill = page.get_by_role("button", name="2 new runs")
    expect(pill).to_be_visible()
    expect(page.locator("[data-row]")).to_have_count(1)
    pill.focus()
    page.keyboard.press("Enter")

    expect(page.locator("[data-row]")).to_have_count(3)
    expect(pill).to_be_hidden()
    expect(page.locator(f"#run-{first} input")).to_be_checked()
    expect(page.get_by_text("1 selected")).to_be_visible()


def test_brackets_go_from_run_to_run_of_the_list_that_one_came_from_and_escape_goes_back_to_it(
    page: Page, door: Door, site: Site, mark: str
) -> None:
    ids = [site.start("nap", {}, tags=[mark]) for _ in range(3)]
    page.goto(f"/tasks?tag={mark}")
    expect(page.locator("[data-row]")).to_have_count(3)
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{door.url}/runs/{ids[1]}")

    before, after = (page.get_by_role("link", name=name) for name in ("Previous", "Next"))
    expect(after).to_be_visible()
    page.keyboard.press("]")
    expect(page).to_have_url(f"{door.url}/runs/{ids[0]}")
    expect(after).to_have_count(0)
    before.click()
    expect(page).to_have_url(f"{door.url}/runs/{ids[1]}")
    expect(before).to_be_visible()
    page.keyboard.press("[")
    expect(page).to_have_url(f"{door.url}/runs/{ids[2]}")
    expect(after).to_be_visible()
    page.keyboard.press("Escape")

    expect(page).to_have_url(f"{door.url}/tasks?tag={mark}")


def test_a_list_that_a_row_leads_to_is_no_neighbour(page: Page) -> None:
    page.goto("/workers")
    page.locator("td[data-label=ready] a").first.click()

    expect(page.locator("h1")).to_have_text("Tasks")
    expect(page.locator("[data-neighbours]")).to_be_hidden()


def test_a_run_is_paused_resumed_and_canceled_by_keys(page: Page, site: Site) -> None:
    run_id = site.start("nap", {})
    page.goto(f"/runs/{run_id}")
    expect(page.locator("h1 + .status")).to_have_text("☾ Sleeping")

    leaves_by(page, "p")
    expect(page.locator("h1 + .status")).to_have_text("❚❚ Paused")
    leaves_by(page, "p")
    expect(page.get_by_text("resumed")).to_be_visible()
    expect(page.locator("h1 + .status")).not_to_have_text("❚❚ Paused")
    page.keyboard.press("c")
    expect(page.get_by_role("dialog")).to_be_visible()
    expect(page.get_by_role("button", name="No")).to_be_focused()
    page.keyboard.press("Escape")
    assert site.status(run_id) != "canceled"
    page.keyboard.press("c")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")

    expect(page.locator("h1 + .status")).to_have_text("⊘ Canceled")


def test_g_and_a_letter_go_to_a_page_and_a_question_mark_shows_the_keys(page: Page) -> None:
    page.clock.set_fixed_time(datetime(2027, 1, 15, tzinfo=UTC))  # the letter comes in time, however busy the machine is
    page.goto("/tasks")

    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    for letter, name in (("w", "Workflows"), ("s", "Schedules"), ("k", "Workers"), ("c", "Charts"), ("t", "Tasks")):
        page.keyboard.press("g")
        leaves_by(page, letter)
        expect(page.get_by_role("navigation", name="Pages").get_by_role("link", name=name)).to_have_attribute("aria-current", "page")


def test_arrows_go_from_step_to_step_and_n_to_what_has_failed(page: Page, site: Site, gate: Path) -> None:
    run_id = site.start("payment", {"gate": str(gate)})
    page.goto(f"/runs/{run_id}")
    expect(page.locator("[data-step=charge_card].failed")).to_be_visible()

    page.keyboard.press("n")
    expect(page.locator("[data-step=charge_card] .tl-link")).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(page.locator("[data-step=create_order] .tl-link")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")

    expect(page.locator("#step-panel")).to_contain_text("card declined")


def test_the_theme_changes_by_key_and_by_form_and_stays(page: Page) -> None:
    page.goto("/tasks")
    html = page.locator("html")
    expect(html).to_have_attribute("data-theme", "auto")

    leaves_by(page, "t")
    expect(html).to_have_attribute("data-theme", "light")
    leaves_by(page, "t")
    expect(html).to_have_attribute("data-theme", "dark")
    page.goto("/workers")
    expect(html).to_have_attribute("data-theme", "dark")
    page.get_by_label("Settings").click()
    page.get_by_label("Theme").select_option("light")
    page.get_by_label("Time zone").fill("Asia/Seoul")
    page.get_by_role("button", name="Save").click()

    expect(html).to_have_attribute("data-theme", "light")
    assert page.url.endswith("/workers")
    assert {cookie["name"]: cookie["value"] for cookie in page.context.cookies()}["stepwell_tz"].strip('"') == "Asia/Seoul"


def test_single_keys_do_nothing_where_somebody_types_or_has_switched_them_off(page: Page) -> None:
    page.goto("/tasks")

    page.get_by_role("searchbox", name="Find runs").fill("")
    page.keyboard.type("t?r")
    expect(page.locator("html")).to_have_attribute("data-theme", "auto")
    expect(page.get_by_role("searchbox", name="Find runs")).to_have_value("t?r")
    page.get_by_label("Settings").click()
    page.get_by_label("Single keys").select_option("off")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("html")).to_have_attribute("data-keys", "off")
    page.keyboard.press("?")

    expect(page.get_by_role("dialog")).to_have_count(0)
