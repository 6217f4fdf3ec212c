"""Views: those that everybody has, and those that a browser keeps in a cookie, which may hold anything."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from httpx import AsyncClient, Response

from stepwell.web.views import BUILT_IN, COOKIE, MAX_SAVED, View, is_shown, saved
from tests.engine.harness import scenario
from tests.web.seeing import EVIL, VIEWER, app_in, links_of, seen, send_mail


async def _save(client: AsyncClient, name: str, query: str) -> Response:
    return await client.post("/-/views", data={"action": "save", "name": name, "query": query})


def _packed(text: str) -> str:
    return urlsafe_b64encode(text.encode()).decode()


def _view_named(page: Response, label: str) -> str:
    """Where the link of a view leads."""
    (found,) = (link for link in links_of(page) if parse_qs(urlsplit(link).query).get("view") == [label])
    return found


@scenario
async def test_a_view_that_is_saved_is_a_link_to_what_it_chose_and_is_marked_there(tmp_path: Path) -> None:
    async with app_in(tmp_path, send_mail) as app, seen(app, token=VIEWER) as client:
        await app.start(send_mail, {"to": "ada"}, tags=["acme"])
        answer = await _save(client, "  Acme's   mail ", "status=pending&tag=acme&from=-7d&cursor=abc&next=//evil")
        page = await client.get(answer.headers["location"])
        other = await client.get("/tasks?tag=none")

    assert "the view Acme&#39;s mail was saved in this browser" in page.text
    chosen = parse_qs(urlsplit(_view_named(other, "Acme's mail")).query)
    assert chosen == {"status": ["pending"], "tag": ["acme"], "from": ["-7d"], "view": ["Acme's mail"]}
    assert 'aria-current="true">★ Acme' in page.text
    assert 'aria-current="true">★ Acme' not in other.text


@scenario
async def test_a_view_that_is_saved_again_under_its_name_is_another_one_and_can_be_forgotten(tmp_path: Path) -> None:
    async with app_in(tmp_path, send_mail) as app, seen(app) as client:
        await _save(client, "mine", "status=failed")
        await _save(client, "mine", "status=paused")
        changed = parse_qs(urlsplit(_view_named(await client.get("/tasks"), "mine")).query)
        await client.post("/-/views", data={"action": "forget", "name": "mine"})
        page = await client.get("/tasks")

    assert changed["status"] == ["paused"]
    assert not [link for link in links_of(page) if "view=mine" in link]


@pytest.mark.parametrize("name", ["", "   ", "x" * 41, "a\x00b", "All"])
@scenario
async def test_a_name_that_cannot_be_is_refused_and_nothing_is_kept(name: str, tmp_path: Path) -> None:
    async with app_in(tmp_path, send_mail) as app, seen(app) as client:
        answer = await _save(client, name, "status=failed")

    assert answer.status_code == 400
    assert COOKIE not in client.cookies


@scenario
async def test_a_browser_keeps_so_many_views_and_no_more(tmp_path: Path) -> None:
    async with app_in(tmp_path, send_mail) as app, seen(app) as client:
        for number in range(MAX_SAVED):
            assert (await _save(client, f"view {number}", "status=failed")).status_code == 303
        one_more = await _save(client, "one more", "status=failed")
        long = [await _save(client, f"view {number}", f"q={'x' * 400}") for number in range(MAX_SAVED)]
        too_long = await _save(client, "view 0", f"q={'x' * 600}")

        assert "forget one of them first" in unescape(one_more.text)
        assert {answer.status_code for answer in long} == {303, 400}
        assert "keep its address" in too_long.text
        assert len(client.cookies[COOKIE]) < 4_000
        assert (await client.get("/tasks")).status_code == 200


@pytest.mark.parametrize(
    "cookie",
    ["", "x", "[", "{}", "[1]", "[[]]", '[["a"]]', '[["a", 1]]', '[["", "status=failed"]]', "[" * 10_000, '"text"', "null", "%00", "%ff"],
)
@scenario
async def test_a_cookie_that_is_none_of_ours_is_passed_over(cookie: str, tmp_path: Path) -> None:
    async with app_in(tmp_path, send_mail) as app, seen(app) as client:
        answer = await client.get("/tasks", headers={"cookie": f"{COOKIE}={_packed(cookie)}"})

    assert answer.status_code == 200
    assert saved(cookie) == saved(_packed(cookie)) == ()


@scenario
async def test_what_a_cookie_says_is_text_on_the_page_and_chooses_nothing_but_runs(tmp_path: Path) -> None:
    views = json.dumps([[EVIL, "status=failed&next=//evil&cursor=1"], ["long", "q=" + "x" * 501], ["ok", "javascript:alert(1)"]])
    async with app_in(tmp_path, send_mail) as app, seen(app, prefix="/admin/jobs") as client:
        answer = await client.get("/admin/jobs/tasks", headers={"cookie": f"{COOKIE}={_packed(views)}"})

    assert EVIL not in answer.text
    assert parse_qs(urlsplit(_view_named(answer, EVIL)).query) == {"status": ["failed"], "view": [EVIL]}
    assert _view_named(answer, "ok") == "/admin/jobs/tasks?view=ok"
    assert "view=long" not in answer.text


def test_a_view_is_shown_by_whatever_address_means_the_same_runs() -> None:
    everything, _, failed, slow = BUILT_IN

    assert is_shown(everything, {"from": "-24h", "status": "", "size": "200", "cursor": "abc"})
    assert is_shown(failed, failed.query | {"order": "newest", "view": "Failed today"})
    assert not is_shown(failed, {"status": "failed"})
    assert not is_shown(everything, slow.query)
    assert is_shown(View("mine", {"status": "failed", "size": "25"}), {"status": "failed"})
