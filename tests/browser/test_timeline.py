"""The page of a run and its timeline: steps are looked at beside it, and a part of its time is chosen by drawing over it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Complaints
from tests.browser.served import Site

pytestmark = pytest.mark.parametrize("site", ["sqlite"], indirect=True)


def drawn_over(page: Page, begin: float, end: float) -> None:
    """With the pointer, from one part of the axis to another, in the first row."""
    box = page.locator("[data-knots] .tl-track").first.bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * begin, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * (begin + end) / 2, y)
    page.mouse.move(box["x"] + box["width"] * end, y)
    page.mouse.up()


def test_who_draws_over_a_part_of_the_time_sees_that_part(page: Page, site: Site) -> None:
    run_id = site.start("mailing", {"count": 20})
    site.becomes(run_id, "completed")
    page.goto(f"/runs/{run_id}")

    drawn_over(page, 0.25, 0.75)

    page.wait_for_url(re.compile(r"[?&]from=[0-9.]+&to=[0-9.]+"))
    expect(page.get_by_text("Whole run", exact=True)).to_be_visible()
    page.get_by_role("link", name="Whole run").click()
    expect(page.get_by_text("Shown:")).to_have_count(0)


def test_a_click_on_a_step_draws_nothing(page: Page, site: Site) -> None:
    run_id = site.start("mailing", {"count": 20})
    site.becomes(run_id, "completed")
    page.goto(f"/runs/{run_id}")

    drawn_over(page, 0.5, 0.505)

    expect(page.locator(".tl-drawn")).to_have_count(0)
    assert "from=" not in page.url


def test_a_step_is_looked_at_without_leaving_the_page_and_by_keys_alone(page: Page, site: Site, gate: Path) -> None:
    run_id = site.start("payment", {"gate": str(gate)})
    site.becomes(run_id, "failed")
    page.goto(f"/runs/{run_id}")
    page.evaluate("window.stays = true")
    panel = page.locator("#step-panel")

    page.keyboard.press("n")
    expect(panel).to_contain_text("card declined")
    expect(page.locator("[data-announce]")).to_have_text(re.compile("charge_card, failed, "))
    page.keyboard.press("l")
    expect(panel).to_contain_text("It has logged nothing.")
    page.keyboard.press("ArrowUp")
    expect(panel).to_contain_text("create_order")
    page.keyboard.press("o")
    expect(panel).to_contain_text('"order": 8')
    page.go_back()
    page.go_back()
    expect(panel).to_contain_text("charge_card")
    page.keyboard.press("Escape")
    expect(panel).to_have_count(0)

    expect(page).to_have_url(re.compile(rf"/runs/{run_id}$"))
    assert page.evaluate("window.stays") is True


def test_arrows_lead_from_attempt_to_attempt(page: Page, site: Site) -> None:
    run_id = site.start("stubborn", None)
    site.becomes(run_id, "failed")
    page.goto(f"/runs/{run_id}?step=tries")
    attempt = page.locator(".run-attempt")
    expect(attempt).to_contain_text("attempt 3 of 3")

    page.keyboard.press("ArrowLeft")
    expect(attempt).to_contain_text("attempt 2 of 3")
    page.keyboard.press("ArrowLeft")
    expect(attempt).to_contain_text("attempt 1 of 3")
    page.keyboard.press("ArrowRight")
    expect(attempt).to_contain_text("attempt 2 of 3")
    page.keyboard.press("e")
    expect(page.locator("#step-panel")).to_contain_text("in _refuse")


def test_a_run_that_is_deleted_while_it_is_looked_at_is_told_to_be_gone(page: Page, site: Site, complaints: Complaints) -> None:
    complaints.expect("404")
    run_id = site.start("mailing", {"count": 2})
    site.becomes(run_id, "completed")
    page.goto(f"/runs/{run_id}")
    expect(page.locator("[data-live]")).to_contain_text("live")

    site.do(site.app.runs.delete(run_id))

    expect(page.get_by_role("heading", name="No such run")).to_be_visible()


def test_ten_thousand_steps_are_morphed_without_a_pause(page: Page, site: Site) -> None:
    run_id = site.start("mailing", {"count": 9_000})
    site.becomes(run_id, "completed")
    page.goto(f"/runs/{run_id}?open=send_*")
    expect(page.locator(".tl-rows li")).to_have_count(500)

    touched = page.evaluate(
        """async () => {
            const fresh = new DOMParser().parseFromString(await (await fetch(location.href)).text(), "text/html");
            let touched = 0;
            const watch = { subtree: true, childList: true, attributes: true };
            new MutationObserver((found) => { touched += found.length; }).observe($(".tl-rows"), watch);
            morph($("#main"), $("#main", fresh));
            await new Promise((resolve) => setTimeout(resolve));
            return touched;
        }"""
    )

    assert touched == 0
    assert page.evaluate("document.querySelectorAll('*').length") < 10_000
