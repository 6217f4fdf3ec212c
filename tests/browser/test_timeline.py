"""The timeline of a run: a part of its time is chosen by drawing over it, and what runs stays in view."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

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
