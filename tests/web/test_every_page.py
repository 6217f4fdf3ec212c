"""What is true of every page about workflows, schedules, workers, charts and the system."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

import pytest
from httpx import AsyncClient

from stepwell import Stepwell
from stepwell.testing import TestApp
from tests.engine.harness import scenario
from tests.web.seeing import EVIL, ODD, VIEWER, Counting, app_in, links_of, odd, seen, send_mail, text_of, with_runs

ODD_PART = quote(ODD.replace("%", "%25").replace("/", "%2F"))
ODD_REST = quote(ODD.replace("%", "%25"))

PAGES = (
    "/workflows",
    "/workflows/send_mail",
    "/workflows/nobody_has_it",
    f"/workflows/{ODD_PART}",
    "/schedules",
    "/schedules/send_mail/every_morning",
    f"/schedules/{ODD_PART}/{ODD_REST}",
    "/workers",
    "/charts",
    "/charts?range=30d&workflow=send_mail",
    "/system",
)

THINGS = ("/workflows/none", "/schedules/send_mail/none", "/schedules/none/none")

DEEDS = (
    ("/workflows/send_mail", {"action": "pause"}, "operator"),
    ("/schedules/send_mail/every_morning", {"action": "trigger"}, "viewer"),
    ("/workers", {"action": "pause", "queue": "mail"}, "operator"),
)


@pytest.mark.parametrize("path", PAGES)
@scenario
async def test_a_page_shows_texts_as_texts_and_has_neither_styles_nor_scripts_in_it(path: str, tmp_path: Path) -> None:
    async with with_runs(tmp_path) as app, seen(app) as client:
        answer = await client.get(path)

    assert answer.status_code == 200
    assert EVIL not in answer.text
    assert not re.search(r"\sstyle=|<style|\son[a-z]+=|<script(?![^>]*\ssrc=)|javascript:", answer.text)
    assert "&amp;lt;" not in answer.text  # nothing was escaped twice


@pytest.mark.parametrize("path", PAGES)
@scenario
async def test_a_page_is_refused_to_those_who_have_not_signed_in(path: str, tmp_path: Path) -> None:
    app = app_in(tmp_path, send_mail, odd)
    async with app, seen(app, token=None) as client:
        assert (await client.get(path)).status_code == 401


@pytest.mark.parametrize("path", PAGES)
@scenario
async def test_a_viewer_sees_a_page_without_anything_to_press(path: str, tmp_path: Path) -> None:
    async with with_runs(tmp_path) as app, seen(app, token=VIEWER) as client:
        answer = await client.get(path)

    main = answer.text.partition("<main")[2].partition("</main>")[0]
    assert answer.status_code == 200
    assert 'method="post"' not in main
    assert "/runs/new" not in main


@pytest.mark.parametrize("path", PAGES)
@scenario
async def test_every_link_of_a_page_stays_below_the_prefix_it_is_mounted_at(path: str, tmp_path: Path) -> None:
    async with with_runs(tmp_path) as app, seen(app, prefix="/admin/jobs") as client:
        answer = await client.get(f"/admin/jobs{path}")

        assert answer.status_code == 200
        links = [link for link in links_of(answer) if not link.startswith("#")]
        assert [link for link in links if not link.startswith("/admin/jobs/")] == []
        await _lead_somewhere(client, links)


async def _lead_somewhere(client: AsyncClient, links: list[str]) -> None:
    for link in sorted({link for link in links if not link.endswith(("/events", "/settings"))}):
        assert (await client.get(link)).status_code == 200, link


@pytest.mark.parametrize("path", THINGS)
@scenario
async def test_what_is_not_there_is_a_page_that_says_so(path: str, tmp_path: Path) -> None:
    async with with_runs(tmp_path) as app, seen(app) as client:
        answer = await client.get(path)

    assert answer.status_code == 404
    assert "No such" in answer.text
    assert "in another namespace than <b>stepwell</b>" in answer.text


@pytest.mark.parametrize(("path", "fields", "role"), DEEDS)
@scenario
async def test_whoever_may_not_act_cannot_by_a_form_of_his_own(path: str, fields: dict[str, str], role: str, tmp_path: Path) -> None:
    async with with_runs(tmp_path) as app, seen(app, token=role[0] * 16) as client:
        answer = await client.post(path, data=fields)

        assert answer.status_code == 403
        assert not any(state.paused for state in await app.workflows.list())
        assert not any(state.paused for state in await app.queues.list())
        assert len(await app.schedules.slots("send_mail", "every_morning")) == 1


@scenario
async def test_whoever_may_not_act_is_told_who_he_is(tmp_path: Path) -> None:
    async with with_runs(tmp_path) as app, seen(app, token=VIEWER) as client:
        answer = await client.post("/workers", data={"action": "pause", "queue": "mail"})

    assert answer.status_code == 403
    assert "You are web, with the role viewer." in answer.text


@pytest.mark.parametrize("path", ["/tasks", *PAGES])
@scenario
async def test_a_page_without_its_database_says_so_and_how_it_goes_on(path: str, tmp_path: Path) -> None:
    app = Stepwell(f"sqlite:///{tmp_path / 'nowhere' / 'pages.db'}")
    async with seen(app) as client:
        answer = await client.get(path)

    assert answer.status_code == 503
    assert "Database unavailable" in answer.text
    assert "asks again by itself" in answer.text
    assert str(tmp_path) not in answer.text


@pytest.mark.parametrize("path", [path for path, _, _ in DEEDS])
@scenario
async def test_an_action_that_there_is_not_is_refused(path: str, tmp_path: Path) -> None:
    async with with_runs(tmp_path) as app, seen(app) as client:
        assert (await client.post(path, data={"action": "explode"})).status_code in (400, 404)


EMPTY = (
    ("/workflows", "stepwell dev hello.py"),
    ("/schedules", "stepwell worker report.py"),
    ("/workers", "stepwell worker app.py"),
    ("/charts", "No run has ended"),
    ("/system", "no run waits for its turn"),
    ("/tasks", "No runs yet"),
)


@pytest.mark.parametrize(("path", "taught"), EMPTY)
@scenario
async def test_where_there_is_nothing_a_page_says_what_to_do(path: str, taught: str, tmp_path: Path) -> None:
    app = app_in(tmp_path)
    async with app, seen(app) as client:
        answer = await client.get(path, params={"from": "all"})

    assert taught in text_of(answer)


COSTS = (
    ("/workflows", {"catalog", "live_versions", "schedules_of", "speeds", "ends_by_workflow"}),
    ("/workflows/send_mail", {"published", "live_versions", "schedules_of", "speeds", "summaries", "ends"}),
    ("/schedules", {"schedules_page", "unknown_schedules"}),
    ("/schedules/send_mail/every_morning", {"schedules", "slots"}),
    ("/workers", {"workers", "backlog", "queues", "summaries"}),
    ("/charts", {"ends", "waits", "speeds", "backlog"}),
    ("/system", {"facts", "workers", "backlog", "summaries"}),
)


@pytest.mark.parametrize(("path", "verbs"), COSTS)
@scenario
async def test_a_page_asks_the_store_for_few_things(path: str, verbs: set[str]) -> None:
    app = TestApp(send_mail, odd, self_moving=False)
    async with app:
        counting = Counting(app.store)
        app.store = counting
        async with seen(app) as client:
            assert (await client.get(path)).status_code == 200

        assert set(counting.asked) == verbs
        assert counting.asked.total() <= 6
