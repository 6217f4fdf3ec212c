"""What each address reads of the database: few statements, each of which comes to an end before it has read all there is."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from httpx import AsyncClient
from starlette.routing import Route

from stepwell import RunFailed, Stepwell
from stepwell.errors import TooSlow
from stepwell.web.api.operations import OPERATIONS
from tests.engine.harness import scenario
from tests.web.seeing import Counting, odd, seen, send_mail, text_of

QUERIES: Final = 6
"""At most, of a page."""

PAGES: Final = {
    "home": ("/",),
    "tasks": (
        "/tasks",
        "/tasks?status=failed&from=all",
        "/tasks?workflow=send_mail",
        "/tasks?tag=acme&queue=mail&version=v2",
        "/tasks?q=ada",
    ),
    "matching": ("/tasks/matching?status=failed&action=retry", "/tasks/matching?queue=none&from=all"),
    "new_run": ("/runs/new", "/runs/new?workflow=send_mail", "/runs/new?workflow=unknown"),
    "rerun": ("/runs/{failed}/rerun", "/runs/{waiting}/rerun?from_step=send"),
    "run": (
        "/runs/{failed}",
        "/runs/{failed}?step=send&attempt=1&tab=logs",
        "/runs/{completed}?step=send",
        "/runs/{waiting}?tab=logs",
        "/runs/{waiting}?tab=history",
        "/runs/{waiting}?step=send&show=logs",
        "/runs/{failed}?step=send&tab=logs&show=logs",
        "/runs/{completed}?step=send&show=json",
    ),
    "run_json": ("/runs/{completed}.json", "/runs/{waiting}.json?part=input", "/runs/{completed}.json?step=send&attempt=1"),
    "workflows": ("/workflows", "/workflows?find=mail&after=a"),
    "workflow": ("/workflows/send_mail", "/workflows/nobody_has_it"),
    "schedules": ("/schedules", "/schedules?find=every"),
    "schedule": ("/schedules/send_mail/every_morning",),
    "workers": ("/workers",),
    "charts": ("/charts", "/charts?range=30d&workflow=send_mail"),
    "charts_json": ("/charts.json",),
    "system": ("/system",),
    "api": ("/api",),
    "openapi": ("/api/openapi.json",),
    "health": ("/healthz",),
    "metrics": ("/metrics",),
}
"""Addresses of each route, by its name."""

NOT_READ: Final = {"static", "events"}
"""A file, and a stream that never ends: what it looks at is `pulse`."""

BETWEEN: Final = "since=2026-01-01T00:00:00Z&until=2026-01-02T00:00:00Z"
API: Final = {
    "list_runs": "?workflow=send_mail&limit=5",
    "count_runs": "?workflow=send_mail",
    "summarize_runs": "?search=ada&status=failed",
    "get_ends": f"?{BETWEEN}&workflow=send_mail",
    "get_waits": f"?{BETWEEN}",
    "get_steps": "?step=send&limit=5",
    "list_workflows": "?find=mail",
    "list_schedules": "?ended=true&find=every",
}

BY_KEY: Final = {
    "one run": r"WHERE r?\.?id = '",
    "the runs of a page": r"FROM json_each\('\[\"0[^)]*\]'\) x\s+CROSS JOIN stepwell_runs r ON r\.id = x\.value",
    "one schedule": r"FROM stepwell_schedules\s+WHERE \('send_mail' IS NULL OR workflow = 'send_mail'\) AND \('every_morning' IS NULL",
    "whether a run is there": r"^SELECT 1\s+FROM stepwell_runs\s+WHERE id = '",
    "the database itself": r"FROM pragma_(page_count|data_version)",
}
WITHIN_TWO_SECONDS: Final = {
    "ends of a time, counted by an index": r"WHERE status IN \('completed', 'failed', 'canceled'\) AND finished_at IS NOT NULL AND",
}
ON_REQUEST: Final = {"every run, which `/api/runs/count` is for": r"^SELECT r\.status, count\(\*\)\s+FROM stepwell_runs r\s+WHERE true"}


class Statements:
    """What SQLite is asked."""

    def __init__(self, app: Stepwell) -> None:
        self.asked: list[str] = []
        store: Any = app._home._store
        store.connection.set_trace_callback(self._note)

    def _note(self, statement: str) -> None:
        text = re.sub(r"^(\s*--.*\n)*", "", statement)
        if not text.startswith(("BEGIN", "COMMIT", "ROLLBACK", "PRAGMA", "--")):
            self.asked.append(text)


@asynccontextmanager
async def with_runs() -> AsyncIterator[tuple[Stepwell, dict[str, str]]]:
    """An app with a run that has completed, one that has failed, and one that waits; a worker has just left."""
    app = Stepwell("sqlite://", workflows=[send_mail, odd], namespace="stepwell", timezone="UTC", retention={})
    async with app:
        async with app.worker(name="early", grace="0s"):
            completed = await app.start(send_mail, {"to": "ada"}, tags=["acme"])
            failed = await app.start(send_mail, {"to": "nobody"})
            await completed.result()
            with pytest.raises(RunFailed):
                await failed.result()
            await app.schedules.trigger("send_mail", "every_morning", actor="ada")
        waiting = await app.start("nobody_has_it", tags=["acme"])
        yield app, {"completed": completed.run_id, "failed": failed.run_id, "waiting": waiting.run_id}


def bounded(statement: str) -> bool:
    """Whether it reads as much as it is told to, and no more."""
    limits = [int(limit) for limit in re.findall(r"LIMIT (\d+)", statement)]
    return bool(limits) and max(limits) <= 100_000


def unbounded(statements: list[str], *reasons: dict[str, str]) -> list[str]:
    """Those that have no limit, nor any of these reasons to have none."""
    patterns = [pattern for some in (BY_KEY, WITHIN_TWO_SECONDS, *reasons) for pattern in some.values()]
    return [each for each in statements if not bounded(each) and not any(re.search(pattern, each) for pattern in patterns)]


@scenario
async def test_each_address_that_shows_something_is_looked_at_here() -> None:
    async with with_runs() as (app, _), seen(app) as client:
        routes = client._transport.app.router.routes  # type: ignore[attr-defined]

    named = {route.name for route in routes if isinstance(route, Route) and "GET" in (route.methods or {"GET"})}
    assert named - NOT_READ - {"Answering"} == set(PAGES)  # which the operations of the API are called


@pytest.mark.parametrize("path", [path for paths in PAGES.values() for path in paths])
@scenario
async def test_a_page_executes_few_statements_and_none_without_an_end(path: str) -> None:
    async with with_runs() as (app, runs), seen(app) as client:
        statements = Statements(app)
        answer = await client.get(path.format(**runs))

    assert answer.status_code in (200, 307)
    assert len(statements.asked) <= QUERIES, statements.asked
    assert unbounded(statements.asked) == []


@pytest.mark.parametrize("operation", [each for each in OPERATIONS if each.method == "GET"], ids=lambda each: str(each.name))
@scenario
async def test_an_operation_that_reads_executes_no_statement_without_an_end(operation: Any) -> None:
    names = {"workflow": "send_mail", "name": "every_morning"}
    async with with_runs() as (app, runs), seen(app) as client:
        path = operation.path.replace(":path}", "}").format(run_id=runs["completed"], **names)
        statements = Statements(app)
        answer = await client.get(f"/api{path}{API.get(operation.name, '')}")

    assert answer.status_code == 200, answer.text
    assert len(statements.asked) <= QUERIES, statements.asked
    assert unbounded(statements.asked, ON_REQUEST) == []


# -- what takes too long


class Slow:
    """A store one of whose verbs takes too long."""

    def __init__(self, store: Any, verb: str) -> None:
        self._store = store
        self._verb = verb

    def __getattr__(self, verb: str) -> Any:
        return self._refuse if verb == self._verb else getattr(self._store, verb)

    async def _refuse(self, *_: object, **__: object) -> None:
        raise TooSlow("the database has not answered soon enough")


SLOW: Final = (
    ("/tasks?queue=none&from=all", "summaries", "Too slow"),
    ("/tasks", "ends", "too many to count"),
    ("/runs/{completed}", "trace", "take too long to find"),
    ("/workflows", "live_versions", "took too long"),
    ("/workflows", "speeds", "took too long"),
    ("/workflows", "ends_by_workflow", "took too long"),
    ("/workflows/send_mail", "summaries", "take too long to find"),
    ("/workflows/send_mail", "ends", "too many to count"),
    ("/workers", "backlog", "too"),
    ("/charts", "ends", "too"),
    ("/charts", "speeds", "too"),
    ("/charts", "backlog", "too"),
    ("/system", "backlog", "too long to count"),
)


@pytest.mark.parametrize(("path", "verb", "said"), SLOW)
@scenario
async def test_a_page_leaves_out_what_takes_too_long_and_says_so(path: str, verb: str, said: str) -> None:
    async with with_runs() as (app, runs):
        home: Any = app._home
        home._store = Slow(home._store, verb)
        async with seen(app) as client:
            assert said in text_of(await client.get(path.format(**runs)))


async def _asked(client: AsyncClient, counting: Counting, path: str) -> int:
    before = counting.asked.total()
    assert (await client.get(path)).status_code == 200
    return counting.asked.total() - before


@scenario
async def test_figures_that_were_just_counted_are_not_counted_again() -> None:
    async with with_runs() as (app, _):
        home: Any = app._home
        home._store = counting = Counting(home._store)
        async with seen(app) as client:
            cold, warm = [[await _asked(client, counting, path) for path in ("/tasks", "/workflows", "/workflows/send_mail")] for _ in "ab"]

    assert max(cold) <= QUERIES
    assert all(again < first for again, first in zip(warm, cold, strict=True))
