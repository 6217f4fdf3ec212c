"""Code that no longer fits what a run has recorded is found before anything is done twice."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from stepwell import ContinueAsNew, RunStatus, Step, SyncStep, workflow
from stepwell.testing import TestApp
from tests.engine.harness import Counter, crash, scenario, settled, successor

work = Counter()


async def _charge(step: Step) -> Any:
    return await step.run("charge", work.step, "charge")


async def _old(step: Step) -> list[Any]:
    done = [await step.run("load", work.step, "load"), await _charge(step)]
    await step.sleep("a while", "1 day")
    return [*done, await step.run("send", work.step, "send")]


async def _renamed(step: Step) -> list[Any]:
    done = [await step.run("load", work.step, "load"), await step.run("charge_card", work.step, "charge card")]
    await step.sleep("a while", "1 day")
    return done


async def _inserted(step: Step) -> list[Any]:
    await step.run("check", work.step, "check")
    return await _old(step)


async def _removed(step: Step) -> list[Any]:
    done = [await step.run("load", work.step, "load")]
    await step.sleep("a while", "1 day")
    return done


async def _ends_early(step: Step) -> list[Any]:
    return [await step.run("load", work.step, "load")]


async def _goes_on_as_new(step: Step) -> list[Any]:
    raise ContinueAsNew


async def _waits_for_nothing(step: Step) -> list[Any]:
    await step.run("load", work.step, "load")
    await asyncio.Event().wait()
    return []


async def _other_kind(step: Step) -> list[Any]:
    await step.run("load", work.step, "load")
    await step.sleep("charge", "1h")
    return []


async def _other_type(step: Step) -> list[Any]:
    async def load() -> int:
        return 1

    await step.run("load", load)
    return await _old(step)


CHANGES = {
    _renamed: ("step 'charge' is recorded, and the code does not ask for it", "step 'charge_card'"),
    _inserted: ("step 'load' is recorded, and the code does not ask for it", "step 'check'"),
    _removed: ("step 'charge' is recorded, and the code does not ask for it", "sleep 'a while'"),
    _ends_early: ("step 'charge' is recorded, and the code returns without asking for it", ""),
    _goes_on_as_new: ("step 'load' is recorded, and the code returns without asking for it", ""),
    _waits_for_nothing: ("step 'charge' is recorded, and the code does not ask for it", "in _waits_for_nothing"),
    _other_kind: ("step 'charge' is recorded, and the code asks for a sleep of that name", ""),
    _other_type: ("the result recorded for step 'load' does not fit", "int"),
}


@pytest.mark.parametrize("change", CHANGES)
@scenario
async def test_a_change_pauses_the_run_with_an_explanation_and_the_old_code_goes_on(change: Any) -> None:
    work.calls.clear()

    @workflow(name="pay")
    async def old(step: Step) -> list[Any]:
        return await _old(step)

    @workflow(name="pay")
    async def new(step: Step) -> list[Any]:
        return await change(step)  # type: ignore[no-any-return]

    async with TestApp(old, self_moving=False) as app:
        handle = await app.start(old)
        await app.advance("1h")
        await crash(app)
    recorded = [(record.key, record.status) for record in await handle.steps()]
    async with successor(app, new, self_moving=False) as app:
        handle = app.handle(handle.run_id)
        await app.advance("2 days")
        row = await handle.get()
        await app.advance("30 days")
        assert [(record.key, record.status) for record in await handle.steps()] == recorded
        assert (await handle.get()).status is RunStatus.PAUSED
    async with successor(app, old) as app:
        await app.handle(handle.run_id).resume()
        assert await app.handle(handle.run_id).result() == ["load", "charge", "send"]
        assert (await app.handle(handle.run_id).get()).error is None

    what, instead = CHANGES[change]
    assert row.status is RunStatus.PAUSED
    assert row.error is not None
    assert row.error.type == "NonDeterminism"
    assert what in row.error.message
    assert instead in row.error.message
    assert "'pay'" in row.error.message or "pay " in row.error.message
    assert "resume" in row.error.message
    assert "@workflow(version=" in row.error.message
    assert work.calls == ["load", "charge", "send"]


@scenario
async def test_the_explanation_can_be_read_by_somebody_who_meets_it_for_the_first_time() -> None:
    work.calls.clear()

    @workflow(name="pay")
    async def old(step: Step) -> list[Any]:
        return await _old(step)

    @workflow(name="pay")
    async def new(step: Step) -> list[Any]:
        return await _renamed(step)

    async with TestApp(old, self_moving=False) as app:
        handle = await app.start(old)
        await app.advance("1h")
        await crash(app)
    async with successor(app, new, self_moving=False) as app:
        await app.advance("1s")
        await app.advance("2 days")
        row = await app.handle(handle.run_id).get()

    assert row.error is not None
    lines = row.error.message.splitlines()
    assert lines[0] == "the code of pay no longer fits what this run has recorded, so the run is paused. Nothing was done twice."
    assert lines[2:4] == ["  step 'charge' is recorded, and the code does not ask for it.", "  Instead it asks for: step 'charge_card'."]
    assert lines[4] == "  The code is at:"
    assert "test_changed_code.py:" in lines[5]
    assert lines[5].endswith("in _renamed")
    assert lines[6] == "  Recorded before it: step 'load'."
    assert lines[7].startswith("  Recorded after it:")


@scenario
async def test_steps_of_one_name_that_have_changed_places_are_found_by_their_arguments() -> None:
    work.calls.clear()

    @workflow(name="pay")
    async def old(step: Step) -> None:
        for name in ("a", "b"):
            await step.run("pay", work.step, name)
        await step.sleep("a while", "1 day")

    @workflow(name="pay")
    async def new(step: Step) -> None:
        for name in ("b", "a"):
            await step.run("pay", work.step, name)
        await step.sleep("a while", "1 day")

    async with TestApp(old, self_moving=False) as app:
        handle = await app.start(old)
        await app.advance("1h")
        await crash(app)
    async with successor(app, new, self_moving=False) as app:
        await app.advance("2 days")
        row = await app.handle(handle.run_id).get()

    assert row.status is RunStatus.PAUSED
    assert row.error is not None
    assert "changed places" in row.error.message
    assert work.calls == ["a", "b"]


@scenario
async def test_other_arguments_for_a_recorded_step_are_a_warning_on_the_run_once() -> None:
    work.calls.clear()
    text = ["Wellcome"]
    warnings: list[str] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            warnings.append(record.getMessage())

    @workflow
    async def mail(step: Step) -> Any:
        result = await step.run("mail", work.step, text[0])
        await step.sleep("a while", "1 day")
        await step.sleep("another while", "1 day")
        return result

    async with TestApp(mail, self_moving=False) as app:
        handle = await app.start(mail)
        await app.advance("1h")
        await crash(app)
    text[0] = "Welcome"
    keeper = Keeper(logging.WARNING)
    logging.getLogger("stepwell.engine").addHandler(keeper)
    async with successor(app, mail, self_moving=False) as app:
        await app.advance("25h")
        await crash(app)
    async with successor(app, mail) as app:
        assert await app.handle(handle.run_id).result() == "Wellcome"
        lines = await app.handle(handle.run_id).logs()
    logging.getLogger("stepwell.engine").removeHandler(keeper)

    assert [(line.level, line.step) for line in lines] == [("warning", "mail")]
    assert "other arguments" in lines[0].message
    assert "the result stays" in lines[0].message
    assert any("'mail'" in warning for warning in warnings)
    assert work.calls == ["Wellcome"]


@scenario
async def test_changed_code_of_a_def_body_is_found_too() -> None:
    work.calls.clear()

    @workflow(name="pay")
    def old(step: SyncStep) -> Any:
        step.run("charge", work.plain, "charge")
        step.sleep("a while", "1 day")
        return "done"

    @workflow(name="pay")
    def new(step: SyncStep) -> Any:
        step.run("charge_card", work.plain, "charge card")
        return "done"

    async with TestApp(old, self_moving=False) as app:
        handle = await app.start(old)
        await app.advance("1h")
        await crash(app)
    async with successor(app, new, self_moving=False) as app:
        await app.advance("2 days")
        row = await app.handle(handle.run_id).get()
    async with successor(app, old) as app:
        await app.handle(handle.run_id).resume()
        assert await app.handle(handle.run_id).result() == "done"

    assert row.status is RunStatus.PAUSED
    assert row.error is not None
    assert "Instead it asks for: step 'charge_card'" in row.error.message
    assert "engine" not in row.error.message
    assert work.calls == ["charge"]


@scenario
async def test_a_step_that_was_tried_and_is_no_longer_asked_for_is_changed_code() -> None:
    work.calls.clear()

    def fail() -> None:
        work.plain("tried")
        raise OSError("again")

    @workflow(name="pay")
    async def old(step: Step) -> None:
        await step.run("charge", fail)

    @workflow(name="pay")
    async def new(step: Step) -> None:
        await step.run("charge_card", work.step, "charge card")

    async with TestApp(old, self_moving=False) as app:
        handle = await app.start(old)
        await settled(app, 200)
        await app.advance("500ms")
        await crash(app)
    async with successor(app, new, self_moving=False) as app:
        await app.advance("1h")
        row = await app.handle(handle.run_id).get()

    assert row.status is RunStatus.PAUSED
    assert row.error is not None
    assert "step 'charge' was tried once, and the code does not ask for it" in row.error.message
    assert work.calls == ["tried"]
