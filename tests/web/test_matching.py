"""What is done to all that match: asked first, of whom exactly; done to no others; seen while it goes on, and stopped."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from httpx import Response

from stepwell import Stepwell
from stepwell.errors import TooSlow
from stepwell.testing import TestApp
from stepwell.web import create_app
from tests.engine.harness import scenario
from tests.web.seeing import ADMIN, OPERATOR, VIEWER, app_in, seen, send_mail, text_of


def _form(page: Response, action: str) -> tuple[str, dict[str, str]]:
    """Where the form of an action is sent, and what with."""
    (form,) = [form for form in re.findall(r"<form.*?</form>", page.text, re.DOTALL) if f'name="action" value="{action}"' in form]
    (address,) = re.findall(r'action="([^"]*)"', form)
    return unescape(address), {name: unescape(value) for name, value in re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form)}


async def _three(app: Stepwell) -> None:
    """Two that wait and one that is paused."""
    await app.start_many(send_mail, [{"to": "ada"}] * 2, tags=["acme"])
    await (await app.start(send_mail, {"to": "ada"}, tags=["acme"])).pause()


@scenario
async def test_the_question_says_how_many_can_be_meant_by_each_answer(tmp_path: Path) -> None:
    async with app_in(tmp_path, send_mail) as app, seen(app, token=ADMIN) as client:
        await _three(app)
        await app.start(send_mail, {"to": "bob"})
        asked = text_of(await client.get("/tasks/matching?tag=acme"))

    assert "tag: acme" in asked
    assert "Pending 2" in asked
    assert "Paused 1" in asked
    assert "Pause 2 runs" in asked
    assert "Resume 1 run " in asked
    assert "Cancel 3 runs" in asked
    assert "Retry" not in asked
    assert "Delete" not in asked


@scenario
async def test_runs_that_come_after_the_question_are_not_meant(tmp_path: Path) -> None:
    async with app_in(tmp_path, send_mail) as app, seen(app) as client:
        before = await app.start(send_mail, {"to": "ada"})
        address, fields = _form(await client.get("/tasks/matching?next=/tasks"), "cancel")
        later = await app.start(send_mail, {"to": "bob"})
        answer = await client.post(address, data=fields)
        page = await client.get(answer.headers["location"])

        assert "1 run was canceled" in page.text
        assert (await before.get()).status == "canceled"
        assert (await later.get()).status == "pending"


@scenario
async def test_what_an_operator_may_not_do_he_is_not_asked_and_a_viewer_is_asked_nothing(tmp_path: Path) -> None:
    async with app_in(tmp_path, send_mail) as app:
        handle = await app.start(send_mail, {"to": "ada"})
        await handle.cancel()
        async with seen(app, token=ADMIN) as admin, seen(app, token=OPERATOR) as operator, seen(app, token=VIEWER) as viewer:
            address, fields = _form(await admin.get("/tasks/matching"), "delete")
            asked = text_of(await operator.get("/tasks/matching"))

            assert "Retry 1 run" in asked
            assert "Delete" not in asked
            assert (await operator.post(address, data=fields)).status_code == 403
            assert (await viewer.get("/tasks/matching")).status_code == 403
            assert (await viewer.post(address, data=fields | {"action": "retry"})).status_code == 403
            assert (await handle.get()).status == "canceled"


@scenario
async def test_what_cannot_be_counted_in_time_is_said_to_be_uncounted_and_can_still_be_meant() -> None:
    app = TestApp(send_mail, self_moving=False)
    async with app, seen(app) as client:
        app.store = Slow(app.store)  # type: ignore[assignment]  # all but one verb are the real ones
        asked = text_of(await client.get("/tasks/matching?tag=acme"))

    assert "could not be counted in time" in asked
    assert "Cancel all that can be" in asked


class Slow:
    """A store in which runs take too long to count."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, verb: str) -> Any:
        return getattr(self._store, verb)

    async def tally(self, *_: object) -> object:
        raise TooSlow("this takes too long to count")


@pytest.mark.parametrize("to", ["//evil.example", "https://evil.example", "javascript:alert(1)", "", "tasks"])
@scenario
async def test_the_way_back_from_the_question_leads_to_a_page_of_ours(to: str, tmp_path: Path) -> None:
    async with app_in(tmp_path, send_mail) as app, seen(app, prefix="/jobs") as client:
        page = await client.get("/jobs/tasks/matching", params={"next": to})
        own = await client.get("/jobs/tasks/matching", params={"next": "/jobs/tasks?tag=acme"})

    assert set(re.findall(r'<a href="([^"]*)"[^>]*>(?:Tasks|Back, and do nothing)</a>', page.text.partition("<main")[2])) == {"/jobs/tasks"}
    assert 'href="/jobs/tasks?tag=acme">Back, and do nothing' in own.text


@pytest.mark.parametrize(("token", "status"), [(VIEWER, 403), (OPERATOR, 303)])
@scenario
async def test_one_that_takes_long_shows_on_the_page_and_is_stopped_there(token: str, status: int, tmp_path: Path) -> None:
    let, begun = asyncio.Event(), asyncio.Event()

    async def work(progress: Callable[[int], None]) -> int:
        progress(500)
        begun.set()
        await let.wait()
        progress(1_000)
        return 70_000

    async with app_in(tmp_path, send_mail) as app, seen(app, token=token) as client:
        site = client._transport.app.state.site  # type: ignore[attr-defined]
        batch = site.batches.begin("Cancel tag: acme", work, "canceled")
        await begun.wait()

        page = await client.get("/tasks")
        assert "Cancel tag: acme: under way, 500 runs were canceled" in page.text
        answer = await client.post("/tasks", data={"action": "stop", "batch": batch.number})
        let.set()
        await batch.settled(10)
        shown = text_of(await client.get("/tasks"))

    assert answer.status_code == status
    assert ("stopped by web; 1,000 runs were canceled, the others are as they were" in shown) == (status == 303)


@scenario
async def test_an_application_that_ends_in_the_midst_of_one_stops_it_while_its_database_is_still_open(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    begun = asyncio.Event()
    app = app_in(tmp_path, send_mail)
    pages = create_app(app, tokens={})

    async def work(progress: Callable[[int], None]) -> int:
        for done in itertools.count(1):
            await app.start(send_mail, {"to": "ada"})
            begun.set()
            progress(done)
        raise AssertionError

    async with asyncio.timeout(20), pages.router.lifespan_context(pages):
        pages.state.site.batches.begin("Cancel all runs", work, "canceled")
        await begun.wait()

    assert not app.is_open
    assert re.search("Cancel all runs: stopped by the end of the server; [1-9]", caplog.text)
