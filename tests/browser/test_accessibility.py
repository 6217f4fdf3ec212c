"""Every page for everybody: nothing that axe finds fault with, in both themes, wide and narrow; readable at 320 px and at 400 %."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT  # type: ignore[import-untyped]  # only a text is taken from it
from playwright.sync_api import Page, expect

from tests.browser.conftest import Complaints, NewContext
from tests.browser.looks import EMPTY, seeded
from tests.browser.served import Door, Site

pytestmark = pytest.mark.parametrize("site", ["sqlite"], indirect=True)

NAMES = (
    "tasks", "tasks-failed", "tasks-none", "tasks-wrong", "run-failed", "run-step", "run-hostile", "run-under-way", "run-many", "run-done",
    "matching", "run-waiting", "run-paused", "no-run", "choose", "start", "start-json", "start-unknown", "rerun", "workflows", "workflow",
    "schedules", "schedule", "workers", "charts", "system",
)  # fmt: skip

AXE = """async rules => {
    const found = await axe.run({resultTypes: ["violations"], ...(rules && {runOnly: rules})});
    return found.violations.map(each => `${each.id}: ${each.help}: ` + each.nodes.map(node => node.html.slice(0, 200)).join(" | "));
}"""

TOO_WIDE = """async () => {
    for (let frame = 0; frame < 3; frame++) await new Promise(requestAnimationFrame);  // what draws itself to fit has done so
    if (document.documentElement.scrollWidth <= innerWidth) return [];
    return [...document.querySelectorAll("body *")].filter(each => each.getBoundingClientRect().right > innerWidth + 1
        && !each.closest(".scroll, pre, svg, .visually-hidden")).slice(0, 5).map(each => each.outerHTML.slice(0, 150));
}"""

OVERFLOWING = """() => [...document.querySelectorAll("main td, main dd, main li")].filter(each => {
    return each.clientHeight && each.scrollHeight > each.clientHeight + 4 && !each.closest(".scroll pre, svg, .visually-hidden");
}).slice(0, 5).map(each => each.outerHTML.slice(0, 150))"""

TOO_SMALL = """() => [...document.querySelectorAll("button, input:not([type=hidden]), select, summary, .button, nav a")].filter(each => {
    const box = each.getBoundingClientRect(), label = each.closest("label");
    const size = label ? Math.max(box.height, label.getBoundingClientRect().height) : box.height;
    const seen = box.width > 0 && each.checkVisibility() && !each.closest(".visually-hidden");
    return seen && each.type !== "checkbox" && (size < 24 || box.width < 24);
}).map(each => each.outerHTML.slice(0, 150))"""


@pytest.fixture(scope="package")
def addresses(site: Site, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return seeded(site, tmp_path_factory.mktemp("gates") / "gate")


def test_no_page_is_left_out(addresses: dict[str, str]) -> None:
    assert set(NAMES) == set(addresses)


@pytest.mark.parametrize("name", NAMES)
def test_nobody_is_kept_from_a_page(
    new_context: NewContext, door: Door, addresses: dict[str, str], complaints: Complaints, name: str
) -> None:
    complaints.expect("40[04]")
    context = new_context(base_url=door.url)
    page = context.new_page()
    page.goto(addresses[name])

    assert faults(page) == []


@pytest.mark.parametrize("name", EMPTY)
def test_nobody_is_kept_from_a_page_with_nothing_on_it(empty: Door, new_context: NewContext, name: str) -> None:
    page = new_context(base_url=empty.url).new_page()
    page.goto(EMPTY[name])

    assert faults(page) == []


def test_whoever_has_no_runs_yet_is_shown_how_to_begin(empty: Door, new_context: NewContext) -> None:
    page = new_context(base_url=empty.url).new_page()
    page.goto("/tasks")

    expect(page.get_by_role("heading", name="No runs yet")).to_be_visible()


@pytest.fixture(scope="package")
def empty(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Site(f"sqlite:///{tmp_path_factory.mktemp('empty')}/stepwell.db", "stepwell", workflows=[]) as other:
        yield other.door()


def faults(page: Page) -> list[str]:
    """What is wrong with a page in whatever way it is looked at."""
    page.evaluate(AXE_SCRIPT)
    found = []
    for width in (1440, 375):
        page.set_viewport_size({"width": width, "height": 900})
        for theme, rules in (("light", None), ("dark", ["color-contrast", "link-in-text-block"])):  # in all else the themes are one
            page.evaluate("theme => { document.documentElement.dataset.theme = theme }", theme)
            found += [f"{width} {theme}: {each}" for each in page.evaluate(AXE, rules)]
        found += [f"{width}, less than 24 px: {each}" for each in page.evaluate(TOO_SMALL)]
    page.set_viewport_size({"width": 768, "height": 900})
    found += [f"768, text over text: {each}" for each in page.evaluate(OVERFLOWING)]
    page.set_viewport_size({"width": 320, "height": 256})  # also what 1280 by 1024 has left at 400 %
    found += [f"320, too wide: {each}" for each in page.evaluate(TOO_WIDE)]
    found += [f"320, text over text: {each}" for each in page.evaluate(OVERFLOWING)]
    return found
