"""What the API does not do, and how it says so."""

from __future__ import annotations

from typing import Any

import pytest
from httpx import AsyncByteStream

from stepwell.web.api.given import MAX_BODY
from stepwell.web.api.operations import OPERATIONS
from tests.loops import on_a_loop
from tests.web.apis import problem, served

TOKENS = {"v" * 16: "viewer", "o" * 16: "operator", "a" * 16: "admin"}


@on_a_loop
async def test_an_input_that_does_not_fit_is_told_field_by_field() -> None:
    async with served() as site:
        answer = await site.client.post("/api/runs", json={"workflow": "order", "input": {"item": 3, "count": "many"}})
        counts = await site.get("/runs/count")

    told = problem(answer, 422)
    assert told["type"] == "urn:stepwell:InvalidInput"
    assert [error["pointer"] for error in told["errors"]] == ["#/input/item", "#/input/count"]
    assert counts == {"counts": {}}


@on_a_loop
async def test_of_many_inputs_it_is_told_which_one_does_not_fit() -> None:
    async with served() as site:
        answer = await site.client.post("/api/runs/start_many", json={"workflow": "order", "inputs": [{"item": "a"}, {}]})

    told = problem(answer, 422)
    assert "input number 1" in told["detail"]
    assert [error["pointer"] for error in told["errors"]] == ["#/inputs/1/item"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"workflow": "order", "inputs": {}}, "#/inputs"),
        ({}, "#/workflow"),
        ({"workflow": 3}, "#/workflow"),
        ({"workflow": "order", "priority": "1"}, "#/priority"),
        ({"workflow": "order", "at": 1_700_000_000}, "#/at"),
        ({"workflow": "order", "at": "1700000000"}, "#/at"),
        ({"workflow": "order", "at": "2026-01-01T00:00:00"}, "#/at"),
        ({"workflow": "order", "tags": [1]}, "#/tags/0"),
        ([], "#"),
    ],
)
@on_a_loop
async def test_a_body_of_another_form_is_refused_with_the_place(body: object, pointer: str) -> None:
    async with served() as site:
        answer = await site.client.post("/api/runs", json=body)

    assert problem(answer, 422)["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=1.0", "limit"),
        ("limit=1_0", "limit"),
        ("limit=1&limit=2", "limit"),
        ("status=finished", "status"),
        ("created_after=1700000000", "created_after"),
        ("created_after=2026-01-01", "created_after"),
        ("order=best", "order"),
        ("stauts=failed", "stauts"),
    ],
)
@on_a_loop
async def test_a_parameter_of_another_form_is_refused_by_its_name(query: str, parameter: str) -> None:
    async with served() as site:
        answer = await site.client.get(f"/api/runs?{query}")

    assert problem(answer, 422)["errors"][0]["parameter"] == parameter


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "kind"),
    [
        ("GET", "/runs/0197aaaa-0000-7000-8000-000000000000", None, 404, "urn:stepwell:RunNotFound"),
        ("GET", "/runs/no%00body", None, 404, "urn:stepwell:RunNotFound"),
        ("GET", "/runs/%C3%A9/steps", None, 404, "urn:stepwell:RunNotFound"),
        ("DELETE", "/runs/x", None, 404, "urn:stepwell:RunNotFound"),
        ("GET", "/runs?cursor=nonsense", None, 400, "about:blank"),
        ("GET", "/overview/ends?since=0001-01-01T00:00:00%2B23:59&until=2026-01-01T00:00:00Z", None, 400, "about:blank"),
        ("GET", "/overview/ends?since=2026-01-01T00:00:00Z&until=2026-01-01T00:00:00Z", None, 400, "about:blank"),
        ("POST", "/runs/x/pause", None, 404, "urn:stepwell:RunNotFound"),
        ("POST", "/runs", {"workflow": "order", "input": {"item": "a"}, "delay": "5"}, 400, "about:blank"),
        ("POST", "/runs", {"workflow": "", "input": {"item": "a"}}, 400, "urn:stepwell:DefinitionError"),
        ("POST", "/runs/pause_all", {}, 400, "about:blank"),
        ("POST", "/runs/pause_all", {"everything": 1}, 422, "about:blank"),
        ("GET", "/schedules/order/none", None, 404, "urn:stepwell:ScheduleNotFound"),
        ("POST", "/schedules/order/none/trigger", None, 404, "urn:stepwell:ScheduleNotFound"),
        ("POST", "/workers/nobody/drain", None, 404, "urn:stepwell:WorkerNotFound"),
        ("GET", "/nothing", None, 404, "about:blank"),
        ("GET", "/nothing/a%0Ab", None, 404, "about:blank"),
        ("GET", "/", None, 404, "about:blank"),
    ],
)  # fmt: skip
@on_a_loop
async def test_what_makes_no_sense_is_refused(method: str, path: str, body: object, status: int, kind: str) -> None:
    async with served() as site:
        answer = await site.client.request(method, f"/api{path}", json=body)

    assert problem(answer, status)["type"] == kind


@on_a_loop
async def test_what_a_runs_status_does_not_allow_is_a_conflict() -> None:
    async with served() as site:
        run = await site.post("/runs", {"workflow": "order", "input": {"item": "lamp"}}, status=201)
        retried = await site.client.post(f"/api/runs/{run['id']}/retry")
        deleted = await site.client.delete(f"/api/runs/{run['id']}")

    assert problem(retried, 409)["type"] == "urn:stepwell:IllegalTransition"
    assert problem(deleted, 409)["type"] == "urn:stepwell:IllegalTransition"


@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        (b"{", "application/json", 400),
        (b'{"workflow": "\\ud800"}', "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"workflow=order", "application/x-www-form-urlencoded", 415),
        (b"{}", None, 415),
        (b'{"workflow": "order"}', "application/json; charset=utf-8", 422),
    ],
)
@on_a_loop
async def test_what_is_no_json_is_refused(content: bytes, media_type: str | None, status: int) -> None:
    async with served() as site:
        headers = {} if media_type is None else {"content-type": media_type}
        answer = await site.client.post("/api/runs", content=content, headers=headers)

    problem(answer, status)


class _Endless(AsyncByteStream):
    """A body that says nothing of its length."""

    def __init__(self) -> None:
        self.parts = 0

    async def __aiter__(self) -> Any:
        while True:
            self.parts += 1
            yield b" " * 1_000_000


@on_a_loop
async def test_a_body_that_is_too_large_is_not_read_to_its_end() -> None:
    body = _Endless()
    async with served() as site:
        told = await site.client.post("/api/runs", content=b" " * (MAX_BODY + 1), headers={"content-type": "application/json"})
        untold = await site.client.post("/api/runs", content=body, headers={"content-type": "application/json"})

    problem(told, 413)
    problem(untold, 413)
    assert body.parts < 20


@on_a_loop
async def test_an_address_says_which_methods_it_takes() -> None:
    async with served() as site:
        runs, run = await site.client.put("/api/runs"), await site.client.post("/api/runs/x")
        head = await site.client.head("/api/runs")

    problem(runs, 405)
    problem(run, 405)
    assert runs.headers["allow"] == "GET, POST, HEAD"
    assert run.headers["allow"] == "GET, DELETE, HEAD"
    assert head.status_code == 200


@on_a_loop
async def test_operations_without_a_body_take_none() -> None:
    async with served() as site:
        run = await site.post("/runs", {"workflow": "order", "input": {"item": "lamp"}}, status=201)
        empty = await site.client.post(f"/api/runs/{run['id']}/pause", json={})
        other = await site.client.post(f"/api/runs/{run['id']}/pause", json={"actor": "ada"})
        parameter = await site.client.post(f"/api/runs/{run['id']}/pause?actor=ada")

    assert empty.status_code == 200
    assert problem(other, 422)["errors"] == [{"pointer": "#/actor", "detail": "there is no such name"}]
    assert problem(parameter, 422)["errors"] == [{"parameter": "actor", "detail": "there is no such name"}]


@on_a_loop
async def test_whoever_has_no_token_is_asked_for_one() -> None:
    async with served(tokens=TOKENS) as site:
        answers = [
            await site.client.request(operation.method, f"/api{operation.shown_path}", headers=headers)
            for operation in OPERATIONS
            for headers in ({}, {"authorization": "Bearer wrong"})
        ]
        others = [await site.client.get(path) for path in ("/api/openapi.json", "/api/nothing", "/metrics")]

    for answer in answers + others:
        problem(answer, 401)
        assert answer.headers["www-authenticate"] == 'Bearer realm="Stepwell"'


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
@on_a_loop
async def test_an_operation_takes_its_role(operation: Any) -> None:
    async with served(tokens=TOKENS) as site:
        statuses = {}
        for token, role in TOKENS.items():
            path = operation.shown_path.replace("{run_id}", "x").replace("{", "").replace("}", "")
            headers = {"authorization": f"Bearer {token}"}
            statuses[role] = (await site.client.request(operation.method, f"/api{path}", headers=headers)).status_code

    assert {role for role, status in statuses.items() if status != 403} == {
        role for role, rank in (("viewer", 1), ("operator", 2), ("admin", 3)) if rank >= operation.role
    }


def test_each_verb_takes_the_role_that_its_page_takes() -> None:
    for operation in OPERATIONS:
        if operation.method == "GET":
            assert operation.role.word == "viewer"
    assert {operation.name for operation in OPERATIONS if operation.role.word == "admin"} == {
        "delete_all",
        "delete_run",
        "drain_worker",
        "pause_queue",
        "pause_workflow",
        "resume_queue",
        "resume_workflow",
    }


@on_a_loop
async def test_nobody_does_more_than_look_where_it_is_read_only() -> None:
    async with served(read_only=True, tokens=TOKENS, token="a" * 16) as site:
        looked = await site.client.get("/api/runs")
        started = await site.client.post("/api/runs", json={"workflow": "order", "input": {"item": "lamp"}})

    assert looked.status_code == 200
    problem(started, 403)


@on_a_loop
async def test_another_site_cannot_make_a_browser_write() -> None:
    async with served() as site:
        answer = await site.client.post("/api/runs/cancel_all", json={"everything": True}, headers={"sec-fetch-site": "cross-site"})

    assert "another site" in problem(answer, 403)["detail"]


@on_a_loop
async def test_whoever_signs_in_by_a_cookie_has_the_role_that_auth_says() -> None:
    async with served(auth=lambda request: request.cookies.get("role")) as site:
        site.client.cookies["role"] = "viewer"
        looked = await site.client.get("/api/runs")
        refused = await site.client.post("/api/runs", json={"workflow": "order", "input": {"item": "lamp"}})

    assert looked.status_code == 200
    assert "operator" in problem(refused, 403)["detail"]
