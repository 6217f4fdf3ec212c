"""How pages follow what happens: by one stream for all tabs of a browser, and by asking where there is none."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Complaints, NewContext
from tests.browser.served import Site

pytestmark = pytest.mark.parametrize("site", ["sqlite"], indirect=True)


def live(page: Page, state: str) -> None:
    expect(page.locator("[data-live]")).to_have_attribute("data-state", state)


def test_the_tabs_of_a_browser_share_one_stream_and_all_are_told(new_context: NewContext, site: Site, mark: str) -> None:
    door = site.door()
    context = new_context(base_url=door.url)
    tabs = [context.new_page() for _ in range(3)]
    for tab in tabs:
        tab.goto(f"/tasks?tag={mark}")
        live(tab, "live")

    site.start("nap", {}, tags=[mark])

    for tab in tabs:
        expect(tab.locator("[data-row]")).to_have_count(1)
    door.has_streams(1)
    tabs[0].close()
    second = site.start("nap", {}, tags=[mark])
    for tab in tabs[1:]:
        expect(tab.locator(f"#run-{second}")).to_be_visible()
    door.has_streams(1)


def test_live_updates_are_switched_off_and_on_again(new_context: NewContext, site: Site, mark: str) -> None:
    door = site.door()
    page = new_context(base_url=door.url).new_page()
    page.goto(f"/tasks?tag={mark}")
    live(page, "live")

    page.keyboard.press("r")
    live(page, "paused")
    page.reload()
    live(page, "paused")
    site.start("nap", {}, tags=[mark])
    page.keyboard.press("r")

    live(page, "live")
    expect(page.locator("[data-row]")).to_have_count(1)


def test_a_page_whose_server_goes_away_says_so_and_goes_on_when_it_is_back(
    new_context: NewContext, site: Site, complaints: Complaints, mark: str
) -> None:
    complaints.expect("ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE")
    door = site.door()
    page = new_context(base_url=door.url).new_page()
    page.goto(f"/tasks?tag={mark}")
    live(page, "live")

    door.shut()
    live(page, "retrying")
    site.start("nap", {}, tags=[mark])
    door.open()

    live(page, "live")
    expect(page.locator("[data-row]")).to_have_count(1)


def test_a_page_without_a_stream_asks_by_itself(new_context: NewContext, site: Site, complaints: Complaints, mark: str) -> None:
    complaints.expect("/-/events|ERR_FAILED")
    door = site.door()
    context = new_context(base_url=door.url)
    context.route("**/-/events", lambda route: route.abort())
    page = context.new_page()
    page.goto(f"/tasks?tag={mark}")
    live(page, "retrying")

    site.start("nap", {}, tags=[mark])
    expect(page.locator("[data-row]")).to_have_count(1)
    context.unroute("**/-/events")

    live(page, "live")


def test_what_somebody_types_is_not_taken_away_by_what_happens(new_context: NewContext, site: Site, gate: Path) -> None:
    run_id = site.start("letter", {"gate": str(gate)})
    page = new_context(base_url=site.door().url).new_page()
    page.goto(f"/runs/{run_id}")
    page.get_by_text("Send a signal").click()
    page.get_by_label("Payload").fill('{"half": ')
    page.get_by_role("button", name="Send").focus()

    gate.touch()

    expect(page.locator("[data-step=write].completed")).to_be_visible()
    expect(page.get_by_label("Payload")).to_have_value('{"half": ')


def test_what_somebody_has_typed_chosen_ticked_opened_scrolled_or_selected_stays_while_a_page_goes_on(
    new_context: NewContext, site: Site, mark: str
) -> None:
    door = site.door()
    page = new_context(base_url=door.url, viewport={"width": 1280, "height": 500}).new_page()
    first, *_ = [site.start("nap", {}, tags=[mark]) for _ in range(20)]
    page.goto(f"/tasks?tag={mark}&view=mine")
    expect(page.locator("[data-row]")).to_have_count(20)
    page.get_by_text("★ Save").click()
    page.get_by_label("Name of this view").fill("half a na")
    page.locator("#f-workflow").fill("na")
    page.evaluate("document.querySelector('#f-status').value = 'failed'")
    page.locator(f"#run-{first} input").check()
    page.locator(f"#run-{first} .name").evaluate("cell => getSelection().selectAllChildren(cell)")
    page.evaluate("scrollTo(0, 150)")
    page.locator("#save").evaluate("menu => { menu.open = true; document.activeElement.blur(); }")

    site.do(site.app.runs.pause(first))

    expect(page.locator(f"#run-{first}.paused")).to_be_visible()
    expect(page.get_by_label("Name of this view")).to_have_value("half a na")
    expect(page.locator("#save")).to_have_attribute("open", "")
    expect(page.locator("#f-workflow")).to_have_value("na")
    expect(page.locator("#f-status")).to_have_value("failed")
    expect(page.locator(f"#run-{first} input")).to_be_checked()
    assert page.evaluate("getSelection().toString().trim()").startswith("nap")
    assert page.evaluate("scrollY") == 150


def test_times_go_on_without_anybody_being_asked(new_context: NewContext, site: Site, mark: str) -> None:
    door = site.door()
    context = new_context(base_url=door.url)
    run_id = site.start("nap", {}, tags=[mark])
    site.becomes(run_id, "sleeping")
    page = context.new_page()
    page.clock.install()
    page.goto(f"/tasks?tag={mark}")
    page.locator(f"#run-{run_id} [data-ago]").wait_for()

    page.clock.fast_forward(3_600_000)

    expect(page.locator(f"#run-{run_id} [data-ago]")).to_have_text("1 h ago")


def test_where_there_are_as_many_streams_as_there_may_be_a_page_asks_by_itself(
    new_context: NewContext, site: Site, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepwell.web.live.MAX_STREAMS", 1)
    door = site.door()
    full, other = (new_context(base_url=door.url) for _ in range(2))
    live_one = full.new_page()
    live_one.goto("/workers")
    live(live_one, "live")
    tabs = other.new_page(), other.new_page()
    for tab in tabs:
        tab.goto(f"/tasks?tag={mark}")
        live(tab, "retrying")

    site.start("nap", {}, tags=[mark])

    for tab in tabs:
        expect(tab.locator("[data-row]")).to_have_count(1)
    door.has_streams(1)


MISSED = """() => new Promise(done => {
    const look = setInterval(() => { if (page.missed) { clearInterval(look); done(); } }, 20);
})"""
"""That something has come which is not shown yet. The policy lets nobody wait for an expression."""

MUCH = """() => new Promise(done => {
    let left = 75;
    const hear = setInterval(() => { heard("changed"); left -= 1; if (!left) { clearInterval(hear); done(); } }, 20);
})"""


def test_a_question_is_answered_for_what_was_there_when_it_was_asked(new_context: NewContext, site: Site, mark: str) -> None:
    door = site.door()
    page = new_context(base_url=door.url).new_page()
    first = site.start("nap", {}, tags=[mark])
    site.becomes(first, "sleeping")
    page.goto(f"/tasks?tag={mark}")
    live(page, "live")
    page.locator(f"#run-{first} input").check()
    page.locator(".bulk").get_by_role("button", name="Cancel").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Cancel 1 run?")

    second = site.start("nap", {}, tags=[mark])
    page.evaluate(MISSED)
    expect(dialog).to_be_visible()
    dialog.get_by_role("button", name="Yes").click()

    expect(page.locator(f"#run-{first}.canceled")).to_be_visible()
    expect(page.locator(f"#run-{second}")).to_be_visible()
    assert site.status(second) != "canceled"


SEEN = """hidden => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


def test_a_tab_that_nobody_sees_gives_up_its_stream_to_one_that_is_seen(new_context: NewContext, site: Site, mark: str) -> None:
    door = site.door()
    context = new_context(base_url=door.url)
    first, second = context.new_page(), context.new_page()
    for tab in (first, second):
        tab.goto(f"/tasks?tag={mark}")
        live(tab, "live")

    first.evaluate(SEEN, True)
    run_id = site.start("nap", {}, tags=[mark])
    expect(second.locator(f"#run-{run_id}")).to_be_visible()
    door.has_streams(1)
    second.evaluate(SEEN, True)
    door.has_streams(0)
    assert first.locator(f"#run-{run_id}").count() == 0
    first.evaluate(SEEN, False)

    expect(first.locator(f"#run-{run_id}")).to_be_visible()
    door.has_streams(1)


def test_however_much_happens_a_page_is_asked_for_twice_a_second_at_most(new_context: NewContext, site: Site, mark: str) -> None:
    door = site.door()
    page = new_context(base_url=door.url).new_page()
    page.goto(f"/tasks?tag={mark}")
    live(page, "live")

    run_id = site.start("nap", {}, tags=[mark])
    page.evaluate(MUCH)
    expect(page.locator(f"#run-{run_id}")).to_be_visible()

    asked = page.evaluate(
        "performance.getEntriesByType('resource').filter(each => each.name === location.href).map(each => each.startTime)"
    )
    assert len(asked) >= 2
    assert min(later - sooner for sooner, later in itertools.pairwise(asked)) >= 490


STREAMS = """
import socket, sys, time
kept = []
for _ in range(3):
    kept.append(socket.create_connection(("127.0.0.1", int(sys.argv[1]))))
    kept[-1].sendall(b"GET /-/events HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\n\\r\\n")
time.sleep(600)
"""


def test_streams_of_a_client_that_was_killed_are_let_go_of(site: Site) -> None:
    door = site.door()

    with subprocess.Popen([sys.executable, "-c", STREAMS, str(door.port)]) as client:
        door.has_streams(3)
        client.kill()

    door.has_streams(0)
