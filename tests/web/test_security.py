"""What every answer says to browsers, and which requests are refused, whoever has sent them."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Final

import pytest
from httpx import Response
from starlette.requests import Request

from stepwell.web.security import HEADERS
from tests.engine.harness import scenario
from tests.web.guests import GETS, POSTS, basic, bearer, client_of, lacking
from tests.web.seeing import ADMIN, TOKENS, VIEWER, app_in, odd, send_mail, with_runs

# -- headers


def test_the_policy_allows_nothing_from_elsewhere_and_nothing_that_is_written_into_a_page() -> None:
    rules = dict(rule.strip().partition(" ")[::2] for rule in HEADERS["content-security-policy"].split(";"))

    assert rules["default-src"] == rules["frame-ancestors"] == rules["base-uri"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["form-action"] == "'self'"
    assert "unsafe" not in str(rules)
    assert "http" not in str(rules)


def test_there_are_routes_to_look_at() -> None:
    assert {"/", "/tasks", "/workflows", "/schedules", "/workers", "/charts", "/system", "/api", "/api/runs", "/healthz"} <= set(GETS)
    assert {"/tasks", "/-/settings", "/api/runs", "/workers"} <= set(POSTS)


@pytest.mark.parametrize("token", [ADMIN, None], ids=["signed in", "not signed in"])
@pytest.mark.parametrize("path", [*GETS, "/nothing", "/tasks/", "/runs/%00", "/static/0/../../../etc/passwd"])
@scenario
async def test_every_answer_has_the_headers_and_is_kept_by_nobody(path: str, token: str | None, tmp_path: Path) -> None:
    async with app_in(tmp_path, send_mail, odd) as app, client_of(app, tokens=TOKENS, headers=bearer(token) if token else {}) as client:
        answer = await client.get(path)

    assert lacking(answer) == set()
    assert answer.headers["cache-control"] == "no-store"
    assert answer.status_code < 500
    assert token or path == "/healthz" or answer.status_code in {401, 404} or answer.is_redirect


@pytest.mark.parametrize("path", [*POSTS, "/nothing"])
@scenario
async def test_every_refusal_has_the_headers(path: str, tmp_path: Path) -> None:
    async with app_in(tmp_path, send_mail, odd) as app, client_of(app, tokens=TOKENS) as client:
        answers = [
            await client.post(path),
            await client.post(path, headers=bearer(VIEWER)),
            await client.post(path, headers={"sec-fetch-site": "cross-site"}),
        ]

    assert [lacking(answer) for answer in answers] == [set(), set(), set()]
    assert answers[0].status_code == 401
    assert answers[2].status_code == 403


@scenario
async def test_a_page_that_has_not_changed_and_a_file_have_the_headers_too(tmp_path: Path) -> None:
    async with app_in(tmp_path) as app, client_of(app) as client:
        page = await client.get("/tasks")
        same = await client.get("/tasks", headers={"if-none-match": page.headers["etag"]})
        file = await client.get(_file_of(page))
        head = await client.head("/tasks")
        stream = await client.head("/-/events")
    async with app_in(tmp_path) as app, client_of(app, tokens=TOKENS) as stranger:
        refused = await stranger.get("/-/events")

    assert (same.status_code, same.content) == (304, b"")
    assert (head.status_code, stream.status_code, refused.status_code) == (200, 200, 401)
    assert [lacking(answer) for answer in (page, same, file, head, stream, refused)] == [set()] * 6
    assert same.headers["cache-control"] == "no-store"
    assert file.headers["cache-control"] == "public, max-age=31536000, immutable"


def _file_of(page: Response) -> str:
    return page.text.partition('rel="stylesheet" href="')[2].partition('"')[0]


@pytest.mark.parametrize(("path", "kind"), [("/tasks", "text/html; charset=utf-8"), ("/api/runs", "application/problem+json")])
@scenario
async def test_what_nobody_expected_is_told_without_what_it_was(path: str, kind: str, tmp_path: Path) -> None:
    def auth(_: Request) -> str:
        raise ZeroDivisionError("a secret of the inside")

    async with app_in(tmp_path) as app, client_of(app, auth=auth) as client:
        answer = await client.get(path)

    assert answer.status_code == 500
    assert answer.headers["content-type"] == kind
    assert "Something went wrong" in answer.text
    assert "secret" not in answer.text
    assert lacking(answer) == set()


# -- addresses that there are not


@pytest.mark.parametrize("prefix", ["", "/admin/jobs"])
@scenario
async def test_an_address_that_there_is_not_is_a_page_that_leads_on(prefix: str, tmp_path: Path) -> None:
    async with app_in(tmp_path) as app, client_of(app, prefix=prefix) as client:
        answer = await client.get(f"{prefix}/no/such/<b>page</b>")

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert f'href="{prefix}/tasks"' in answer.text
    assert "<b>page" not in answer.text


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "BREW"])
@scenario
async def test_a_method_that_a_page_does_not_take_does_nothing_and_allows_no_other_site(method: str, tmp_path: Path) -> None:
    async with app_in(tmp_path) as app, client_of(app) as client:
        answer = await client.request(method, "/charts")
        foreign = await client.request(method, "/charts", headers={"origin": "https://evil.example"})

    assert (answer.status_code, foreign.status_code) == (405, 405 if method == "OPTIONS" else 403)
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}
    assert not any(name.startswith("access-control") for name in foreign.headers)
    assert not any(name.startswith("access-control") for name in answer.headers)
    assert lacking(answer) == set()


@pytest.mark.parametrize(
    "name",
    [
        "../site.py", "..%2Fsite.py", "%2e%2e/site.py", "....//site.py", "..\\site.py", "/etc/passwd", "%2Fetc%2Fpasswd",
        "vendor/", "vendor", "a%00.css", "vendor/SHA256SUMS",
    ],
)  # fmt: skip
@scenario
async def test_no_file_but_those_that_are_shown_is_served(name: str, tmp_path: Path) -> None:
    async with app_in(tmp_path) as app, client_of(app) as client:
        known = _file_of(await client.get("/tasks"))
        folder = known.rpartition("/")[0]
        paths = (f"{folder}/{name}", f"/static/{name}", f"/static/0/{name}")
        answers = [await client.get(path, follow_redirects=True) for path in paths]
        other_hash = await client.get("/static/000000000000/stepwell.css")

    assert {answer.status_code for answer in [*answers, other_hash]} == {404}


@scenario
async def test_a_file_is_sent_packed_to_those_who_can_unpack_it(tmp_path: Path) -> None:
    async with app_in(tmp_path) as app, client_of(app) as client:
        known = _file_of(await client.get("/tasks"))
        async with client.stream("GET", known, headers={"accept-encoding": "gzip"}) as packed:
            raw = b"".join([part async for part in packed.aiter_raw()])
        plain = await client.get(known, headers={"accept-encoding": "identity"})

    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert [set(answer.headers["vary"].lower().split(", ")) for answer in (packed, plain)] == [{"accept-encoding"}] * 2
    assert gzip.decompress(raw) == plain.content


# -- requests that another site has made a browser send

FOREIGN: Final[tuple[dict[str, str], ...]] = (
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "none"},
    {"sec-fetch-site": "cross-site", "origin": "http://testserver"},
    {"origin": "https://evil.example"},
    {"origin": "http://testserver:8080"},
    {"origin": "http://testserver.evil.example"},
    {"origin": "null"},
    {"origin": "http://testserver@evil.example"},
)

OWN: Final[tuple[dict[str, str], ...]] = (
    {"sec-fetch-site": "same-origin"},
    {"sec-fetch-site": "same-origin", "origin": "http://testserver"},
    {"origin": "http://testserver"},
    {},
)


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
@scenario
async def test_a_request_from_another_site_does_nothing(headers: dict[str, str], tmp_path: Path) -> None:
    async with with_runs(tmp_path) as app, client_of(app) as client:
        page = await client.post("/workflows/send_mail", data={"action": "pause"}, headers=headers)
        api = await client.post("/api/workflows/send_mail/pause", headers=headers)
        by_password = await client.post("/workflows/send_mail", data={"action": "pause"}, headers={**headers, **basic("ada", ADMIN)})
        paused = [state.name for state in await app.workflows.list() if state.paused]

    assert [page.status_code, api.status_code, by_password.status_code] == [403, 403, 403]
    assert paused == []


@pytest.mark.parametrize("headers", [*OWN, *({**each, **bearer(ADMIN)} for each in FOREIGN)], ids=str)
@scenario
async def test_a_request_of_a_page_of_ours_of_a_program_and_of_whoever_has_a_token_is_done(headers: dict[str, str], tmp_path: Path) -> None:
    tokens = TOKENS if "authorization" in headers else {}
    async with with_runs(tmp_path) as app, client_of(app, tokens=tokens) as client:
        answer = await client.post("/workflows/send_mail", data={"action": "pause"}, headers=headers)
        paused = [state.name for state in await app.workflows.list() if state.paused]

    assert answer.status_code == 303
    assert paused == ["send_mail"]


@pytest.mark.parametrize("headers", [bearer("no token of ours"), bearer(""), bearer(ADMIN[:-1])], ids=str)
@scenario
async def test_only_a_token_that_is_known_shows_that_a_request_was_made_on_purpose(headers: dict[str, str], tmp_path: Path) -> None:
    foreign = {"sec-fetch-site": "cross-site", **headers}
    async with with_runs(tmp_path) as app, client_of(app, tokens=TOKENS, auth=lambda _: "admin") as by_cookie, client_of(app) as everybody:
        answers = [
            await client.post(path, headers=foreign)
            for client in (by_cookie, everybody)
            for path in ("/workflows/send_mail", "/api/workflows/send_mail/pause")
        ]
        paused = [state.name for state in await app.workflows.list() if state.paused]

    assert {answer.status_code for answer in answers} == {403}
    assert paused == []


@scenario
async def test_looking_is_allowed_from_everywhere_for_links_lead_here(tmp_path: Path) -> None:
    async with app_in(tmp_path) as app, client_of(app) as client:
        assert (await client.get("/tasks", headers={"sec-fetch-site": "cross-site"})).status_code == 200
