"""Pages inside other applications: under a prefix, several side by side, and opened when they are asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from httpx import ASGITransport, AsyncClient
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from stepwell import Stepwell
from stepwell.web import create_app
from tests.engine.harness import scenario
from tests.web.guests import GETS
from tests.web.seeing import app_in, links_of, odd, send_mail


def by_starlette(pages: Any, prefix: str) -> Any:
    """As Starlette and FastAPI do it."""
    return Starlette(routes=[Mount(prefix, pages), Route("/", lambda _: PlainTextResponse("the host"))])


def by_path(pages: Any, prefix: str) -> Any:
    """As one does it beside Django: by a function of ASGI."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"].startswith(f"{prefix}/"):
            await pages({**scope, "root_path": prefix}, receive, send)
        else:
            await PlainTextResponse("the host")(scope, receive, send)

    return application


def below_another(pages: Any, prefix: str) -> Any:
    """Below an application that is mounted itself."""
    first, _, rest = prefix.removeprefix("/").partition("/")
    return Starlette(routes=[Mount(f"/{first}", Starlette(routes=[Mount(f"/{rest}", pages)]))])


HOSTS = (by_starlette, by_path, below_another)


@asynccontextmanager
async def visitor(asgi: Any) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(transport=ASGITransport(asgi), base_url="http://testserver") as client:
        yield client


@pytest.mark.parametrize("host", HOSTS)
@scenario
async def test_every_page_works_below_a_prefix_and_leads_nowhere_else(host: Any, tmp_path: Path) -> None:
    prefix = "/inner/jobs"
    async with app_in(tmp_path, send_mail, odd) as app, visitor(host(create_app(app, tokens={}), prefix)) as client:
        for path in GETS:
            answer = await client.get(f"{prefix}{path}")
            assert answer.status_code < 500, path
            if answer.headers.get("content-type", "").startswith("text/html"):
                links = [link for link in links_of(answer) if not link.startswith("#")]
                assert [link for link in links if not link.startswith(f"{prefix}/")] == [], path
        home = await client.get(f"{prefix}/")
        file = await client.get(next(link for link in links_of(await client.get(f"{prefix}/tasks")) if link.endswith("stepwell.css")))

    assert home.headers["location"] == f"{prefix}/tasks"
    assert file.status_code == 200


@pytest.mark.parametrize("prefix", ["/my jobs", "/作业", "/a+b&c;d", "/100%25"])
@scenario
async def test_a_prefix_may_have_any_signs_in_it(prefix: str, tmp_path: Path) -> None:
    address = quote(prefix)
    async with app_in(tmp_path, send_mail, odd) as app, visitor(by_starlette(create_app(app, tokens={}), prefix)) as client:
        page = await client.get(f"{address}/tasks")
        links = [link for link in links_of(page) if not link.startswith("#")]
        found = [(await client.get(link)).status_code for link in links if not link.endswith(("/events", "/settings", "/views"))]
        settings = await client.post(f"{address}/-/settings", data={"theme": "dark", "next": f"{address}/charts"})
        started = await client.post(f"{address}/api/runs", json={"workflow": "send_mail", "input": {"to": "ada"}})
        paused = await client.post(f"{address}/runs/{started.json()['id']}/pause")
        document = (await client.get(f"{address}/api/openapi.json")).json()
        again = await client.get(started.headers["location"])

    assert [link for link in links if not link.startswith(f"{address}/")] == []
    assert set(found) == {200}
    assert settings.headers["location"] == f"{address}/charts"
    assert f"Path={address};" in settings.headers["set-cookie"]
    assert paused.headers["location"] == f"{address}/runs/{started.json()['id']}"
    assert (again.status_code, document["servers"]) == (200, [{"url": address}])


@scenario
async def test_cookies_go_no_way_but_the_private_one_where_pages_are_fetched_by_it(tmp_path: Path) -> None:
    async with app_in(tmp_path) as app, visitor(create_app(app, tokens={})) as client:
        plain, private = [await client.post(f"{scheme}://testserver/-/settings", data={"theme": "dark"}) for scheme in ("http", "https")]

    assert "secure" not in plain.headers["set-cookie"].lower()
    assert "secure" in private.headers["set-cookie"].lower()


@scenario
async def test_what_a_proxy_says_of_the_way_is_believed_by_the_server_alone(tmp_path: Path) -> None:
    told = {
        "x-forwarded-host": "evil.example",
        "x-forwarded-proto": "https",
        "x-forwarded-prefix": "/evil",
        "forwarded": "host=evil.example",
    }
    async with app_in(tmp_path, send_mail) as app, visitor(create_app(app, tokens={})) as client:
        page = await client.get("/api", headers=told)
        posted = await client.post("/-/settings", data={"theme": "dark"}, headers={**told, "origin": "https://evil.example"})

    assert "evil" not in page.text
    assert posted.status_code == 403


@pytest.mark.parametrize("host", HOSTS)
@scenario
async def test_forms_work_below_a_prefix(host: Any, tmp_path: Path) -> None:
    prefix = "/inner/jobs"
    async with app_in(tmp_path, send_mail, odd) as app, visitor(host(create_app(app, tokens={}), prefix)) as client:
        run = await app.start(send_mail, {"to": "ada"})
        answer = await client.post(f"{prefix}/runs/{run.run_id}/pause", headers={"origin": "http://testserver"})
        shown = await client.get(answer.headers["location"])

    assert answer.headers["location"] == f"{prefix}/runs/{run.run_id}"
    assert "paused: a step in progress goes on to its end" in shown.text


@scenario
async def test_the_app_is_opened_with_the_first_request_once_however_many_come(tmp_path: Path) -> None:
    app = app_in(tmp_path, send_mail)
    async with visitor(by_path(create_app(app, tokens={}), "/jobs")) as client:
        before = app.is_open
        answers = await asyncio.gather(*(client.get("/jobs/tasks") for _ in range(5)))
        meanwhile = app.is_open
        await app.close()

    assert [answer.status_code for answer in answers] == [200] * 5
    assert (before, meanwhile, app.is_open) == (False, True, False)


@scenario
async def test_an_app_that_the_host_has_opened_stays_the_hosts_to_close(tmp_path: Path) -> None:
    app = app_in(tmp_path, send_mail)
    async with app, visitor(by_path(create_app(app, tokens={}), "/jobs")) as client:
        assert (await client.get("/jobs/tasks")).status_code == 200

    assert not app.is_open


@scenario
async def test_served_by_itself_it_opens_the_app_when_it_starts_and_closes_it_when_it_is_shut_down(tmp_path: Path) -> None:
    app = app_in(tmp_path, send_mail)
    pages = create_app(app, tokens={})
    async with pages.router.lifespan_context(pages), visitor(pages) as client:
        assert app.is_open
        assert (await client.get("/tasks")).status_code == 200

    assert not app.is_open


@pytest.fixture
def two(tmp_path: Path) -> tuple[Stepwell, Stepwell]:
    """Two apps, each with a database of its own."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    return app_in(tmp_path / "one", send_mail), app_in(tmp_path / "two", odd)


def side_by_side(two: tuple[Stepwell, Stepwell]) -> Starlette:
    one, other = (create_app(app, tokens={}) for app in two)
    return Starlette(routes=[Mount("/one", one), Mount("/two", other)])


@scenario
async def test_two_apps_side_by_side_show_each_its_own(two: tuple[Stepwell, Stepwell]) -> None:
    one, other = two
    async with one, other, visitor(side_by_side(two)) as client:
        run = await one.start(send_mail, {"to": "ada"})
        shown = [(await client.get(f"{prefix}/runs/{run.run_id}")).status_code for prefix in ("/one", "/two")]
        pages = [(await client.get(f"{prefix}/workflows")).text for prefix in ("/one", "/two")]

    assert shown == [200, 404]
    assert "/one/workflows/" not in pages[1]
    assert "/two/" not in pages[0]


@scenario
async def test_what_is_said_and_set_on_one_of_two_apps_is_not_told_on_the_other(two: tuple[Stepwell, Stepwell]) -> None:
    one, other = two
    async with one, other, visitor(side_by_side(two)) as client:
        run = await one.start(send_mail, {"to": "ada"})
        await client.post("/one/-/settings", data={"theme": "dark"})
        await client.post(f"/one/runs/{run.run_id}/pause")
        second, first, again = [await client.get(path) for path in ("/two/tasks", f"/one/runs/{run.run_id}", "/one/tasks")]

    assert 'data-theme="auto"' in second.text
    assert 'data-theme="dark"' in first.text
    said = "paused: a step in progress"
    assert [said in page.text for page in (second, first, again)] == [False, True, False]


@scenario
async def test_browsers_are_told_of_changes_of_the_app_whose_page_they_show(two: tuple[Stepwell, Stepwell]) -> None:
    one, other = two
    first, second = (create_app(app, tokens={}) for app in two)
    async with one, other:
        streams = [pages.state.site.live.events() for pages in (first, second)]
        for stream in streams:
            assert (await anext(stream)).startswith(":")
        told = [asyncio.ensure_future(anext(stream)) for stream in streams]
        while not told[0].done():  # the watcher has to have looked once before it sees a change
            await one.start(send_mail, {"to": "ada"})
            await asyncio.wait(told[:1], timeout=0.1)

        assert "changed" in told[0].result()
        assert not told[1].done()
        second.state.site.live.close()
        await asyncio.wait(told[1:])
        assert isinstance(told[1].exception(), StopAsyncIteration)
        for stream in streams:
            await stream.aclose()


def test_tabs_of_two_apps_have_a_stream_each() -> None:
    script = (files("stepwell.web") / "static/live.js").read_text()

    assert "new BroadcastChannel(`stepwell ${document.body.dataset.events}`)" in script
    assert "navigator.locks.request(`stepwell ${document.body.dataset.events}`" in script
