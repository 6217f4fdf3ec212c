"""What `app.workflows` knows of each workflow: from its code, or from what workers have published."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field

from stepwell import InvalidInput, Stepwell, SyncStepwell, WorkflowNotFound, workflow
from tests.engine.harness import scenario


class Letter(BaseModel, strict=True):
    to: str = Field(alias="recipient")
    day: date = date(2026, 1, 31)


@workflow(name="write", version="v9", queue="desk", priority=3, timeout="1m")
async def old(input: Letter) -> None: ...


@workflow(name="write", version="v10")
async def new(input: Letter, version: str) -> None: ...


@workflow
async def greet(input: str = "world") -> None: ...


def app_on(folder: Path, *workflows: Any) -> Stepwell:
    return Stepwell(f"sqlite:///{folder / 'app.db'}", workflows=workflows, namespace="stepwell", timezone="UTC")


@pytest.mark.parametrize("has_code", [True, False])
@scenario
async def test_a_definition_is_that_of_the_version_which_takes_the_run(has_code: bool, tmp_path: Path) -> None:
    app = app_on(tmp_path, old, new, greet)
    async with app, app_on(tmp_path) as other:
        await app.worker(grace="0s").run_until_idle()
        workflows = (app if has_code else other).workflows

        newest, named, taken = [await workflows.definition("write", version) for version in (None, "v9", "v1")]

        assert (newest.version, newest.takes_version) == ("v10", True)
        assert (named.version, named.queue, named.priority, named.timeout) == ("v9", "desk", 3, 60.0)
        assert (taken.version, taken.takes_version) == ("v1", True)
        assert (await workflows.definition("greet")).version is None
        assert [each.version for each in await workflows.definitions("write")] == ["v10", "v9"]
        assert workflows.is_here("write", "v1") is has_code


@scenario
async def test_a_schema_names_fields_as_they_are_stored(tmp_path: Path) -> None:
    async with app_on(tmp_path, new) as app:
        handle = await app.start(new, Letter(recipient="ada"))
        schema = json.loads((await app.workflows.definition("write")).input_schema)

        assert schema["properties"].keys() == (await handle.get()).input.keys() == {"to", "day"}


@scenario
async def test_a_workflow_that_nobody_has_has_no_definition(tmp_path: Path) -> None:
    async with app_on(tmp_path, old, greet) as app:
        for name, version in (("paint", None), ("write", "v1")):
            with pytest.raises(WorkflowNotFound, match=f"no worker has published {name}"):
                await app.workflows.definition(name, version)
        assert await app.workflows.definitions("paint") == []
        assert not app.workflows.is_here("paint")


@scenario
async def test_the_input_of_a_run_is_read_as_a_start_takes_it(tmp_path: Path) -> None:
    async with app_on(tmp_path, old, greet) as app:
        first = await (await app.start(old, Letter(recipient="ada", day=date(2026, 2, 1)))).get()
        typed = app.workflows.read_input("write", "v9", json.dumps(first.input))
        again = await (await app.start("write", typed, version="v9")).get()

        assert again.input == first.input
        assert typed.day == date(2026, 2, 1)
        assert app.workflows.read_input("greet", None, "null") is None
        assert app.workflows.read_input("paint", None, '{"a": 1}') == {"a": 1}
        with pytest.raises(InvalidInput):
            app.workflows.read_input("write", "v9", "{}")
        with pytest.raises(ValueError, match="EOF"):
            app.workflows.read_input("paint", None, "{")


def test_those_without_an_event_loop_ask_the_same(tmp_path: Path) -> None:
    with SyncStepwell(f"sqlite:///{tmp_path / 'app.db'}", workflows=[greet], namespace="stepwell", timezone="UTC") as app:
        assert app.workflows.definition("greet").name == "greet"
        assert app.workflows.is_here("greet")
