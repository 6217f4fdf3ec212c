"""What every answer says to browsers, which requests are refused, and whose a request is."""

from __future__ import annotations

import base64
import gzip
import hmac
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from httpx import ASGITransport, AsyncByteStream, AsyncClient, Response
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Mount, Route

from stepwell import DefinitionError, Stepwell
from stepwell.web import Role, User, create_app
from stepwell.web.security import HEADERS, KnownHosts
from stepwell.web.site import MAX_FORM
from tests.engine.harness import scenario
from tests.web.seeing import ADMIN, EVIL, OPERATOR, TOKENS, VIEWER, app_in, odd, send_mail, with_runs

UNKNOWN: Final = "0197aaaa-0000-7000-8000-000000000000"

GIVEN: Final = {
    "run_id": UNKNOWN,
    "action": "pause",
    "name": "send_mail",
    "workflow": "send_mail",
    "worker": "w",
    "queue": "q",
    "hash": "0",
    "rest": "x",
}


def paths_of(method: str) -> list[str]:
    """An address for each route that takes this method. Streams have a test of their own."""
    routes = [route for route in create_app(Stepwell("sqlite://"), tokens={}).routes if isinstance(route, Route)]
    taking = [route for route in routes if method in (route.methods or {"GET", "POST"}) and route.name != "events"]
    return sorted({_filled(route) for route in taking})


def _filled(route: Route) -> str:
    path = route.path
    for name, convertor in route.param_convertors.items():
        path = path.replace(f"{{{name}:{_kind(route, name)}}}", GIVEN[name]).replace(f"{{{name}}}", GIVEN[name])
        assert convertor is not None
    return path


def _kind(route: Route, name: str) -> str:
    return route.path.partition(f"{{{name}:")[2].partition("}")[0]


GETS: Final = paths_of("GET")
POSTS: Final = paths_of("POST")


@asynccontextmanager
async def client_of(
    app: Stepwell, *, prefix: str = "", headers: dict[str, str] | None = None, **options: Any
) -> AsyncIterator[AsyncClient]:
    """Somebody who asks the pages; without tokens and `auth` he may do all."""
    pages = create_app(app, **{"tokens": {}, **options})
    asgi = Starlette(routes=[Mount(prefix, pages)]) if prefix else pages
    transport = ASGITransport(asgi, raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://testserver", headers=headers) as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def basic(name: str, token: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{token}".encode()).decode()}


def lacking(answer: Response) -> set[str]:
    """The headers of every answer that this one has not, or with another value."""
    return {name for name, value in HEADERS.items() if answer.headers.get_list(name) != [value]}


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

    assert (same.status_code, same.content) == (304, b"")
    assert (head.status_code, stream.status_code) == (200, 200)
    assert [lacking(answer) for answer in (page, same, file, head, stream)] == [set()] * 5
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


@scenario
async def test_looking_is_allowed_from_everywhere_for_links_lead_here(tmp_path: Path) -> None:
    async with app_in(tmp_path) as app, client_of(app) as client:
        assert (await client.get("/tasks", headers={"sec-fetch-site": "cross-site"})).status_code == 200


# -- whose a request is


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        (bearer(VIEWER), 200),
        ({"authorization": f"bearer  {VIEWER} "}, 200),
        (basic("ada", VIEWER), 200),
        (basic("", VIEWER), 200),
        (bearer("wrong" * 5), 401),
        (bearer(VIEWER[:-1]), 401),
        (bearer(VIEWER + "v"), 401),
        (bearer(""), 401),
        (bearer("v\xff"), 401),
        (basic(VIEWER, ""), 401),
        ({"authorization": "Basic nonsense"}, 401),
        ({"authorization": "Basic " + base64.b64encode(b"\xff\xfe").decode()}, 401),
        ({"authorization": VIEWER}, 401),
        ({"authorization": f"Digest {VIEWER}"}, 401),
        ({"authorization": "Bearer"}, 401),
    ],
)
@scenario
async def test_a_token_lets_in_and_nothing_like_it_does(headers: dict[str, str], status: int, tmp_path: Path) -> None:
    sent = {name: value.encode("latin-1") for name, value in headers.items()}
    async with app_in(tmp_path) as app, client_of(app, tokens=TOKENS) as client:
        answer = await client.get("/tasks", headers=sent)

    assert answer.status_code == status
    assert ("www-authenticate" in answer.headers) == (status == 401)


@scenario
async def test_a_token_of_a_query_or_a_cookie_lets_nobody_in(tmp_path: Path) -> None:
    async with app_in(tmp_path) as app, client_of(app, tokens=TOKENS) as client:
        assert (await client.get("/tasks", params={"token": ADMIN})).status_code == 401
        assert (await client.get("/tasks", headers={"cookie": f"token={ADMIN}"})).status_code == 401


@pytest.mark.parametrize(
    ("token", "roles"), [(VIEWER, {"viewer"}), (OPERATOR, {"viewer", "operator"}), (ADMIN, {"viewer", "operator", "admin"})]
)
@scenario
async def test_each_token_has_its_role(token: str, roles: set[str], tmp_path: Path) -> None:
    async with with_runs(tmp_path) as app, client_of(app, tokens=TOKENS, headers=bearer(token)) as client:
        answers = {
            "viewer": await client.get("/tasks"),
            "operator": await client.post("/schedules/send_mail/every_morning", data={"action": "pause"}),
            "admin": await client.post("/workflows/send_mail", data={"action": "pause"}),
        }

    assert {role for role, answer in answers.items() if answer.status_code in {200, 303}} == roles
    assert {answer.status_code for role, answer in answers.items() if role not in roles} <= {403}


@pytest.mark.parametrize("given", [VIEWER, ADMIN, "wrong" * 5])
@scenario
async def test_a_token_is_compared_with_all_of_them_in_a_time_that_tells_nothing(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []

    def compare(known: bytes, said: bytes, genuine: Any = hmac.compare_digest) -> bool:
        compared.append(known)
        return bool(genuine(known, said))

    monkeypatch.setattr(hmac, "compare_digest", compare)
    async with app_in(tmp_path) as app, client_of(app, tokens=TOKENS) as client:
        await client.get("/tasks", headers=bearer(given))

    assert compared == [token.encode() for token in TOKENS]


async def _says_operator(_: Request) -> str:
    return "operator"


@pytest.mark.parametrize(
    ("auth", "looks", "acts"),
    [
        (lambda _: "viewer", 200, 403),
        (lambda _: Role.VIEWER, 200, 403),
        (_says_operator, 200, 303),
        (lambda _: User(role=Role.ADMIN, name="ada"), 200, 303),
        (lambda _: User(role="admin"), 200, 303),  # type: ignore[arg-type]  # as people write it
        (lambda _: None, 401, 401),
        (lambda request: request.headers.get("x-role"), 401, 401),
    ],
)
@scenario
async def test_auth_says_whose_a_request_is(auth: Any, looks: int, acts: int, tmp_path: Path) -> None:
    async with with_runs(tmp_path) as app, client_of(app, auth=auth) as client:
        looked = await client.get("/tasks")
        acted = await client.post("/schedules/send_mail/every_morning", data={"action": "pause"})

    assert (looked.status_code, acted.status_code) == (looks, acts)


@pytest.mark.parametrize("said", [True, False, 1, 3, "", "root", "ADMIN", object(), ["admin"], User(role=7)])  # type: ignore[arg-type]
@scenario
async def test_what_auth_says_that_is_no_role_lets_nobody_in(said: object, tmp_path: Path) -> None:
    async with app_in(tmp_path) as app, client_of(app, auth=lambda _: said) as client:
        answer = await client.get("/tasks")

    assert answer.status_code == 500
    assert "Tasks · Stepwell" not in answer.text


@scenario
async def test_auth_may_send_people_to_where_they_sign_in(tmp_path: Path) -> None:
    def auth(_: Request) -> None:
        raise HTTPException(303, headers={"location": "/login"})

    async with app_in(tmp_path) as app, client_of(app, auth=auth) as client:
        answer = await client.get("/tasks")

    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert lacking(answer) == set()


@scenario
async def test_whoever_has_a_token_gets_in_where_auth_knows_nobody(tmp_path: Path) -> None:
    async with app_in(tmp_path) as app, client_of(app, auth=lambda _: None, tokens=TOKENS) as client:
        assert (await client.get("/tasks")).status_code == 401
        assert (await client.get("/tasks", headers=bearer(VIEWER))).status_code == 200


@scenario
async def test_the_name_that_auth_gives_is_kept_with_what_is_done(tmp_path: Path) -> None:
    async with with_runs(tmp_path) as app, client_of(app, auth=lambda _: User(role=Role.OPERATOR, name="ada")) as client:
        (run,) = (await app.runs.list(workflow="nobody_has_it")).items
        await client.post(f"/runs/{run.id}/cancel")
        events = await app.runs.events(run.id)

    assert [(event.action, event.actor) for event in events] == [("cancel", "web:ada")]


@pytest.mark.parametrize("path", POSTS)
@scenario
async def test_where_it_is_read_only_nobody_does_more_than_look(path: str, tmp_path: Path) -> None:
    async with app_in(tmp_path, send_mail, odd) as app, client_of(app, read_only=True, tokens=TOKENS, headers=bearer(ADMIN)) as client:
        answer = await client.post(path)

    assert answer.status_code in ({303} if path == "/-/settings" else {403, 404, 405} if path.startswith(("/api", "/metrics")) else {403})


@scenario
async def test_a_name_that_is_none_of_this_machine_finds_nobody(tmp_path: Path) -> None:
    async with app_in(tmp_path) as app:
        pages = KnownHosts(create_app(app, tokens={}), ("localhost", "127.0.0.1", "[::1]", "MyBox"))
        async with AsyncClient(transport=ASGITransport(pages), base_url="http://localhost") as client:
            for host in ("localhost", "localhost:8265", "LOCALHOST:1", "127.0.0.1:8265", "[::1]:8265", "[::1]", "mybox", "localhost."):
                assert (await client.get("/tasks", headers={"host": host})).status_code == 200, host
            for host in (
                "evil.example",
                "localhost.evil.example",
                "",
                "localhost:8265@evil.example",
                "localhost:x",
                "[::1",
                "127.0.0.1.nip.io",
            ):
                answer = await client.get("/tasks", headers={"host": host})
                assert (answer.status_code, lacking(answer)) == (400, set()), host
            twice = await client.get("/tasks", headers=[("host", "localhost"), ("host", "evil.example")])

    assert twice.status_code == 400


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
        out = await client.post("/admin/-/settings", data={"next": "/administration/logout"})

    assert back.headers["location"] == "/admin/charts?range=24h"
    assert out.headers["location"] == "/admin/tasks"


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


# -- what is hidden


@scenario
async def test_what_has_the_name_of_a_secret_is_shown_nowhere(tmp_path: Path) -> None:
    secret = "hunter2-and-more"
    async with app_in(tmp_path, send_mail, odd) as app, client_of(app) as client:
        handle = await app.start(send_mail, {"to": "ada", "PassWord": secret, "api_token_2": secret})
        paths = [
            "/tasks?from=all",
            f"/runs/{handle.run_id}",
            f"/runs/{handle.run_id}.json",
            f"/api/runs/{handle.run_id}",
            "/api/runs",
            "/api/overview/runs",
        ]
        paths += [
            "/schedules/send_mail/every_morning",
            f"/runs/{handle.run_id}?tab=input",
            f"/runs/{handle.run_id}/rerun",
            "/workflows/send_mail",
        ]
        answers = {path: await client.get(path) for path in paths}

    assert {path: answer.status_code for path, answer in answers.items()} == dict.fromkeys(paths, 200)
    assert [path for path, answer in answers.items() if secret in answer.text or "hunter2" in answer.text] == []


# -- what is refused when it is made


@pytest.mark.parametrize(
    "options",
    [{"redact": "password"}, {"tokens": {"a" * 16: "root"}}, {"tokens": {"a" * 16: True}}, {"tokens": {"a" * 16: 3}}],
)
def test_an_option_that_is_none_is_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError):
        create_app(Stepwell("sqlite://"), **options)


def test_what_is_no_app_cannot_be_shown() -> None:
    with pytest.raises(DefinitionError, match="takes a Stepwell"):
        create_app("sqlite://")  # type: ignore[arg-type]


@scenario
async def test_tokens_are_taken_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPWELL_WEB_TOKENS", f"{VIEWER}=viewer, {ADMIN}=admin")
    async with app_in(tmp_path) as app, AsyncClient(transport=ASGITransport(create_app(app)), base_url="http://test") as client:
        assert (await client.get("/tasks")).status_code == 401
        assert (await client.get("/tasks", headers=bearer(VIEWER))).status_code == 200


@scenario
async def test_no_answer_logs_a_token(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with with_runs(tmp_path) as app, client_of(app, tokens=TOKENS, headers=bearer(ADMIN)) as client:
        await client.get("/tasks")
        await client.post("/workflows/send_mail", data={"action": "pause"})

    assert ADMIN not in caplog.text
