"""What is told of an error, and what stays in the server's log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from stepwell.errors import BadValue, DatabaseTooNew, DatabaseUnavailable, DefinitionError
from stepwell.testing import TestApp
from stepwell.web.problems import problem_of
from tests.engine.harness import scenario
from tests.web.guests import client_of
from tests.web.seeing import app_in, send_mail

SECRET = "s3cr3t-of-the-inside"


@pytest.mark.parametrize(
    "error", [ValueError(SECRET), TypeError(SECRET), json.JSONDecodeError(SECRET, "{", 0), UnicodeError(SECRET), KeyError(SECRET)]
)
def test_an_error_of_the_program_is_told_without_its_text(error: Exception) -> None:
    problem = problem_of(error)

    assert problem.status == 500
    assert SECRET not in str(problem)


@pytest.mark.parametrize("error", [BadValue("a duration has a unit"), DefinitionError("a name has no line break")])
def test_what_stepwell_says_of_what_was_asked_is_told(error: Exception) -> None:
    assert problem_of(error)[::2] == (400, str(error))


@pytest.mark.parametrize("error", [DatabaseUnavailable(f"postgresql://ada@{SECRET}/db: refused"), DatabaseTooNew(SECRET)])
def test_where_the_database_is_is_logged_and_not_told(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    problem = problem_of(error)

    assert problem.status == 503
    assert SECRET not in str(problem)
    assert SECRET in caplog.text


def test_of_a_page_that_was_only_looked_at_it_is_not_said_that_something_may_have_been_done() -> None:
    away = DatabaseUnavailable("refused")

    assert "may not have been done" in problem_of(away).detail
    assert "done" not in problem_of(away, is_read=True).detail


def test_a_server_that_is_too_old_for_the_database_is_not_told_as_a_database_that_is_away() -> None:
    problem = problem_of(DatabaseTooNew("schema 8"))

    assert "upgraded" in problem.detail
    assert "does not answer" not in problem.detail


class _Broken:
    """A store one verb of which has a bug."""

    def __init__(self, store: Any, verb: str) -> None:
        self._store = store
        self._verb = verb

    def __getattr__(self, verb: str) -> Any:
        return self._fail if verb == self._verb else getattr(self._store, verb)

    async def _fail(self, *_: Any, **__: Any) -> Any:
        raise ValueError(SECRET)


@pytest.mark.parametrize("path", ["/workers", "/system", "/api/workers", "/metrics"])
@scenario
async def test_a_bug_below_a_page_is_no_fault_of_whoever_asks(path: str) -> None:
    app = TestApp(send_mail, self_moving=False)
    async with app:
        app.store = _Broken(app.store, "workers")
        async with client_of(app) as client:
            answer = await client.get(path)

    assert answer.status_code == 500
    assert SECRET not in answer.text
    assert answer.headers["cache-control"] == "no-store"


ODD = (
    "",
    "\0",
    "\ufffd",
    "%",
    "-1",
    "9" * 400,
    "1e999",
    "NaN",
    "..",
    "a" * 3_000,
    "2026-13-01",
    "-9999999999d",
    "9999-12-31T23:59:59-23:59",
    '"',
)


PLACES = (
    ("/tasks", ("status", "workflow", "version", "tag", "queue", "q", "from", "to", "cursor", "size", "view")),
    ("/workflows", ("after", "before", "q", "page")),
    ("/workflows/send_mail", ("after", "before")),
    ("/schedules", ("after", "before", "page")),
    ("/schedules/send_mail/every_morning", ("before",)),
    ("/charts", ("range", "workflow")),
    ("/charts.json", ("range", "workflow")),
    ("/runs/new", ("workflow", "version", "as", "unversioned")),
    ("/runs/{run}", ("step", "attempt", "tab", "line", "from", "to", "filter", "page", "zoom", "view", "find", "group", "until", "since")),
    ("/runs/{run}/rerun", ("from_step", "version", "as")),
    ("/api/runs", ("cursor",)),
    ("/api/runs", ("search", "workflow", "version", "queue", "id_prefix", "tags")),
    ("/api/overview/runs", ("cursor", "search")),
    ("/api/overview/ends", ("since", "until", "intervals")),
    ("/api/overview/waits", ("since", "until", "intervals")),
    ("/api/runs/{run}/logs", ("after", "limit")),
)


@pytest.mark.parametrize(("path", "names"), PLACES)
@scenario
async def test_whatever_an_address_says_no_page_breaks(path: str, names: tuple[str, ...], tmp_path: Path) -> None:
    async with app_in(tmp_path, send_mail) as app, app.worker(grace="0s"):
        run = await app.start(send_mail, {"to": "ada"})
        await run.result()
        async with client_of(app) as client:
            for text in ODD:
                for asked in [names, *((name,) for name in names)]:
                    answer = await client.get(path.format(run=run.run_id), params=dict.fromkeys(asked, text))
                    assert answer.status_code < 500, (asked, text)


FORMS: tuple[tuple[str, dict[str, str], tuple[str, ...]], ...] = (
    ("/tasks", {"action": "cancel"}, ("action", "scope", "run", "next")),
    ("/tasks?q={odd}&from={odd}", {"action": "cancel", "scope": "matching"}, ("next",)),
    ("/runs/{run}/signal", {"name": "go", "payload": "1"}, ("name", "payload", "next")),
    ("/runs/{run}/fork", {}, ("from_step",)),
    ("/runs/{odd}/pause", {}, ("next",)),
    ("/runs/{run}/{odd}", {}, ("next",)),
    ("/schedules/send_mail/every_morning", {"action": "backfill", "start": "2026-01-01", "end": "2026-01-02"}, ("start", "end", "action")),
    ("/schedules/{odd}/{odd}", {"action": "trigger"}, ("next",)),
    ("/workflows/{odd}", {"action": "pause"}, ("action",)),
    ("/workers", {"action": "drain"}, ("worker", "action")),
    ("/workers", {"action": "pause"}, ("queue", "next")),
    ("/-/settings", {}, ("theme", "tz", "keys", "next")),
    ("/runs/new?workflow=send_mail", {"input": "{{}}"}, ("input", "key", "delay", "queue", "priority", "timeout", "tags", "turn")),
    ("/runs/new?workflow={odd}&version={odd}&as=json", {}, ("input", "key", "delay", "turn")),
    ("/runs/{run}/rerun?from_step={odd}", {}, ("input", "priority", "tags", "turn")),
)


@pytest.mark.parametrize(("path", "fields", "names"), FORMS)
@scenario
async def test_whatever_a_form_says_no_page_breaks(path: str, fields: dict[str, str], names: tuple[str, ...], tmp_path: Path) -> None:
    async with app_in(tmp_path, send_mail) as app, app.worker(grace="0s"):
        run = await app.start(send_mail, {"to": "ada"})
        await run.result()
        async with client_of(app) as client:
            for text in ODD:
                for sent in [{}, dict.fromkeys(names, text), *({name: text} for name in names)]:
                    address = path.format(run=run.run_id, odd=quote(text[:1_000], safe="") or "%20")
                    answer = await client.post(address, data={**fields, **sent})
                    assert answer.status_code < 500, (sent, text)
