"""Whether the database answers, for everyone."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from httpx import ASGITransport, AsyncClient

from stepwell import DatabaseUnavailable, Stepwell
from stepwell.errors import TooSlow
from stepwell.web import create_app
from stepwell.web.health import Health
from tests.loops import on_a_loop
from tests.web.apis import order, problem, served


@on_a_loop
async def test_it_is_well_where_the_database_answers_and_says_so_to_everyone() -> None:
    async with served(tokens={"v" * 16: "viewer"}) as site:
        answer = await site.client.get("/healthz")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@on_a_loop
async def test_it_opens_the_app_for_whoever_asks_first_and_only_once(tmp_path: Path) -> None:
    app = Stepwell(f"sqlite:///{tmp_path / 'a.db'}", workflows=[order], timezone="UTC")
    async with AsyncClient(transport=ASGITransport(app=create_app(app, tokens={})), base_url="http://test") as client:
        answers = await asyncio.gather(*(client.get(path) for path in ("/healthz", "/api/runs", "/metrics", "/healthz")))
        is_open = app.is_open
        await app.close()

    assert [answer.status_code for answer in answers] == [200] * 4
    assert is_open
    assert not app.is_open


@pytest.mark.parametrize("path", ["/api/runs", "/metrics"])
@on_a_loop
async def test_it_is_not_well_where_there_is_no_database_and_programs_are_told_why(tmp_path: Path, path: str) -> None:
    app = Stepwell(f"sqlite:///{tmp_path / 'nowhere' / 'a.db'}", workflows=[order], timezone="UTC")
    async with AsyncClient(transport=ASGITransport(app=create_app(app, tokens={})), base_url="http://test") as client:
        answer = await client.get("/healthz")
        told = problem(await client.get(path), 503)

    assert (answer.status_code, answer.json()) == (503, {"status": "unavailable"})
    assert told["type"] == "urn:stepwell:DatabaseUnavailable"


@on_a_loop
async def test_it_waits_no_longer_than_a_second_for_a_database_that_cannot_be_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE t (x)")
        other.commit()
        other.execute("BEGIN EXCLUSIVE")
        app = Stepwell(f"sqlite:///{path}", workflows=[order], timezone="UTC")
        async with AsyncClient(transport=ASGITransport(app=create_app(app, tokens={})), base_url="http://test") as client:
            loop = asyncio.get_running_loop()
            began = loop.time()
            locked = await client.get("/healthz")
            took = loop.time() - began
            other.rollback()
            async with asyncio.timeout(50):
                while (await client.get("/healthz")).status_code != 200:
                    pass
            await app.close()
    other.close()

    assert locked.status_code == 503
    assert took < 5


class Database:
    """Answers when it is let, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.lets = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> None:
        self.asked += 1
        await self.lets.wait()
        if self.error is not None:
            raise self.error


@on_a_loop
async def test_however_many_want_to_know_the_database_is_asked_once_at_a_time() -> None:
    database = Database()
    health = Health(database)
    wanting = [asyncio.create_task(health.check()) for _ in range(1_000)]
    await asyncio.sleep(0)
    database.lets.set()
    await asyncio.gather(*wanting)

    assert database.asked == 1


@on_a_loop
async def test_a_database_that_has_answered_lately_is_well_though_the_question_waits_behind_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepwell.web.health.PATIENCE", 0.01)
    database = Database()
    health = Health(database)
    with pytest.raises(TimeoutError):
        await health.check()
    database.lets.set()
    await health.check()
    database.lets.clear()

    await health.check()
    monkeypatch.setattr("stepwell.web.health.LATELY", 0.0)
    with pytest.raises(TimeoutError):
        await health.check()
    database.lets.set()


@on_a_loop
async def test_a_database_that_is_away_is_not_well_however_lately_it_has_answered() -> None:
    database = Database()
    database.lets.set()
    health = Health(database)
    await health.check()
    database.error = DatabaseUnavailable("it is away")

    with pytest.raises(DatabaseUnavailable):
        await health.check()
    database.error = TooSlow("it is busy")
    await health.check()
