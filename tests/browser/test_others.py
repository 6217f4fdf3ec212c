"""Pages for those who come otherwise: without JavaScript, without rights, under a prefix, or with texts that mean harm."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Complaints, NewContext
from tests.browser.flows import HOSTILE
from tests.browser.served import Door, Site

pytestmark = pytest.mark.parametrize("site", ["sqlite"], indirect=True)


def test_without_javascript_runs_are_found_and_paused_and_canceled(new_context: NewContext, site: Site, door: Door, mark: str) -> None:
    first, second = (site.start("nap", {}, tags=[mark]) for _ in range(2))
    page = new_context(base_url=door.url, java_script_enabled=False).new_page()

    page.goto("/tasks")
    page.get_by_role("searchbox", name="Find runs").fill(f"tag:{mark}")
    page.get_by_role("searchbox", name="Find runs").press("Enter")
    expect(page.locator("[data-row]")).to_have_count(2)
    page.locator(f"[data-row] input[value='{first}']").check()
    page.locator(".bulk").get_by_role("button", name="Pause").click()
    expect(page.get_by_text("1 run was paused")).to_be_visible()
    page.get_by_role("combobox", name="Status").select_option("paused")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("[data-row]")).to_have_count(1)
    page.locator("[data-row]").get_by_role("link", name="nap").click()
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("resumed")).to_be_visible()
    page.goto(f"/runs/{second}")
    page.get_by_role("button", name="Cancel").click()

    expect(page.locator("h1 + .status")).to_have_text("⊘ Canceled")
    assert site.status(first) != "paused"


def test_without_javascript_nothing_is_shown_that_needs_it(new_context: NewContext, door: Door) -> None:
    page = new_context(base_url=door.url, java_script_enabled=False).new_page()
    page.goto("/tasks")

    expect(page.locator("[data-live]")).to_be_hidden()
    expect(page.locator("[data-dialog]")).to_be_hidden()
    expect(page.locator("[data-pill]")).to_have_count(1)
    expect(page.locator("[data-pill]")).to_be_hidden()

    page.locator("[data-row] .name a").first.click()
    expect(page.locator("[data-copy]")).to_have_count(1)
    expect(page.locator("[data-copy]")).to_be_hidden()


def test_a_viewer_sees_everything_and_finds_nothing_to_press(new_context: NewContext, site: Site, mark: str) -> None:
    run_id = site.start("nap", {}, tags=[mark])
    door = site.door(auth=lambda request: "viewer")
    page = new_context(base_url=door.url).new_page()

    for path in (
        f"/tasks?tag={mark}",
        f"/runs/{run_id}",
        "/workflows",
        "/workflows/nap",
        "/schedules",
        "/schedules/report/nightly",
        "/workers",
    ):
        page.goto(path)
        expect(page.get_by_role("heading", level=1)).to_be_attached()
        forms = page.evaluate("[...document.querySelectorAll('form[method=post]')].map((form) => form.getAttribute('action'))")
        assert set(forms) <= {"/-/settings", "/-/views"}, path  # what his browser keeps
    page.goto(f"/tasks?tag={mark}")
    expect(page.locator("[data-row]")).to_have_count(1)
    expect(page.get_by_role("link", name="Start a run")).to_have_count(0)


def test_pages_work_under_a_prefix(new_context: NewContext, site: Site, mark: str) -> None:
    run_id = site.start("nap", {}, tags=[mark])
    door = site.door(prefix="/behind/here")
    page = new_context(base_url=door.url).new_page()

    page.goto(f"/behind/here/tasks?tag={mark}")
    page.locator("[data-row]").get_by_role("link", name="nap").click()
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("h1 + .status")).to_have_text("❚❚ Paused")
    expect(page.locator("[data-live]")).to_have_attribute("data-state", "live")
    page.get_by_label("Settings").click()
    page.get_by_label("Theme").select_option("dark")
    page.get_by_role("button", name="Save").click()

    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert page.url == f"{door.url}/behind/here/runs/{run_id}"
    door.has_streams(1)


def test_texts_with_markup_and_script_stay_texts_wherever_they_are_shown(
    new_context: NewContext, site: Site, door: Door, complaints: Complaints
) -> None:
    run_id = site.start("hostile", {HOSTILE: HOSTILE}, tags=[HOSTILE[:60]], key=HOSTILE)
    page = new_context(base_url=door.url).new_page()
    page.goto(f"/runs/{run_id}")
    expect(page.locator("h1 + .status")).to_have_text("✕ Failed")

    for path in (
        f"/runs/{run_id}",
        *(f"/runs/{run_id}?tab={tab}" for tab in ("input", "error", "logs", "history", "json")),
        f"/runs/{run_id}?step={quote(HOSTILE)}",
        f"/runs/{run_id}?find={quote(HOSTILE)}",
        f"/tasks?q={quote(HOSTILE)}",
        f"/tasks?tag={quote(HOSTILE[:60])}",
        f"/tasks?workflow={quote(HOSTILE)}&version={quote(HOSTILE)}&queue={quote(HOSTILE)}",
        "/tasks?workflow=hostile",
        "/workflows/hostile",
    ):
        page.goto(path)
        assert page.title() != "owned", path
        assert page.locator("main script, main img, main [onerror]").count() == 0, path
    page.goto(f"/runs/{run_id}?tab=input")
    expect(page.locator("#tab pre")).to_have_text(json.dumps({HOSTILE: HOSTILE}, indent=2))
    expect(page.locator(".card.error .message")).to_contain_text(HOSTILE)


def test_what_is_asked_wrongly_is_told_on_a_page(page: Page, complaints: Complaints) -> None:
    complaints.expect("404|400")
    page.goto("/runs/no-such-run")
    expect(page.get_by_role("heading", level=1)).to_have_text("No such run")
    page.get_by_role("link", name="All tasks").click()
    expect(page.locator("[data-live]")).to_be_visible()

    page.goto("/tasks?from=yesterday")

    expect(page.get_by_role("alert")).to_contain_text("'yesterday' is no time")


def test_copying_an_id_puts_it_on_the_clipboard_and_says_so(new_context: NewContext, site: Site, door: Door, gate: Path) -> None:
    run_id = site.start("nap", {})
    page = new_context(base_url=door.url, permissions=["clipboard-read", "clipboard-write"]).new_page()
    page.goto(f"/runs/{run_id}")

    page.get_by_role("button", name="Copy the id").click()

    expect(page.locator("[data-announce]")).to_have_text("copied")
    assert page.evaluate("navigator.clipboard.readText()") == run_id
