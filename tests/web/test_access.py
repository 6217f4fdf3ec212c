"""Whose a request is, what he may do, and what nobody is shown."""

from __future__ import annotations

import base64
import hmac
import logging
from pathlib import Path
from typing import Any

import pytest
from httpx import ASGITransport, AsyncClient
from starlette.exceptions import HTTPException
from starlette.requests import Request

from stepwell import DefinitionError, Stepwell
from stepwell.web import Role, User, create_app
from stepwell.web.security import KnownHosts
from tests.engine.harness import scenario
from tests.web.guests import POSTS, basic, bearer, client_of, lacking
from tests.web.seeing import ADMIN, OPERATOR, TOKENS, VIEWER, app_in, odd, send_mail, with_runs


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
    sent = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
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

    assert answer.status_code in (
        {303, 400} if path.startswith("/-/") else {403, 404, 405} if path.startswith(("/api", "/metrics")) else {403}
    )


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
    [
        {"redact": "password"},
        {"tokens": {"a" * 16: "root"}},
        {"tokens": {"a" * 16: True}},
        {"tokens": {"a" * 16: 3}},
        {"tokens": {"": "admin"}},  # a variable that is not set would let everybody in
        {"tokens": {"a" * 15: "viewer"}},
        {"tokens": {None: "viewer"}},
        {"tokens": {"a" * 15 + "ä": "viewer"}},
        {"tokens": {"a" * 15 + " ": "viewer"}},
    ],
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


@pytest.mark.parametrize("name", ["x" * 5_000, "ada\0", "ada\nERROR forged", "\udc80", "\u2028", ""])
@scenario
async def test_whatever_somebody_is_called_what_he_does_is_done_and_kept_on_one_line(name: str, tmp_path: Path) -> None:
    async with app_in(tmp_path, send_mail) as app, client_of(app, auth=lambda _: User(role=Role.ADMIN, name=name)) as client:
        run = await app.start(send_mail, {"to": "ada"})
        page = await client.post(f"/runs/{run.run_id}/pause")
        program = await client.post(f"/api/runs/{run.run_id}/resume")
        actors = [event.actor or "" for event in await run.events()]

    assert (page.status_code, program.status_code) == (303, 200)
    assert [actor[:4] for actor in actors] == ["web:", "api:"]
    assert all(len(actor.splitlines()) == 1 and "\0" not in actor for actor in actors)
