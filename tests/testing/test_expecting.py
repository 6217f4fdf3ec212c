"""`assert_steps`: which steps a run has taken, and what is said where they are others."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from stepwell import DefinitionError, Handle, Retry, RunNotFound, Step, workflow
from stepwell.testing import TestApp
from tests.engine.harness import Counter, caught, scenario

steps = Counter()


@workflow
async def order(declined: bool, step: Step) -> str:
    await step.run("reserve", steps.step)
    try:
        await step.define("charge", decline if declined else steps.step, retry=Retry(2, jitter=0)).run()
    except Exception:  # noqa: BLE001  # whatever it is
        await step.run("release", steps.step)
        return "declined"
    await step.sleep("cool off", "1 day")
    await step.run("mail", steps.step)
    await step.run("mail", steps.step)
    return "sent"


async def decline() -> None:
    raise ConnectionError("the bank is away")


async def ended(app: TestApp, *, declined: bool = False) -> Handle[str]:
    handle = await app.start(order, declined)
    await handle.result()
    return handle


@scenario
async def test_steps_are_named_in_the_order_of_their_start_sleeps_too() -> None:
    async with TestApp(order) as app:
        await app.assert_steps(await ended(app), ["reserve", "charge", "cool off", "mail", "mail"])


@scenario
async def test_a_step_can_be_named_by_its_key() -> None:
    async with TestApp(order) as app:
        await app.assert_steps(await ended(app), ("reserve", "charge", "cool off", "mail", "mail:1"))


@scenario
async def test_a_step_of_several_attempts_is_named_once_with_the_status_of_the_last() -> None:
    async with TestApp(order) as app:
        handle = await ended(app, declined=True)
        assert len(await handle.steps()) == 4
        await app.assert_steps(handle, ["reserve", ("charge", "failed"), ("release", "completed")])

        app.fail_step("reserve")
        await app.assert_steps(await ended(app, declined=True), [("reserve", "completed"), "charge", "release"])


@scenario
async def test_steps_that_start_side_by_side_are_in_the_order_in_which_they_were_asked_for() -> None:
    @workflow
    async def fan_out(step: Step) -> None:
        await asyncio.gather(*(step.run(name, steps.step) for name in ("b", "a", "c")))

    async with TestApp(fan_out) as app:
        handle = await app.start(fan_out)
        await handle.result()
        await app.assert_steps(handle, ["b", "a", "c"])


@scenario
async def test_a_run_that_goes_on_is_checked_as_it_stands() -> None:
    async with TestApp(order, self_moving=False) as app:
        handle = await app.start(order, False)
        await app.advance("1h")
        await app.assert_steps(handle, ["reserve", "charge"])


@scenario
async def test_a_difference_is_shown_where_it_is() -> None:
    async with TestApp(order) as app:
        handle = await ended(app, declined=True)
        error = await caught(app.assert_steps(handle, ["reserve", "weigh", ("charge", "completed"), "release", ("mail", "completed")]))

    assert isinstance(error, AssertionError)
    assert str(error) == (
        f"run {handle.run_id} took other steps than expected (- expected, + taken):\n"
        "\n"
        "    reserve\n"
        "  - weigh\n"
        "  - charge (completed)\n"
        "  + charge (failed): ConnectionError: the bank is away\n"
        "    release\n"
        "  - mail (completed)"
    )


@pytest.mark.parametrize(
    ("expected", "shown"),
    [
        ([], "  + reserve (completed)"),
        (["reserve", "charge"], "  + release (completed)"),
        (["charge", "reserve", "release"], "  - reserve"),
        (["reserve", "charge", "release", "release:1"], "  - release:1"),
    ],
)
@scenario
async def test_what_is_too_much_missing_or_in_another_order_is_shown(expected: list[str], shown: str) -> None:
    async with TestApp(order) as app:
        with pytest.raises(AssertionError, match=re.escape(f"\n{shown}")):
            await app.assert_steps(await ended(app, declined=True), expected)


@pytest.mark.parametrize("expected", ["reserve", 5, None])
@scenario
async def test_steps_are_expected_as_a_list(expected: Any) -> None:
    async with TestApp(order) as app:
        with pytest.raises(TypeError, match="expected steps are given as a list"):
            await app.assert_steps(await ended(app), expected)


@pytest.mark.parametrize("entry", [5, ("charge",), ("charge", "failed", 1), ["charge", 5]])
@scenario
async def test_an_expected_step_is_a_name_or_a_name_and_a_status(entry: Any) -> None:
    async with TestApp(order) as app:
        with pytest.raises(TypeError, match="an expected step is a name, or a name and a status; not"):
            await app.assert_steps(await ended(app), [entry])


@scenario
async def test_a_status_that_no_step_can_have_is_refused() -> None:
    async with TestApp(order) as app:
        handle = await ended(app)
        with pytest.raises(ValueError, match="a step is running, completed, failed or canceled; 'charge' is expected to be 'done'"):
            await app.assert_steps(handle, [("charge", "done")])
        with pytest.raises(DefinitionError, match="the name of a step is empty"):
            await app.assert_steps(handle, [""])


@scenario
async def test_a_handle_says_which_run_is_meant() -> None:
    async with TestApp(order) as app:
        handle = await ended(app)
        with pytest.raises(TypeError, match="assert_steps takes the handle of a run"):
            await app.assert_steps(handle.run_id, [])  # type: ignore[arg-type]
        with pytest.raises(RunNotFound):
            await app.assert_steps(app.handle("nowhere"), [])
