"""The Tasks page: what goes on, the list, and what is said where it is empty or a filter is wrong."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from stepwell import Step, workflow
from stepwell.errors import TooSlow
from stepwell.testing import TestApp
from tests.engine.harness import scenario
from tests.web.seeing import VIEWER, Counting, app_in, seen, send_mail, text_of, with_runs


@workflow(name="nap")
async def nap(step: Step) -> None:
    await step.sleep("rest", "3h")


def _ids(html: str) -> list[str]:
    return re.findall(r'id="run-([^"]+)"', html)


@scenario
async def test_what_goes_on_is_shown_in_short_beside_a_list_in_which_somebody_looks_for_something(tmp_path: Path) -> None:
    async with app_in(tmp_path, send_mail) as app, seen(app) as client:
        await app.start_many(send_mail, [{"to": "ada"}] * 30)
        all_of_them = await client.get("/tasks?size=25")
        filtered = await client.get("/tasks?tag=none")

    assert all_of_them.text.count('id="active-0') == 20
    assert "all that are active" in text_of(all_of_them)
    assert filtered.text.count('id="active-0') == 5
    assert "all that are active" in text_of(filtered)


@scenario
async def test_a_run_that_sleeps_says_until_when_in_the_zone_of_the_viewer() -> None:
    app = TestApp(nap, self_moving=False)
    async with app, seen(app) as client:
        await app.start(nap)
        await app.advance("1m")
        page = await client.get("/tasks?tz=Asia/Seoul")

    assert re.search(r"until (\d+ \w+ )?\d\d:\d\d KST , wakes in 2 h", text_of(page))


@scenario
async def test_the_oldest_come_first_where_so_asked_and_the_pages_follow(tmp_path: Path) -> None:
    async with app_in(tmp_path, send_mail) as app, seen(app) as client:
        ids = [handle.run_id for handle in await app.start_many(send_mail, [{"to": "ada"}] * 30)]
        first = await client.get("/tasks?order=oldest&size=25")
        (link,) = re.findall(r'rel="next" href="([^"]*)">Newer', first.text)
        second = await client.get(unescape(link))

    assert _ids(first.text) == ids[:25]
    assert _ids(second.text) == ids[25:]


@scenario
async def test_each_run_of_the_list_shows_its_last_steps_and_how_many_there_are(tmp_path: Path) -> None:
    async with with_runs(tmp_path) as app, seen(app) as client:
        page = await client.get("/tasks?workflow=send_mail&status=failed,completed")

    rows = re.findall(r'<tr id="run-.*?</tr>', page.text, re.DOTALL)
    assert len(rows) >= 2
    for row in rows:
        is_failed = 'class="failed" data-row' in row
        assert ('<path class="failed"' in row) == is_failed
        assert re.search(
            r"<span class=\"number\">1</span><span class=\"visually-hidden\"> step" + (", send failed" if is_failed else "<"), row
        )


@scenario
async def test_where_steps_take_too_long_to_count_the_runs_are_shown_without_them() -> None:
    app = TestApp(nap, self_moving=False)
    async with app, seen(app) as client:
        handle = await app.start(nap)
        app.store = Slow(app.store)  # type: ignore[assignment]  # all but one verb are the real ones
        page = await client.get("/tasks")

    assert page.status_code == 200
    assert _ids(page.text) == [handle.run_id]


class Slow:
    """A store in which steps take too long to count."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, verb: str) -> Any:
        return getattr(self._store, verb)

    async def chips(self, *_: object) -> object:
        raise TooSlow("this takes too long to count")


@pytest.mark.parametrize(("size", "shown"), [("25", 25), ("50", 50), ("100", 60), ("7", 50), ("1000000", 50)])
@scenario
async def test_a_page_has_as_many_runs_as_one_of_the_sizes_says(size: str, shown: int, tmp_path: Path) -> None:
    async with app_in(tmp_path, send_mail) as app, seen(app) as client:
        await app.start_many(send_mail, [{"to": "ada"}] * 60)
        page = await client.get("/tasks", params={"size": size})

    assert len(_ids(page.text)) == shown


@scenario
async def test_rows_are_compact_for_a_browser_that_has_said_so(tmp_path: Path) -> None:
    async with app_in(tmp_path, send_mail) as app, seen(app, token=VIEWER) as client:
        await app.start(send_mail, {"to": "ada"})
        before = await client.get("/tasks")
        await client.post("/-/settings", data={"rows": "compact"})
        after = await client.get("/tasks")
        await client.post("/-/settings", data={"rows": "tiny"})

    assert 'data-rows="roomy"' in before.text
    assert "Compact rows" in before.text
    assert 'data-rows="compact"' in after.text
    assert "Roomy rows" in after.text
    assert client.cookies["stepwell_rows"] == "compact"


@scenario
async def test_a_filter_that_no_run_fits_says_what_to_drop_and_how_to_search_older(tmp_path: Path) -> None:
    async with app_in(tmp_path, send_mail) as app, seen(app) as client:
        page = await client.get("/tasks?status=failed&tag=acme")
        older = await client.get("/tasks?from=all&tag=acme")

    assert "Drop “status: failed” Drop “tag: acme” Search older: last 7 days" in text_of(page)
    assert "Search older" not in text_of(older)


@scenario
async def test_a_filter_that_is_wrong_is_an_alert_and_nothing_is_offered_for_all_that_match(tmp_path: Path) -> None:
    async with app_in(tmp_path, send_mail) as app, seen(app) as client:
        await app.start(send_mail, {"to": "ada"})
        page = await client.get("/tasks?q=workflow:send_*")
        question = await client.get("/tasks/matching?q=workflow:send_*")

    assert re.search(r'role="alert">[^<]*takes a whole name[^<]*This shows the last 24 h', page.text)
    assert "/tasks/matching" not in page.text
    assert question.status_code == 400


@scenario
async def test_text_is_said_to_be_looked_for_in_the_newest_runs_only(tmp_path: Path) -> None:
    async with app_in(tmp_path, send_mail) as app, seen(app) as client:
        assert "newest 10,000 runs" in text_of(await client.get("/tasks?q=ada"))
        assert "newest 10,000 runs" not in text_of(await client.get("/tasks?q=tag:acme"))


@scenario
async def test_a_page_on_which_only_time_has_passed_is_still_the_same() -> None:
    app = TestApp(nap, self_moving=False)
    async with app, seen(app) as client:
        await app.start(nap)
        await app.advance("1m")
        first = await client.get("/tasks")
        await app.advance("7s")
        again = await client.get("/tasks", headers={"if-none-match": first.headers["etag"]})
        await app.start(nap)
        other = await client.get("/tasks", headers={"if-none-match": first.headers["etag"]})

    assert again.status_code == 304
    assert other.status_code == 200


@pytest.mark.parametrize("query", ["", "?status=failed&tag=a", "?order=oldest&from=all&status=running"])
@scenario
async def test_the_page_asks_the_store_for_few_things(query: str) -> None:
    app = TestApp(send_mail, self_moving=False)
    async with app:
        await app.start(send_mail, {"to": "ada"})
        counting = Counting(app.store)
        app.store = counting
        async with seen(app) as client:
            assert (await client.get(f"/tasks{query}")).status_code == 200

        assert counting.asked.total() <= 6, counting.asked


@scenario
async def test_a_paused_run_says_in_strip_and_list_and_on_its_page_who_has_paused_it(tmp_path: Path) -> None:
    async with app_in(tmp_path, send_mail) as app, seen(app) as client:
        mine, nobodys = await app.start_many(send_mail, [{"to": "ada"}] * 2)
        await mine.pause(actor="ada <b>")
        await nobodys.pause()
        tasks = await client.get("/tasks")
        run = await client.get(f"/runs/{mine.run_id}")
        other = await client.get(f"/runs/{nobodys.run_id}")

    strip, runs = text_of(tasks).split(" Runs ", 1)
    assert strip.count("paused by") == 1
    assert "paused by ada <b>" in strip
    assert runs.count("Paused by ada <b>") == 1
    assert "Paused by ada <b>" in text_of(run)
    assert "Paused by" not in text_of(other)


@scenario
async def test_runs_that_are_ticked_are_given_as_a_file_without_what_is_hidden(tmp_path: Path) -> None:
    async with app_in(tmp_path, send_mail) as app, seen(app) as client:
        first, _, third = await app.start_many(send_mail, [{"to": "ada", "password": "hunter2"}] * 3)
        await third.pause(actor="ada")
        answer = await client.post("/tasks", data={"action": "export", "run": [third.run_id, first.run_id]})

    assert answer.headers["content-disposition"] == 'attachment; filename="runs.json"'
    assert {(run["id"], run["status"], run["paused_by"]) for run in answer.json()} == {
        (third.run_id, "paused", "ada"),
        (first.run_id, "pending", None),
    }
    assert "hunter2" not in answer.text
