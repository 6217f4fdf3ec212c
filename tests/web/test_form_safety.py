"""Where forms lead, how large they are, and what browsers are given to remember."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from httpx import AsyncByteStream

from stepwell.web import create_app
from stepwell.web.site import MAX_FORM
from tests.engine.harness import scenario
from tests.web.guests import client_of
from tests.web.seeing import EVIL, app_in, with_runs

# -- forms, and where they lead


@pytest.mark.parametrize("prefix", ["", "/admin"])
@pytest.mark.parametrize(
    "to",
    [
        "https://evil.example/", "//evil.example/", "/\\evil.example/", "\\\\evil.example", "/\t/evil.example/", "/\n/evil.example",
        "javascript:alert(1)", "evil.example", " /tasks", "", "http:/tasks", "/%0d%0aset-cookie:x=1\r\nset-cookie: x=1",
    ],
)  # fmt: skip
@scenario
async def test_no_form_leads_to_another_site(to: str, prefix: str, tmp_path: Path) -> None:
    async with app_in(tmp_path) as app, client_of(app, prefix=prefix) as client:
        answer = await client.post(f"{prefix}/-/settings", data={"theme": "dark", "next": to})

    assert answer.status_code == 303
    assert answer.headers["location"] == f"{prefix}/tasks"


@scenario
async def test_a_form_leads_back_to_its_page_but_to_no_other_application(tmp_path: Path) -> None:
    async with app_in(tmp_path) as app, client_of(app, prefix="/admin") as client:
        back = await client.post("/admin/-/settings", data={"next": "/admin/charts?range=24h"})
        others = ("/administration/logout", "/admin/../logout", "/admin/%2e%2E/logout", "/admin/a/..\\..\\..\\logout", "/admin/..")
        out = [await client.post("/admin/-/settings", data={"next": to}) for to in others]

    assert back.headers["location"] == "/admin/charts?range=24h"
    assert [answer.headers["location"] for answer in out] == ["/admin/tasks"] * len(others)


class _Endless(AsyncByteStream):
    """A body that says nothing of its length."""

    def __init__(self) -> None:
        self.parts = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            self.parts += 1
            yield b"a" * 1_000_000


@scenario
async def test_a_form_that_is_too_large_is_not_read_to_its_end(tmp_path: Path) -> None:
    body = _Endless()
    async with app_in(tmp_path) as app, client_of(app) as client:
        told = await client.post("/-/settings", content=b"a" * (MAX_FORM + 1))
        untold = await client.post("/-/settings", content=body)

    assert (told.status_code, untold.status_code) == (413, 413)
    assert body.parts < 20


@scenario
async def test_a_form_whose_sender_has_gone_is_no_fault_of_the_program(tmp_path: Path) -> None:
    sent: list[Any] = []

    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/-/settings", "query_string": b"", "headers": [(b"host", b"testserver")],
        "server": ("testserver", 80), "scheme": "http",
    }  # fmt: skip
    async with app_in(tmp_path) as app:
        await create_app(app, tokens={})(scope, gone, send)

    assert sent[0]["status"] == 400


@pytest.mark.parametrize("content", [b"\xff=\xff", b"&a=1" * 20_001])
@scenario
async def test_a_form_that_cannot_be_read_is_refused(content: bytes, tmp_path: Path) -> None:
    async with app_in(tmp_path) as app, client_of(app) as client:
        assert (await client.post("/-/settings", content=content)).status_code == 400


# -- cookies


@pytest.mark.parametrize(("prefix", "path"), [("", "/"), ("/admin/jobs", "/admin/jobs")])
@scenario
async def test_cookies_go_to_this_application_alone_and_with_no_request_of_another_site(prefix: str, path: str, tmp_path: Path) -> None:
    async with with_runs(tmp_path) as app, client_of(app, prefix=prefix) as client:
        settings = await client.post(f"{prefix}/-/settings", data={"theme": "dark", "tz": "Asia/Seoul", "keys": "off"})
        acted = await client.post(f"{prefix}/workflows/send_mail", data={"action": "pause"})

    cookies = settings.headers.get_list("set-cookie") + acted.headers.get_list("set-cookie")
    assert {cookie.partition("=")[0] for cookie in cookies} == {"stepwell_theme", "stepwell_tz", "stepwell_keys", "stepwell_said"}
    for cookie in cookies:
        attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert {f"path={path}", "samesite=strict"} <= attributes
    assert "httponly" in cookies[-1].lower()


@pytest.mark.parametrize("fields", [{"theme": "x;path=/"}, {"tz": "../../etc/passwd"}, {"keys": EVIL}, {"tz": ""}])
@scenario
async def test_a_setting_that_there_is_not_is_not_remembered(fields: dict[str, str], tmp_path: Path) -> None:
    async with app_in(tmp_path) as app, client_of(app) as client:
        assert "set-cookie" not in (await client.post("/-/settings", data=fields)).headers


@scenario
async def test_cookies_that_somebody_else_has_made_are_text_or_nothing(tmp_path: Path) -> None:
    cookies = "stepwell_theme=x%22onload; stepwell_tz=../../etc/passwd; stepwell_said=%3Cscript%3Ealert(1)%3C/script%3E; stepwell_keys=<b>"
    async with app_in(tmp_path) as app, client_of(app) as client:
        answer = await client.get("/tasks", headers={"cookie": cookies})

    assert answer.status_code == 200
    assert 'data-theme="auto"' in answer.text
    assert EVIL not in answer.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in answer.text
