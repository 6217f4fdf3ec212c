"""Versions side by side."""

from __future__ import annotations

import pytest

from examples.versions import greeting_1, greeting_2, invoice, main
from stepwell import RunStatus, Stepwell
from tests.engine.harness import scenario


@scenario
async def test_a_run_goes_to_the_function_of_its_version_and_without_one_to_the_newest(url: str) -> None:
    async with Stepwell(url, workflows=[greeting_1, greeting_2]) as app, app.worker():
        for version, greeted in (("1", "Hello Ada"), ("2", "Hi Ada"), (None, "Hi Ada")):
            assert await app.execute("greeting", "Ada", version=version) == greeted


@scenario
async def test_a_run_that_was_started_before_the_change_keeps_its_version(url: str) -> None:
    async with Stepwell(url, workflows=[greeting_1]) as old:
        begun = await old.start("greeting", "Ada")

    async with Stepwell(url, workflows=[greeting_1, greeting_2]) as new, new.worker():
        assert await new.handle(begun.run_id).result() == "Hello Ada"


@scenario
async def test_one_function_takes_the_runs_of_all_versions_that_have_none(url: str) -> None:
    async with Stepwell(url, workflows=[invoice]) as app, app.worker():
        assert await app.execute("invoice", 10_000, version="2024.1") == "100.00 + 7.70 tax"
        assert await app.execute("invoice", 10_000) == "100.00 + 8.10 tax"


@scenario
async def test_a_run_of_a_version_that_nobody_has_waits(url: str) -> None:
    async with Stepwell(url, workflows=[greeting_1, greeting_2]) as app, app.worker():
        waiting = await app.start("greeting", "Ada", version="3")
        await app.execute("greeting", "Ada")
        run = await waiting.get()

    assert (run.status, run.waiting_for) == (RunStatus.PENDING, "no worker has greeting 3")


@scenario
async def test_its_program_shows_all_of_them(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    await main(url)

    assert len(capsys.readouterr().out.splitlines()) == 5
