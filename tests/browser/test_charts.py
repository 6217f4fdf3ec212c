"""Charts that are drawn in the browser: what they show under a pointer and with keys, in which colours, and where they lead."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Complaints, NewContext
from tests.browser.served import Door, Site

pytestmark = pytest.mark.parametrize("site", ["sqlite"], indirect=True)


def chart_of(page: Page, name: str) -> Locator:
    """The chart, once it is drawn by the browser."""
    chart = page.get_by_role("group", name=name)
    expect(chart.locator("canvas")).to_be_visible()
    return chart


def ended(site: Site) -> None:
    """A run that has ended a moment ago."""
    site.becomes(site.start("hello", "ada"), "completed")


def test_a_chart_says_the_values_of_a_column_under_the_pointer_and_with_keys(page: Page, site: Site) -> None:
    ended(site)
    page.goto("/charts?range=1h")
    chart = chart_of(page, "Ended runs")
    legend = chart.locator(".u-legend")
    box = chart.locator(".u-over").bounding_box()
    assert box is not None

    page.mouse.move(box["x"] + box["width"] - 3, box["y"] + 20)
    expect(legend).to_contain_text("completed")
    expect(legend).not_to_contain_text("\u2013")
    chart.press("Home")
    first = page.locator("[data-announce]").inner_text()
    chart.press("ArrowRight")
    expect(page.locator("[data-announce]")).not_to_have_text(first)
    expect(legend).to_contain_text("0")
    chart.press("End")

    expect(page.locator("[data-announce]")).to_contain_text("completed")


def test_a_column_leads_to_the_runs_that_were_created_in_its_time(page: Page, site: Site) -> None:
    ended(site)
    page.goto("/charts?range=24h")
    waits = chart_of(page, "How long runs waited")

    waits.press("End")
    waits.press("Enter")

    page.wait_for_url("**/tasks?*")
    query = parse_qs(urlsplit(page.url).query)
    assert query["to"][0] > query["from"][0]
    expect(page.locator("[data-row]").first).to_be_visible()


def test_drawing_over_a_chart_leads_to_the_runs_of_that_time(page: Page, site: Site) -> None:
    ended(site)
    page.goto("/charts?range=1h&workflow=hello")
    box = chart_of(page, "Ended runs").locator(".u-over").bounding_box()
    assert box is not None

    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + 30, steps=4)
    page.mouse.up()

    page.wait_for_url("**/tasks?*")
    query = parse_qs(urlsplit(page.url).query)
    assert query["workflow"] == ["hello"]
    expect(page.locator("[data-row]").first).to_be_visible()


COLOURS = """canvas => {
    const found = new Set(), data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    for (let at = 0; at < data.length; at += 4) if (data[at + 3] === 255) found.add([data[at], data[at + 1], data[at + 2]].join());
    return [...found];
}"""


def test_a_chart_changes_its_colours_with_the_theme_of_the_machine(page: Page, site: Site, complaints: Complaints) -> None:
    complaints.expect("Canvas2D: Multiple readback")  # of this test's own reading
    ended(site)
    page.emulate_media(color_scheme="light")
    page.goto("/charts?range=1h")
    canvas = chart_of(page, "Ended runs").locator("canvas")
    assert "23,112,59" in canvas.evaluate(COLOURS)

    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"colour => ({COLOURS})(document.querySelector('canvas')).includes(colour)", arg="108,211,148")

    assert "23,112,59" not in chart_of(page, "Ended runs").locator("canvas").evaluate(COLOURS)


def test_without_javascript_charts_are_pictures_with_tables(new_context: NewContext, site: Site, door: Door) -> None:
    ended(site)
    page = new_context(base_url=door.url, java_script_enabled=False).new_page()
    page.goto("/charts?range=1h")

    expect(page.get_by_role("group", name="Ended runs").locator("rect.completed").first).to_be_attached()
    expect(page.get_by_role("group", name="How long runs waited").locator("rect.half").first).to_be_attached()
    page.get_by_text("The same as a table").first.click()
    page.locator("#main table").first.get_by_role("link").first.click()

    expect(page.locator("[data-row]").first).to_be_visible()
