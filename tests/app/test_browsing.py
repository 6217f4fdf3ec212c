"""Pages of workflows, schedules and steps: from page to page each is there once, whoever knows of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from stepwell import Schedule, Step, Stepwell, Workflow, workflow
from stepwell.core.records import Page
from stepwell.errors import RunNotFound
from tests.engine.harness import scenario

Turn = Callable[[str | None], Awaitable[Page[Any]]]


def flow(name: str, *schedules: str, version: str | None = None) -> Workflow[Any, Any]:
    @workflow(name=name, version=version, schedules=[Schedule(each, "@daily") for each in schedules])
    async def body(step: Step) -> None:
        for number in range(3):
            await step.run("count", _same, number)

    return body


def _same(number: int) -> int:
    return number


async def all_of(turn: Turn, limit: int) -> list[Any]:
    """Page by page."""
    found: list[Any] = []
    cursor = None
    while True:
        page = await turn(cursor)
        assert len(page) <= limit
        found += page
        cursor = page.next_cursor
        if cursor is None:
            return found


def app_on(folder: Path, *flows: Workflow[Any, Any]) -> Stepwell:
    """An app without a worker."""
    return Stepwell(f"sqlite:///{folder / 'app.db'}", workflows=flows, namespace="stepwell", timezone="UTC", retention={})


async def published(folder: Path, *flows: Workflow[Any, Any]) -> None:
    """Have a worker with these come and go."""
    async with app_on(folder, *flows) as app:
        await app.worker(grace="0s").run_until_idle()


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
@scenario
async def test_workflows_of_this_app_and_of_workers_are_on_one_page_each(limit: int, tmp_path: Path) -> None:
    app = app_on(tmp_path, flow("a"), flow("c", version="v2"), flow("e"))
    async with app:
        await published(tmp_path, flow("b"), flow("c", version="v1"), flow("d"))
        await app.workflows.pause("f")
        await app.workflows.pause("c")

        found = await all_of(lambda cursor: app.workflows.page(limit=limit, cursor=cursor), limit)

        assert found == await app.workflows.list()
        assert [(each.name, each.versions, each.paused) for each in found][2:] == [
            ("c", ("v2", "v1"), True), ("d", (None,), False), ("e", (None,), False), ("f", (), True),
        ]  # fmt: skip


@scenario
async def test_workflows_are_found_by_a_part_of_their_names(tmp_path: Path) -> None:
    app = app_on(tmp_path, flow("send_mail"), flow("pay"))
    async with app:
        await published(tmp_path, flow("Mailing"))

        assert [each.name for each in await app.workflows.page(find="MAIL")] == ["Mailing", "send_mail"]
        assert (await app.workflows.page(find="none")).items == ()
        with pytest.raises(ValueError, match="limit"):
            await app.workflows.page(limit=0)


@scenario
async def test_of_a_workflow_it_is_known_what_is_published_and_whether_it_is_paused(tmp_path: Path) -> None:
    app = app_on(tmp_path, flow("pay", version="v3"))
    async with app:
        await published(tmp_path, flow("pay", version="v2"))
        definitions, paused = await app.workflows.about("pay")
        await app.workflows.pause("pay")

        assert ([each.version for each in definitions], paused) == (["v3", "v2"], False)
        assert (await app.workflows.about("pay"))[1]
        assert await app.workflows.about("none") == ([], False)


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 100])
@scenario
async def test_schedules_that_are_declared_or_not_or_not_any_more_are_on_one_page_each(limit: int, tmp_path: Path) -> None:
    app = app_on(tmp_path, flow("a", "new", "noon"), flow("c", "late"))
    async with app:
        await published(tmp_path, flow("a", "noon", "old"), flow("b", "night"))
        await published(tmp_path, flow("a", "noon"), flow("d", "dawn"))

        found = await all_of(lambda cursor: app.schedules.page(ended=True, limit=limit, cursor=cursor), limit)
        standing = await all_of(lambda cursor: app.schedules.page(limit=limit, cursor=cursor), limit)

        assert sorted(found, key=lambda state: (state.workflow, state.name)) == await app.schedules.list(ended=True)
        assert sorted(standing, key=lambda state: (state.workflow, state.name)) == await app.schedules.list()
        assert [state.declared for state in found] == sorted((state.declared for state in found), reverse=True)


@scenario
async def test_schedules_are_found_by_a_part_of_either_name(tmp_path: Path) -> None:
    app = app_on(tmp_path, flow("backup", "hourly"), flow("report", "backup_of_it"), flow("mail", "hourly"))
    async with app:
        found = await app.schedules.page(find="BACK")

    assert [(state.workflow, state.name) for state in found] == [("backup", "hourly"), ("report", "backup_of_it")]


@pytest.mark.parametrize("cursor", ["x", "[]", "[1,2]", '["a","b","c"]', '[true,"a",7]', '[true,"a","\\u0000"]'])
@scenario
async def test_a_cursor_of_schedules_that_no_page_had_is_refused(cursor: str, tmp_path: Path) -> None:
    app = app_on(tmp_path, flow("a", "new"))
    async with app:
        with pytest.raises(ValueError, match="is no cursor"):
            await app.schedules.page(cursor=cursor)


@scenario
async def test_where_no_worker_has_said_which_schedules_a_workflow_has_they_are_those_of_the_app(tmp_path: Path) -> None:
    app = app_on(tmp_path, flow("a", "mine", "mine_too"), flow("b", "mine"))
    async with app:
        await published(tmp_path, flow("b", "theirs"))
        found = await app.schedules.of_workflows(["a", "b", "none"], limit=1)

    assert {name: [state.name for state in states] for name, states in found.items()} == {"a": ["mine"], "b": ["theirs"]}


@scenario
async def test_schedules_that_should_have_fired_are_counted(tmp_path: Path) -> None:
    app = app_on(tmp_path, flow("a", "one", "two"))
    async with app:
        assert await app.schedules.due() == (0, 0)
        await published(tmp_path, flow("a", "one", "two"))
        assert await app.schedules.due() == (2, 0)
        assert await app.schedules.due(timedelta(days=-2)) == (2, 2)


@scenario
async def test_steps_are_read_at_a_glance_or_page_by_page(tmp_path: Path) -> None:
    app = app_on(tmp_path, flow("a"))
    async with app:
        handle = await app.start("a")
        await app.worker(grace="0s").run_until_idle()
        run_id = handle.run_id
        every = await app.runs.steps(run_id)

        assert await all_of(lambda cursor: app.runs.some_steps(run_id, limit=2, cursor=cursor), 2) == every
        assert [step.output for step in every] == [0, 1, 2]
        assert [(step.key, step.output) for step in await app.overview.steps(run_id, 2)] == [("count:1", None), ("count:2", None)]
        assert [step.output for step in await app.runs.some_steps(run_id, step="count:1", attempt=1)] == [1]
        assert await app.overview.steps("01890000-0000-7000-8000-000000000000") == []
        with pytest.raises(RunNotFound):
            await app.runs.some_steps("01890000-0000-7000-8000-000000000000")
        with pytest.raises(ValueError, match="limit"):
            await app.overview.steps(run_id, 0)


@scenario
async def test_what_was_done_to_a_run_is_told_up_to_a_number(tmp_path: Path) -> None:
    app = app_on(tmp_path)
    async with app:
        handle = await app.start("unknown")
        await handle.pause(actor="ada")
        await handle.resume(actor="bob")

        assert [event.actor for event in await app.runs.events(handle.run_id, limit=1)] == ["ada"]
        assert [event.actor for event in await app.runs.events(handle.run_id)] == ["ada", "bob"]
