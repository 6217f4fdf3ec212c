"""`crash_everywhere`: what it tries, what it lets pass, and what it finds."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import pytest

from stepwell import ContinueAsNew, DefinitionError, InvalidInput, Retry, Step, Stuck, SyncStep, Workflow, current_step, workflow
from stepwell.testing import CrashReport, TestApp, crash_everywhere
from stepwell.testing.crashes import _differences, _Life
from tests.engine.harness import scenario


class Bank:
    """What steps write to."""

    def __init__(self) -> None:
        self.charges: list[int] = []
        self.by_key: dict[str, int] = {}
        self.opened = 0

    def clear(self) -> None:
        self.charges, self.by_key = [], {}
        self.opened += 1

    async def charge(self, amount: int) -> int:
        self.charges.append(amount)
        return amount

    async def charge_once(self, amount: int) -> int:
        return self.by_key.setdefault(current_step().idempotency_key, amount)


bank = Bank()


@workflow
async def pay(amount: int, step: Step) -> int:
    first = await step.run("charge", bank.charge, amount)
    await step.sleep("cool off", "30 days")
    return first + await step.run("charge", bank.charge, amount + 1)


@workflow
async def pay_once(amount: int, step: Step) -> int:
    return await step.run("charge", bank.charge_once, amount) + await step.run("charge", bank.charge_once, amount)


# -- what passes


@scenario
async def test_a_worker_is_lost_before_and_after_each_commit() -> None:
    report = await crash_everywhere(pay, 5)

    assert report == CrashReport(commits=5, crashes=10, repeated=("charge", "charge:1"))


@scenario
async def test_a_workflow_of_threads_is_crashed_like_one_of_tasks() -> None:
    @workflow
    def plain(amount: int, step: SyncStep) -> int:
        step.sleep("cool off", "1h")
        return step.run("double", lambda amount: amount * 2, amount)

    report = await crash_everywhere(plain, 5)

    assert report.crashes == 2 * report.commits > 2


@scenario
async def test_branches_retries_and_races_are_crashed_too() -> None:
    @workflow
    async def busy(step: Step) -> list[Any]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(step.run("charge", bank.charge, amount)) for amount in range(3)]
        mapped = await step.map("each", bank.charge, [7, 8, 9], concurrency=2)
        return [task.result() for task in tasks] + mapped

    def away(app: TestApp) -> None:
        app.fail_step("@0/charge", times=3)
        app.fail_step("each:2", times=1)

    report = await crash_everywhere(busy, setup=away)

    # What is recorded together, and so how many commits there are, depends on how busy the machine is.
    assert 10 < 2 * report.commits - 4 <= report.crashes <= 2 * report.commits


@scenario
async def test_a_run_that_goes_on_as_new_is_crashed_in_all_its_parts() -> None:
    @workflow
    async def counts(left: int, step: Step) -> int:
        await step.run("charge", bank.charge, left)
        if left:
            raise ContinueAsNew(left - 1)
        return left

    report = await crash_everywhere(counts, 2)

    assert report == CrashReport(commits=6, crashes=12, repeated=("charge",))


@scenario
async def test_a_workflow_that_fails_has_to_fail_alike() -> None:
    async def decline() -> None:
        raise ConnectionError("the bank is away")

    @workflow
    async def declined(step: Step) -> None:
        await step.define("charge", decline, retry=Retry(3, jitter=0)).run()

    report = await crash_everywhere(declined)

    # What is recorded together, and so how many commits there are, depends on how busy the machine is.
    assert 4 < 2 * report.commits - 4 <= report.crashes <= 2 * report.commits
    assert report.repeated == ("charge",)


@scenario
async def test_the_world_is_set_up_before_each_run() -> None:
    before = bank.opened

    report = await crash_everywhere(pay_once, 5, setup=bank.clear, effects=lambda: list(bank.by_key.values()))

    assert bank.opened - before == 1 + report.crashes
    assert report.repeated == ("charge", "charge:1")


@scenario
async def test_setup_and_effects_may_be_async_and_setup_gets_the_app_to_mock_steps_in() -> None:
    apps: list[TestApp] = []

    async def setup(app: TestApp) -> None:
        apps.append(app)
        app.mock_step("charge", returns=1)

    async def effects() -> list[int]:
        return bank.charges

    bank.clear()
    report = await crash_everywhere(pay, 5, setup=setup, effects=effects)

    assert len({id(app) for app in apps}) == 1 + report.crashes
    assert bank.charges == []


@scenario
async def test_what_has_to_be_the_same_can_be_said() -> None:
    @workflow
    async def stamped(step: Step) -> tuple[int, datetime]:
        return await step.run("charge", bank.charge, 5), await step.now()

    with pytest.raises(AssertionError, match="it completed with"):
        await crash_everywhere(stamped)

    report = await crash_everywhere(stamped, same=lambda result: result[0])
    assert report.crashes == 2 * report.commits


@scenario
async def test_timers_go_on_for_the_lease_after_which_the_worker_is_missed() -> None:
    @workflow
    async def hurries(step: Step) -> str:
        try:
            async with asyncio.timeout(10):
                return f"charged {await step.run('charge', bank.charge, 5)}"
        except TimeoutError:
            return "too late"

    with pytest.raises(AssertionError, match="it completed with 'too late', and without the crash it completed with 'charged 5'"):
        await crash_everywhere(hurries)

    assert (await crash_everywhere(hurries, lease="5s")).crashes == 4


# -- what is found


@scenario
async def test_a_step_that_cannot_bear_to_run_again_is_found_by_its_effects() -> None:
    with pytest.raises(AssertionError) as found:
        await crash_everywhere(pay, 5, setup=bank.clear, effects=lambda: bank.charges)

    assert str(found.value) == (
        "a crash of the worker just before commit 1 of 5 (step 'charge') makes a difference to 'pay':\n"
        "  - the effects are [5, 5, 6], and without the crash [5, 6]"
    )


@scenario
async def test_a_body_that_does_something_outside_of_steps_is_found() -> None:
    @workflow
    async def leaks(step: Step) -> int:
        bank.charges.append(1)
        await step.run("charge", bank.charge_once, 5)
        return len(bank.charges)

    with pytest.raises(AssertionError, match="it completed with 2, and without the crash it completed with 1"):
        await crash_everywhere(leaks, setup=bank.clear)


@scenario
async def test_a_body_that_goes_another_way_the_second_time_is_found() -> None:
    @workflow
    async def wanders(step: Step) -> None:
        bank.charges.append(1)
        await step.run("odd" if len(bank.charges) % 2 else "even", bank.charge_once, 5)
        await step.run("last", bank.charge_once, 5)

    with pytest.raises(AssertionError) as found:
        await crash_everywhere(wanders, setup=bank.clear)
    assert "step 'even' is completed, and without the crash not run" in str(found.value)
    assert "step 'odd' is not run, and without the crash completed" in str(found.value)

    def only_after_the_first_step(app: TestApp) -> None:
        bank.clear()
        app.mock_step("even", returns=0)

    @workflow
    async def wanders_later(step: Step) -> None:
        await step.run("first", bank.charge_once, 5)
        bank.charges.append(1)
        await step.run("odd" if len(bank.charges) % 2 else "even", bank.charge_once, 5)
        await step.run("last", bank.charge_once, 5)

    with pytest.raises(AssertionError, match=r"commit 2 of 4 \(step 'odd'\) makes a difference"):
        await crash_everywhere(wanders_later, setup=only_after_the_first_step)


@scenario
async def test_a_run_that_is_paused_because_its_code_does_not_fit_is_found_with_the_reason() -> None:
    lives: list[int] = []  # how often the body of each run has begun

    @workflow
    async def wanders(step: Step) -> None:
        lives[-1] += 1
        has_lost_its_first_worker_after_the_commit = (len(lives), lives[-1]) == (3, 2)
        await step.run("other" if has_lost_its_first_worker_after_the_commit else "charge", bank.charge_once, 5)

    with pytest.raises(AssertionError) as found:
        await crash_everywhere(wanders, setup=lambda: lives.append(0))

    assert str(found.value).startswith("a crash of the worker just after commit 1 of 2 (step 'charge') makes a difference to 'wanders':\n")
    assert "it is paused, by NonDeterminism: the code of wanders no longer fits" in str(found.value)
    assert "step 'charge' is recorded, and the code does not ask for it" in str(found.value)


@scenario
async def test_a_run_that_fails_otherwise_is_found() -> None:
    @workflow(retry=Retry.never())
    async def stumbles(step: Step) -> None:
        bank.charges.append(1)
        await step.run("charge", bank.charge_once, 5)
        raise ValueError(f"start {len(bank.charges)}")

    with pytest.raises(
        AssertionError, match="it failed with ValueError: start 2, and without the crash it failed with ValueError: start 1"
    ):
        await crash_everywhere(stumbles, setup=bank.clear)


def test_a_step_that_runs_again_although_it_was_recorded_would_be_found() -> None:
    def life(**changes: Any) -> _Life:
        same: dict[str, Any] = {"commits": (), "crashed": True, "ending": None, "steps": {}, "effects": None, "repeated": (), "rerun": ()}
        return _Life(**same | changes)

    found = list(_differences(life(rerun=("charge",)), life()))

    assert found == ["step 'charge' ran again, although its outcome was recorded before the crash"]
    assert list(_differences(life(), life())) == []


# -- called wrongly


@scenario
async def test_a_run_of_more_commits_than_allowed_is_refused_before_the_first_crash() -> None:
    @workflow
    async def endless(step: Step) -> None:
        while True:
            await step.run("charge", bank.charge, 1)

    bank.clear()
    with pytest.raises(ValueError, match="'endless' makes more than 20 commits; give it less to do, or raise max_commits"):
        await crash_everywhere(endless, max_commits=20)

    assert len(bank.charges) == 21
    assert (await crash_everywhere(pay, 5, max_commits=5)).commits == 5


@scenario
async def test_a_run_that_does_not_end_by_itself_is_told_as_what_it_is() -> None:
    @workflow
    async def hangs() -> None:
        await asyncio.Event().wait()

    assert (await crash_everywhere(hangs)).crashes == 2  # it fails, and says so each time

    def pause(app: TestApp) -> None:
        asyncio.get_running_loop().call_soon(asyncio.get_running_loop().create_task, pause_all(app))

    async def pause_all(app: TestApp) -> None:
        while not await app.runs.pause_all(everything=True):
            await asyncio.sleep(0)

    with pytest.raises(Stuck, match="it is paused; resume it"):
        await crash_everywhere(pay, 5, setup=pause)


@pytest.mark.parametrize("what", [pay.function, "pay", None])
@scenario
async def test_only_a_workflow_is_crashed(what: Any) -> None:
    with pytest.raises(DefinitionError, match="crash_everywhere takes a Workflow"):
        await crash_everywhere(what)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_commits": 0}, DefinitionError),
        ({"max_commits": "5"}, DefinitionError),
        ({"lease": "0s"}, ValueError),
        ({"lease": 30}, ValueError),
        ({"workflows": [pay.function]}, DefinitionError),
        ({"crashes": 5}, TypeError),
    ],
)
@scenario
async def test_options_are_checked(options: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        await crash_everywhere(pay, 5, **options)


@scenario
async def test_an_input_that_does_not_fit_is_refused() -> None:
    other: Workflow[Any, Any] = pay_once
    with pytest.raises(InvalidInput):
        await crash_everywhere(pay, "much", workflows=[other])
