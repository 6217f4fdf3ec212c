"""Who may do what: one rule for each route and method that there is. A route without a rule fails the first test."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest
from httpx import ASGITransport, AsyncClient
from starlette.requests import Request
from starlette.routing import Route

from stepwell import Stepwell
from stepwell.testing import TestApp
from stepwell.web import create_app
from stepwell.web.api.routes import Answering
from stepwell.web.static import StaticFiles
from tests.engine.harness import scenario
from tests.web.guests import GIVEN, bearer, client_of
from tests.web.seeing import ADMIN, OPERATOR, TOKENS, VIEWER, Counting, app_in, send_mail

ANYBODY, NOWHERE = "anybody", "nowhere"

RULES: Final = {
    # pages
    "GET /": "viewer",
    "GET /tasks": "viewer",
    "POST /tasks": "operator",
    "GET /tasks/matching": "operator",
    "GET /runs/new": "operator",
    "POST /runs/new": "operator",
    "GET /runs/{run_id}.json": "viewer",
    "GET /runs/{run_id}": "viewer",
    "GET /runs/{run_id}/rerun": "operator",
    "POST /runs/{run_id}/rerun": "operator",
    "POST /runs/{run_id}/{action}": "operator",
    "GET /workflows": "viewer",
    "GET /workflows/{name}": "viewer",
    "POST /workflows/{name}": "admin",
    "GET /schedules": "viewer",
    "GET /schedules/{workflow}/{name}": "viewer",
    "POST /schedules/{workflow}/{name}": "operator",
    "GET /workers": "viewer",
    "POST /workers": "admin",
    "GET /charts": "viewer",
    "GET /charts.json": "viewer",
    "GET /system": "viewer",
    "GET /-/events": "viewer",
    "POST /-/settings": "viewer",
    "POST /-/views": "viewer",
    # beside them
    "GET /healthz": ANYBODY,
    "GET /metrics": "viewer",
    "GET /static/{hash}/{name}": ANYBODY,
    # the API
    "GET /api": "viewer",
    "GET /api/openapi.json": "viewer",
    "GET /api/runs": "viewer",
    "POST /api/runs": "operator",
    "POST /api/runs/start_many": "operator",
    "GET /api/runs/count": "viewer",
    "POST /api/runs/pause_all": "operator",
    "POST /api/runs/resume_all": "operator",
    "POST /api/runs/cancel_all": "operator",
    "POST /api/runs/retry_all": "operator",
    "POST /api/runs/signal_all": "operator",
    "POST /api/runs/delete_all": "admin",
    "GET /api/runs/{run_id}": "viewer",
    "DELETE /api/runs/{run_id}": "admin",
    "GET /api/runs/{run_id}/steps": "viewer",
    "GET /api/runs/{run_id}/logs": "viewer",
    "GET /api/runs/{run_id}/events": "viewer",
    "POST /api/runs/{run_id}/pause": "operator",
    "POST /api/runs/{run_id}/resume": "operator",
    "POST /api/runs/{run_id}/cancel": "operator",
    "POST /api/runs/{run_id}/retry": "operator",
    "POST /api/runs/{run_id}/fork": "operator",
    "POST /api/runs/{run_id}/signals": "operator",
    "GET /api/schedules": "viewer",
    "GET /api/schedules/{workflow}/{name}/preview": "viewer",
    "GET /api/schedules/{workflow}/{name}/slots": "viewer",
    "POST /api/schedules/{workflow}/{name}/pause": "operator",
    "POST /api/schedules/{workflow}/{name}/resume": "operator",
    "POST /api/schedules/{workflow}/{name}/trigger": "operator",
    "POST /api/schedules/{workflow}/{name}/backfill": "operator",
    "GET /api/schedules/{workflow}/{name}": "viewer",
    "GET /api/workflows": "viewer",
    "POST /api/workflows/{name}/pause": "admin",
    "POST /api/workflows/{name}/resume": "admin",
    "GET /api/queues": "viewer",
    "POST /api/queues/{name}/pause": "admin",
    "POST /api/queues/{name}/resume": "admin",
    "GET /api/workers": "viewer",
    "POST /api/workers/{worker}/drain": "admin",
    "GET /api/overview/runs": "viewer",
    "GET /api/overview/active": "viewer",
    "GET /api/overview/tally": "viewer",
    "GET /api/overview/ends": "viewer",
    "GET /api/overview/speeds": "viewer",
    "GET /api/overview/waits": "viewer",
    "GET /api/overview/live_versions": "viewer",
    "GET /api/overview/backlog": "viewer",
    "GET /api/overview/database": "viewer",
    "GET /api/{rest}": NOWHERE,
}

DEEDS: Final = {
    **{f"POST /tasks action={action}": "operator" for action in ("pause", "resume", "retry", "cancel")},
    **{f"POST /tasks action={action} scope=matching": "operator" for action in ("pause", "resume", "retry", "cancel")},
    "POST /tasks action=stop": "operator",
    "POST /tasks action=export": "operator",
    "POST /tasks action=delete": "admin",
    "POST /tasks action=delete scope=matching": "admin",
    **{f"POST /runs/{{run_id}}/{action}": "operator" for action in ("pause", "resume", "retry", "cancel", "signal", "fork")},
    "POST /runs/{run_id}/delete": "admin",
    **{f"POST /schedules/{{workflow}}/{{name}} action={action}": "operator" for action in ("pause", "resume", "trigger", "backfill")},
    **{f"POST /workflows/{{name}} action={action}": "admin" for action in ("pause", "resume")},
    **{f"POST /workers action={action}": "admin" for action in ("drain", "pause", "resume")},
}
"""What single forms do where a route has several."""

RANKS: Final = {"nobody": 0, "viewer": 1, "operator": 2, "admin": 3}


def routes() -> set[str]:
    """Every route of the application, with each method that it takes."""
    found = set()
    for route in create_app(Stepwell("sqlite://"), tokens={}).routes:
        assert isinstance(route, Route), route
        endpoint = route.endpoint
        methods = (endpoint.methods or {"GET"}) if isinstance(endpoint, Answering) else (route.methods or set()) - {"HEAD"}
        assert methods, route
        path = route.path
        for name in route.param_convertors:
            for kind in (":name", ":names", ":path"):
                path = path.replace(f"{{{name}{kind}}}", f"{{{name}}}")
        found |= {f"{method} {path}" for method in methods}
    return found


def test_there_is_a_rule_for_every_route_and_for_nothing_else() -> None:
    assert routes() == set(RULES)


async def asked(client: AsyncClient, rule: str, headers: dict[str, str]) -> int:
    """The status of the answer to a request that was made by hand."""
    method, path, *fields = rule.split(" ")
    method = "HEAD" if path == "/-/events" else method  # a stream has no end
    form: dict[str, Any] = {"data": dict(field.split("=") for field in fields)} if fields else {}
    for name, value in GIVEN.items():
        path = path.replace(f"{{{name}}}", value)
    path = StaticFiles().path("stepwell.css") if path.startswith("/static/") else path
    return (await client.request(method, path, headers=headers, **form)).status_code


@pytest.mark.parametrize(("rule", "role"), [*RULES.items(), *DEEDS.items()], ids=lambda text: text)
@scenario
async def test_a_request_is_answered_for_those_who_may_and_touches_nothing_for_others(rule: str, role: str) -> None:
    guests = {"nobody": {}, "viewer": bearer(VIEWER), "operator": bearer(OPERATOR), "admin": bearer(ADMIN)}
    async with TestApp(send_mail, self_moving=False) as app:
        counting = Counting(app.store)
        app.store = counting
        async with client_of(app, tokens=TOKENS) as client, client_of(app, tokens=TOKENS, read_only=True) as reader:
            for who, headers in guests.items():
                for site, rank in ((client, RANKS[who]), (reader, min(RANKS[who], RANKS["viewer"]))):
                    counting.asked.clear()
                    status = await asked(site, rule, headers)
                    _check(role, rank, status, counting, who)


def _check(role: str, rank: int, status: int, counting: Counting, who: str) -> None:
    if role == ANYBODY:
        assert status == 200, who
    elif rank == 0:
        assert (status, counting.asked) == (401, {}), who
    elif role == NOWHERE:
        assert (status, counting.asked) == (404, {}), who
    elif rank < RANKS[role]:
        assert (status, counting.asked) == (403, {}), who
    else:
        assert status not in (401, 403), who
        assert status < 500, who


# -- `auth`


@scenario
async def test_an_auth_that_takes_long_holds_up_nobody_else(tmp_path: Any) -> None:
    asked, may_answer = asyncio.Event(), asyncio.Event()

    async def auth(_: Request) -> str:
        asked.set()
        await may_answer.wait()
        return "viewer"

    async with app_in(tmp_path) as app, client_of(app, auth=auth, tokens=TOKENS) as client:
        slow = asyncio.ensure_future(client.get("/tasks"))
        await asked.wait()
        quick = await client.get("/tasks", headers=bearer(VIEWER))
        was_done = slow.done()
        may_answer.set()

        assert (quick.status_code, was_done, (await slow).status_code) == (200, False, 200)


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", 0), ("127.8.9.1", 0), ("::1", 0), ("192.0.2.7", 1), ("2001:db8::7", 1)])
@scenario
async def test_it_is_logged_once_that_somebody_from_elsewhere_was_not_asked_who_he_is(
    host: str, warned: int, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with app_in(tmp_path) as app:
        for options, expected in (({}, warned), ({"auth": lambda _: "viewer"}, 0), ({"tokens": TOKENS}, 0)):
            caplog.clear()
            transport = ASGITransport(create_app(app, **{"tokens": {}, **options}), client=(host, 5))  # type: ignore[arg-type]
            async with AsyncClient(transport=transport, base_url="http://testserver") as client:
                await client.get("/tasks")
                await client.get("/tasks")
            assert caplog.text.count("came in as an admin") == expected


@pytest.mark.parametrize("raised", [ValueError("s3cret"), PermissionError("s3cret"), TimeoutError("s3cret"), KeyError("s3cret")])
@pytest.mark.parametrize("rule", ["GET /tasks", "GET /api/runs", "POST /api/runs", "GET /metrics", "POST /tasks action=pause"])
@scenario
async def test_an_auth_that_breaks_lets_nobody_in_and_says_nothing(rule: str, raised: Exception, tmp_path: Any) -> None:
    def auth(_: Request) -> str:
        raise raised

    async with app_in(tmp_path) as app, client_of(app, auth=auth) as client:
        method, path = rule.split(" ")[:2]
        answer = await client.request(method, path)

    assert answer.status_code == 500
    assert "s3cret" not in answer.text
