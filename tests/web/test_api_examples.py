"""What docs/http_api.md shows and says is so: its commands are given to the API, word by word."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from httpx import AsyncClient, Response
from pydantic import BaseModel

from stepwell import Retry, RunFailed, Step, Stepwell, workflow
from stepwell.web.problems import EXPECTED, problem_of
from tests.engine.harness import scenario
from tests.web.apis import problem
from tests.web.guests import bearer, client_of
from tests.web.seeing import ADMIN, TOKENS, app_in

DOCUMENT: Final = (Path(__file__).parents[2] / "docs" / "http_api.md").read_text()
BLOCKS: Final = re.findall(r"```(\w*)\n(.*?)```", DOCUMENT, re.DOTALL)
COMMANDS: Final = [line for kind, block in BLOCKS if not kind for line in block.splitlines()]
GIVEN_ID: Final = "0197eb4f-0000-7000-8000-0000000000d"


class Welcome(BaseModel):
    email: str


@workflow(name="send_welcome_email", retry=Retry.never())
async def send_welcome_email(input: Welcome, step: Step) -> str:
    def send() -> str:
        if input.email.startswith("nobody"):
            raise ValueError("there is no such address")
        return input.email

    return await step.run("send", send)


@asynccontextmanager
async def documented(folder: Path) -> AsyncIterator[tuple[AsyncClient, dict[str, str]]]:
    """An API, and the runs whose ids are shown: they have failed."""
    async with app_in(folder, send_welcome_email) as app, client_of(app, tokens=TOKENS, headers=bearer(ADMIN)) as client:
        ids = {f"{GIVEN_ID}{number}": await _failed(app) for number in (1, 2, 3)}
        yield client, ids


async def _failed(app: Stepwell) -> str:
    async with app.worker(grace="0s"):
        handle = await app.start(send_welcome_email, Welcome(email="nobody@example.com"))
        with pytest.raises(RunFailed):
            await handle.result()
    return handle.run_id


async def curl(client: AsyncClient, command: str, ids: dict[str, str]) -> Response:
    """Do what curl does with these arguments."""
    program, *rest = shlex.split(command)
    assert program == "curl"
    method, body, headers, url = None, None, {}, ""
    while rest:
        match rest.pop(0):
            case "--json":
                body, headers["content-type"] = rest.pop(0), "application/json"
            case "-X":
                method = rest.pop(0)
            case "-H":
                name, _, value = rest.pop(0).replace("$TOKEN", ADMIN).partition(": ")
                headers[name] = value
            case url:
                for shown, real in ids.items():
                    url = url.replace(shown, real)
    return await client.request(method or ("GET" if body is None else "POST"), url, content=body, headers=headers)


def test_there_are_commands_to_try() -> None:
    assert len(COMMANDS) == 8


@scenario
async def test_every_command_that_is_shown_is_done(tmp_path: Path) -> None:
    async with documented(tmp_path) as (client, ids):
        answers = [await curl(client, command, ids) for command in COMMANDS[:-1]]

    assert [answer.status_code for answer in answers] == [201, 200, 200, 200, 204, 204, 200]
    assert [run["status"] for run in answers[2].json()["runs"]] == ["failed"] * 3
    assert answers[3].json()["status"] == "pending"
    assert answers[6].json() == {"count": 1}


@scenario
async def test_the_refusal_that_is_shown_is_the_one_that_comes(tmp_path: Path) -> None:
    (shown,) = [json.loads(block) for kind, block in BLOCKS if kind == "json"]
    async with documented(tmp_path) as (client, ids):
        told = problem(await curl(client, COMMANDS[-1], ids), 422)

    assert told == shown


def test_every_status_of_a_refusal_is_named() -> None:
    named = {int(status) for row in re.findall(r"^\| ([\d, ]+) \|", DOCUMENT, re.MULTILINE) for status in row.split(", ")}
    of_errors = {problem_of(kind.__new__(kind)).status for kind in EXPECTED if kind is not ValueError}

    assert named == of_errors | {403, 405, 415, 500}


# -- what it says of requests and answers


@scenario
async def test_a_start_with_a_key_is_done_once_however_often_it_is_asked_for(tmp_path: Path) -> None:
    async with documented(tmp_path) as (client, ids):
        first, second = [await curl(client, COMMANDS[0], ids) for _ in range(2)]
        where = await client.get(second.headers["location"])

    assert (first.status_code, second.status_code) == (201, 200)
    assert first.headers["location"] == second.headers["location"]
    assert where.json()["id"] == first.json()["id"]


@scenario
async def test_no_answer_lets_another_origin_in(tmp_path: Path) -> None:
    origin = {"origin": "https://evil.example"}
    asked = {**origin, "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    async with documented(tmp_path) as (client, _):
        answers = [
            await client.options("/api/runs", headers=asked),
            await client.get("/api/runs", headers=origin),
            await client.post("/api/runs/pause_all", json={"everything": True}, headers=origin),
        ]
        del client.headers["authorization"]
        refused = await client.post("/api/runs/pause_all", json={"everything": True}, headers=origin)

    assert [answer.status_code for answer in [*answers, refused]] == [405, 200, 200, 403]
    assert not [name for answer in [*answers, refused] for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8"])
@scenario
async def test_a_body_may_say_in_which_signs_it_is_written(kind: str, tmp_path: Path) -> None:
    async with documented(tmp_path) as (client, _):
        body = '{"workflow": "a", "workflow": "nobody has it: ünï", "input": 1, "input": 2}'.encode()
        run = (await client.post("/api/runs", content=body, headers={"content-type": kind})).json()

    assert (run["workflow"], run["input"]) == ("nobody has it: ünï", 2)


@pytest.mark.parametrize(("digits", "status"), [(4_300, 201), (4_301, 400)])
@scenario
async def test_whole_numbers_have_as_many_digits_as_they_were_given(digits: int, status: int, tmp_path: Path) -> None:
    text = f'{{"workflow": "unknown", "input": {"9" * digits}}}'
    async with documented(tmp_path) as (client, _):
        answer = await client.post("/api/runs", content=text, headers={"content-type": "application/json"})

    assert answer.status_code == status
    assert status != 201 or "9" * digits in answer.text


@scenario
async def test_filters_that_are_empty_match_what_is_empty(tmp_path: Path) -> None:
    async with documented(tmp_path) as (client, _):
        await client.post("/api/runs", json={"workflow": "send_welcome_email", "version": "v9", "input": {"email": "a"}})
        found: dict[str, Any] = {
            query: len((await client.get(f"/api/runs?{query}")).json()["runs"])
            for query in ("version=", "workflow=", "queue=", "tags=", "search=", "id_prefix=", "")
        }
        refused = [
            problem(await client.get(f"/api/runs?{query}"), 422)["errors"][0]["parameter"] for query in ("status=", "limit=", "order=")
        ]
        deleted = await client.post("/api/runs/delete_all", json={"workflow": ""})
        bodies: list[dict[str, Any]] = [{"search": ""}, {"tags": []}, {"id_prefix": ""}]
        everything = [await client.post("/api/runs/delete_all", json=body) for body in bodies]

    assert found == {"version=": 3, "workflow=": 0, "queue=": 0, "tags=": 0, "search=": 4, "id_prefix=": 4, "": 4}
    assert refused == ["status", "limit", "order"]
    assert deleted.json() == {"count": 0}
    assert [answer.status_code for answer in everything] == [400, 400, 400]


@scenario
async def test_no_address_ends_with_a_slash_and_head_is_answered_as_get_is(tmp_path: Path) -> None:
    async with documented(tmp_path) as (client, ids):
        run_id = ids[f"{GIVEN_ID}1"]
        slashes = [await client.get(path) for path in ("/api/runs/", f"/api/runs/{run_id}/", "/api/")]
        posted = await client.post("/api/runs/", json={"workflow": "a"})
        head, get = [await client.request(method, f"/api/runs/{run_id}") for method in ("HEAD", "GET")]

    assert [problem(answer, 404)["type"] for answer in [*slashes, posted]] == ["about:blank"] * 4
    assert (head.status_code, head.headers["content-type"]) == (200, get.headers["content-type"])
    assert (get.headers["cache-control"], "etag" in get.headers) == ("no-store", False)


CURSORS: Final = (
    "",
    ":",
    "n:",
    "p:",
    "x:1",
    "n:\0",
    "n:" + "9" * 900,
    "N:1",
    "n:1:2",
    "%6e:1",
    "n:'; --",
    "n:~",
    "n:\N{SNOWMAN}",
    '{"n": 1}',
)


@pytest.mark.parametrize("cursor", CURSORS)
@pytest.mark.parametrize("path", ["/api/runs", "/api/overview/runs"])
@scenario
async def test_a_cursor_that_was_tampered_with_is_refused_or_a_place_like_any_other(path: str, cursor: str, tmp_path: Path) -> None:
    async with documented(tmp_path) as (client, _):
        answer = await client.get(path, params={"cursor": cursor})

    if answer.status_code != 200:
        assert "cursor" in problem(answer, 400)["detail"]
