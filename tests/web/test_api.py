"""The verbs of the app, as JSON. What each does is told where the app is tested; here, that it is done, and how it is answered."""

from __future__ import annotations

import contextlib
from typing import Any

import schemathesis
from httpx import ASGITransport, AsyncClient
from starlette.applications import Starlette
from starlette.routing import Mount

from stepwell import RunFailed
from stepwell.web import Role, User
from stepwell.web.api.openapi import document
from stepwell.web.api.operations import OPERATIONS
from tests.loops import on_a_loop
from tests.web.apis import Served, problem, served

SCHEMA = schemathesis.openapi.from_dict(document(OPERATIONS, ""))
EVERY_FIVE = "order[*/5 * * * *]"


@on_a_loop
async def test_a_run_is_started_and_followed() -> None:
    async with served() as site:
        answer = await site.client.post("/api/runs", json={"workflow": "order", "input": {"item": "lamp"}, "tags": ["acme"]})
        run = answer.json()
        before = await site.get(f"/runs/{run['id']}")
        await site.work()
        after = await site.get(f"/runs/{run['id']}")
        steps = (await site.get(f"/runs/{run['id']}/steps"))["steps"]
        logs = await site.get(f"/runs/{run['id']}/logs")

    assert answer.status_code == 201
    assert answer.headers["location"] == f"/api/runs/{run['id']}"
    assert before == {**run, "waiting_for": before["waiting_for"]}
    assert (before["status"], after["status"], after["output"], after["tags"]) == ("pending", "completed", "lamp", ["acme"])
    assert [(step["key"], step["status"], step["output"]) for step in steps] == [("charge", "completed", 1)]
    assert [(line["message"], line["fields"]) for line in logs["logs"]] == [("ordered", {"item": "lamp"})]
    assert after["created_at"].endswith("Z")


@on_a_loop
async def test_a_second_start_with_a_key_gives_the_first_run() -> None:
    async with served() as site:
        first = await site.post("/runs", {"workflow": "order", "input": {"item": "lamp"}, "key": "7"}, status=201)
        second = await site.post("/runs", {"workflow": "order", "input": {"item": "hat"}, "key": "7"})

    assert second["id"] == first["id"]
    assert second["input"]["item"] == "lamp"


@on_a_loop
async def test_many_runs_are_started_in_the_order_of_their_inputs() -> None:
    async with served() as site:
        made = await site.post(
            "/runs/start_many", {"workflow": "order", "inputs": [{"item": "a"}, {"item": "b"}], "queue": "q"}, status=201
        )
        runs = [await site.get(f"/runs/{run_id}") for run_id in made["run_ids"]]

    assert [(run["input"]["item"], run["queue"]) for run in runs] == [("a", "q"), ("b", "q")]


@on_a_loop
async def test_runs_are_listed_by_filters_and_page_by_page() -> None:
    async with served() as site:
        await site.post("/runs/start_many", {"workflow": "order", "inputs": [{"item": str(n), "count": n} for n in range(8)]}, status=201)
        await site.work()
        first = await site.get("/runs?status=completed,failed&limit=5&order=oldest")
        second = await site.get("/runs", params={"status": ["completed", "failed"], "order": "oldest", "cursor": first["next_cursor"]})
        failed = await site.get("/runs?status=failed&created_after=2020-01-01T00:00:00Z")
        none = await site.get("/runs?workflow=other")
        counts = await site.get("/runs/count")

    assert [run["input"]["item"] for run in first["runs"] + second["runs"]] == [str(n) for n in range(8)]
    assert second["next_cursor"] is None
    assert {run["error"]["type"] for run in failed["runs"]} == {"StepFailed"}
    assert set(failed["runs"][0]["error"]) == {"type", "message", "traceback"}
    assert none == {"runs": [], "next_cursor": None}
    assert counts == {"counts": {"completed": 6, "failed": 2}}


@on_a_loop
async def test_a_run_is_paused_resumed_canceled_retried_and_deleted_and_it_is_kept_who_did_it() -> None:
    async with served(tokens={"s3cret" * 3: "admin"}, token="s3cret" * 3) as site:
        run = await site.post("/runs", {"workflow": "order", "input": {"item": "late"}}, status=201)
        statuses = [
            (await site.post(f"/runs/{run['id']}/{action}"))["status"] for action in ("pause", "resume", "cancel", "retry", "cancel")
        ]
        events = (await site.get(f"/runs/{run['id']}/events"))["events"]
        deleted = await site.client.delete(f"/api/runs/{run['id']}")
        gone = await site.client.get(f"/api/runs/{run['id']}")

    assert statuses == ["paused", "pending", "canceled", "pending", "canceled"]
    assert [(event["action"], event["actor"]) for event in events] == [
        (action, "api") for action in ("start", "pause", "resume", "cancel", "retry", "cancel")
    ]
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert gone.status_code == 404


@on_a_loop
async def test_what_somebody_does_is_kept_with_his_name() -> None:
    async with served(auth=lambda _: User(role=Role.OPERATOR, name="ada")) as site:
        run = await site.post("/runs", {"workflow": "order", "input": {"item": "late"}}, status=201)
        await site.post(f"/runs/{run['id']}/pause")
        events = (await site.get(f"/runs/{run['id']}/events"))["events"]

    assert [(event["action"], event["actor"]) for event in events] == [("start", "api:ada"), ("pause", "api:ada")]


@on_a_loop
async def test_a_signal_reaches_the_run_that_waits_for_it() -> None:
    async with served() as site:
        run = await site.post("/runs", {"workflow": "order", "input": {"item": "asked"}}, status=201)
        await site.work()
        await site.post(f"/runs/{run['id']}/signals", {"name": "yes", "payload": {"sure": True}}, status=204)
        await site.work()
        ended = await site.get(f"/runs/{run['id']}")

    assert ended["status"] == "completed"


@on_a_loop
async def test_who_sends_a_signal_is_kept_with_its_name() -> None:
    async with served(auth=lambda _: User(role=Role.OPERATOR, name="ada")) as site:
        run = await site.post("/runs", {"workflow": "order", "input": {"item": "asked"}}, status=201)
        await site.post(f"/runs/{run['id']}/signals", {"name": "yes"}, status=204)
        await site.post("/runs/signal_all", {"name": "no", "workflow": "order"})
        _, *events = (await site.get(f"/runs/{run['id']}/events"))["events"]

    assert [(event["action"], event["signal"], event["actor"]) for event in events] == [
        ("signal", "yes", "api:ada"),
        ("signal", "no", "api:ada"),
    ]


@on_a_loop
async def test_a_fork_goes_on_from_a_step_with_the_input_that_is_given() -> None:
    async with served() as site:
        run = await site.post("/runs", {"workflow": "order", "input": {"item": "lamp", "count": 9}}, status=201)
        await site.work()
        again = await site.post(f"/runs/{run['id']}/fork", {"from_step": "charge", "input": {"item": "lamp", "count": 1}}, status=201)
        same = await site.post(f"/runs/{run['id']}/fork", {"from_step": "charge"}, status=201)
        await site.work()
        statuses = [(await site.get(f"/runs/{each['id']}"))["status"] for each in (run, again, same)]

    assert (again["forked_from"], same["forked_from"]) == (run["id"], run["id"])
    assert statuses == ["failed", "completed", "failed"]


@on_a_loop
async def test_all_runs_that_match_are_acted_on() -> None:
    async with served() as site:
        await site.post("/runs/start_many", {"workflow": "order", "inputs": [{"item": "asked"}] * 3, "tags": ["acme"]}, status=201)
        await site.post("/runs", {"workflow": "order", "input": {"item": "asked"}}, status=201)
        done = [
            (await site.post("/runs/pause_all", {"tags": "acme", "status": "pending"}))["count"],
            (await site.post("/runs/resume_all", {"tags": ["acme"]}))["count"],
            (await site.post("/runs/signal_all", {"everything": True, "name": "yes"}))["count"],
            (await site.post("/runs/cancel_all", {"everything": True}))["count"],
            (await site.post("/runs/retry_all", {"status": ["canceled"], "tags": ["acme"]}))["count"],
            (await site.post("/runs/delete_all", {"everything": True}))["count"],
        ]

    assert done == [3, 3, 4, 4, 3, 1]


@on_a_loop
async def test_logs_are_read_page_by_page() -> None:
    async with served() as site:
        run = await site.post("/runs", {"workflow": "order", "input": {"item": "lamp"}}, status=201)
        await site.work()
        path = f"/runs/{run['id']}/logs"
        pages = [await site.get(f"{path}?limit=1"), await site.get(f"{path}?after=1")]

    assert [(len(page["logs"]), page["next_after"]) for page in pages] == [(1, None), (0, None)]


@on_a_loop
async def test_a_schedule_whose_name_holds_slashes_and_brackets_is_looked_at_and_acted_on() -> None:
    async with served() as site:
        await site.work()
        path = "/schedules/order/order%5B%2A%2F5%20%2A%20%2A%20%2A%20%2A%5D"
        listed = (await site.get("/schedules"))["schedules"]
        state = await site.get(path)
        preview = (await site.get(f"{path}/preview?count=3"))["slots"]
        paused = await site.post(f"{path}/pause")
        resumed = await site.post(f"{path}/resume")
        triggered = await site.post(f"{path}/trigger", status=201)
        filled = await site.post(f"{path}/backfill", {"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T01:00:00+00:00"}, status=201)
        slots = await site.get(f"{path}/slots?limit=2")
        older = await site.get(f"{path}/slots?before={slots['next_before']}")

    assert [each["name"] for each in listed] == [EVERY_FIVE]
    assert (state["expression"], len(preview)) == ("*/5 * * * *", 3)
    assert (paused["paused"], paused["paused_by"], resumed["paused"]) == (True, "api", False)
    assert (triggered["schedule"], triggered["workflow"]) == (EVERY_FIVE, "order")
    assert len(filled["run_ids"]) == 12
    assert [slot["outcome"] for slot in slots["slots"]] == ["backfilled"] * 2
    assert len(older["slots"]) == 11


@on_a_loop
async def test_an_encoded_slash_belongs_to_its_name() -> None:
    async with served() as site:
        found = await site.client.get("/api/schedules/a%2Fb/c%2Fpreview")
        previewed = await site.client.get("/api/schedules/a%2Fb/c/preview")
        not_encoded = await site.client.get("/api/schedules/order/order[*/5 * * * *]")
        spaced = await site.client.post("/api/queues/ä%0A%25/pause")
        queues = await site.get("/queues")

    assert "workflow 'a/b' has no schedule 'c/preview'" in problem(found, 404)["detail"]
    assert "workflow 'a/b' has no schedule 'c'" in problem(previewed, 404)["detail"]
    assert not_encoded.json()["name"] == EVERY_FIVE
    assert spaced.status_code == 204, spaced.text
    assert {"name": "ä\n%", "paused": True} in queues["queues"]


@on_a_loop
async def test_workflows_queues_and_workers_are_listed_and_stopped() -> None:
    async with served() as site, site.app.worker(name="till/1"):
        await site.post("/workflows/order/pause", status=204)
        await site.post("/queues/mail%2Fout/pause", status=204)
        workflows, queues = await site.get("/workflows"), await site.get("/queues")
        await site.post("/workflows/order/resume", status=204)
        await site.post("/queues/mail%2Fout/resume", status=204)
        (worker,) = (await site.get("/workers"))["workers"]
        await site.post("/workers/till%2F1/drain", status=204)

    (order,) = workflows["workflows"]
    assert (order["name"], order["versions"], order["paused"]) == ("order", [None], True)
    assert order["retry"]["max_attempts"] == 1
    assert workflows["next_cursor"] is None
    assert {"name": "mail/out", "paused": True} in queues["queues"]
    assert (worker["name"], worker["lease"]) == ("till/1", 30.0)
    assert "serves" not in worker


@on_a_loop
async def test_what_is_secret_is_hidden_in_inputs_outputs_and_previews() -> None:
    async with served() as site:
        run = await site.post("/runs", {"workflow": "order", "input": {"item": "lamp", "card_token": "9999"}}, status=201)
        texts = [(await site.client.get(f"/api{path}")).text for path in (f"/runs/{run['id']}", "/runs", "/overview/runs", "/schedules")]

    assert run["input"] == {"item": "lamp", "count": 1, "card_token": "•••"}
    assert not any("9999" in text or "4242" in text for text in texts)


@on_a_loop
async def test_numbers_come_out_as_they_were_given() -> None:
    async with served() as site:
        run = await site.post("/runs", {"workflow": "unknown", "input": {"id": 9007199254740993, "share": 0.1}}, status=201)

    assert run["input"] == {"id": 9007199254740993, "share": 0.1}


@on_a_loop
async def test_addresses_are_right_under_a_prefix() -> None:
    async with served() as site:
        host = Starlette(routes=[Mount("/ops/stepwell", site.asgi)])
        async with AsyncClient(transport=ASGITransport(app=host), base_url="http://test") as client:
            started = await client.post("/ops/stepwell/api/runs", json={"workflow": "order", "input": {"item": "lamp"}})
            found = await client.get(started.headers["location"])
            told = (await client.get("/ops/stepwell/api/openapi.json")).json()
            healthy = await client.get("/ops/stepwell/healthz")

    assert found.json()["id"] == started.json()["id"]
    assert told["servers"] == [{"url": "/ops/stepwell"}]
    assert healthy.json() == {"status": "ok"}


@on_a_loop
async def test_every_operation_answers_as_the_document_says_where_it_succeeds() -> None:
    async with served() as site, site.app.worker(name="till"):
        names = {"workflow": "order", "name": "order%5B%2A%2F5%20%2A%20%2A%20%2A%20%2A%5D", "worker": "till"}
        for operation in sorted(OPERATIONS, key=lambda each: each.name == "drain_worker"):
            takes_ended = operation.method != "POST" or operation.name in ("retry_run", "fork_run")
            run_id = await (_ended if takes_ended else _live)(site)
            path = operation.shown_path.format(**names, run_id=run_id)
            body, query = _BODIES.get(operation.name), _QUERIES.get(operation.name)
            answer = await site.client.request(operation.method, f"/api{path}", json=body, params=query)
            assert answer.status_code == operation.status, (operation.name, answer.text)
            SCHEMA[f"/api{operation.shown_path}"][operation.method].validate_response(answer)


@on_a_loop
async def test_what_a_run_leads_to_by_the_document_can_be_done_with_it() -> None:
    told = document(OPERATIONS, "")["paths"]
    starts = [each for path in told.values() for each in path.values() if each["operationId"] in ("start", "fork_run", "trigger_schedule")]
    links = [link for each in starts for link in each["responses"]["201"]["links"].values()]
    known = {operation.name: operation for operation in OPERATIONS}
    async with served() as site:
        for link in links:
            operation = known[link["operationId"]]
            run_id = (await site.post("/runs", {"workflow": "order", "input": {"item": "asked"}}, status=201))["id"]
            path = operation.shown_path.format(
                **{name: run_id for name, where in link["parameters"].items() if where == "$response.body#/id"}
            )
            answer = await site.client.request(operation.method, f"/api{path}", json=_BODIES.get(operation.name))
            SCHEMA[f"/api{operation.shown_path}"][operation.method].validate_response(answer)
            assert answer.status_code in (operation.status, 400, 409), (operation.name, answer.text)

    assert {link["operationId"] for link in links} == {operation.name for operation in OPERATIONS if "{run_id}" in operation.path}


_BODIES: dict[str, Any] = {
    "start": {"workflow": "order", "input": {"item": "lamp"}},
    "start_many": {"workflow": "order", "inputs": [{"item": "lamp"}]},
    "pause_all": {"tags": ["none"]},
    "resume_all": {"tags": ["none"]},
    "cancel_all": {"tags": ["none"]},
    "retry_all": {"tags": ["none"]},
    "delete_all": {"tags": ["none"]},
    "signal_all": {"tags": ["none"], "name": "yes"},
    "fork_run": {"from_step": "charge"},
    "signal_run": {"name": "other"},
    "backfill_schedule": {"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T00:10:00Z"},
}
_DAY: dict[str, Any] = {"since": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z", "intervals": 3}
_QUERIES: dict[str, Any] = {"get_ends": _DAY, "get_waits": _DAY}


async def _ended(site: Served) -> str:
    """A run that has failed."""
    handle = await site.app.start("order", {"item": "lamp", "count": 9})
    with contextlib.suppress(RunFailed):
        await handle.result(50)
    return handle.run_id


async def _live(site: Served) -> str:
    """A run that waits for a signal."""
    return (await site.app.start("order", {"item": "asked"})).run_id
