"""Mocks of steps: what stands in for a function, for how long, and what stays as it is."""

from __future__ import annotations

import threading
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest
from pydantic import BaseModel

from stepwell import DefinitionError, Retry, RunFailed, Step, SyncStep, current_step, step, workflow
from stepwell.testing import EPOCH, TestApp
from tests.engine.harness import Counter, caught, scenario

ONCE = Retry.never()


class Receipt(BaseModel):
    id: str
    amount: int


class CardDeclined(Exception):
    pass


class Bank:
    """What tests must not reach."""

    def __init__(self) -> None:
        self.charges: list[int] = []

    async def charge(self, amount: int) -> Receipt:
        self.charges.append(amount)
        return Receipt(id="real", amount=amount)


bank = Bank()


@pytest.fixture(autouse=True)
def empty_bank() -> None:
    bank.charges.clear()


@workflow
async def pay(amount: int, step: Step) -> str:
    receipt = await step.run("charge", bank.charge, amount)
    return f"{type(receipt).__name__} {receipt.id} {receipt.amount}"


@workflow
async def pay_twice(amount: int, step: Step) -> list[str]:
    return [(await step.run("charge", bank.charge, part)).id for part in (amount, amount)]


@workflow
async def pay_later(amount: int, step: Step) -> str:
    await step.sleep("wait", "1 day")
    receipt = await step.run("charge", bank.charge, amount)
    return receipt.id


# -- results


@scenario
async def test_a_mocked_step_returns_what_the_test_says_and_its_function_is_not_called() -> None:
    async with TestApp(pay) as app:
        app.mock_step("charge", returns=Receipt(id="mocked", amount=1))

        assert await app.execute(pay, 5) == "Receipt mocked 1"
        assert bank.charges == []


@scenario
async def test_a_mocked_result_has_to_fit_the_type_that_the_function_returns() -> None:
    async with TestApp(pay) as app:
        app.mock_step("charge", returns={"no": "receipt"})
        error = await caught(app.execute(pay, 5))
        assert isinstance(error, RunFailed)
        assert error.caused_by("NotSerializable")


@scenario
async def test_a_mocked_step_is_recorded_like_any_other() -> None:
    async with TestApp(pay) as app:
        app.mock_step("charge", returns=Receipt(id="mocked", amount=1))
        handle = await app.start(pay, 5)
        await handle.result()

        (record,) = await handle.steps()
        assert (record.key, record.kind, record.status, record.attempt) == ("charge", "function", "completed", 1)
        assert record.output == {"id": "mocked", "amount": 1}


@scenario
async def test_a_mock_without_a_result_returns_none() -> None:
    @workflow
    async def notify(step: Step) -> Any:
        return await step.run("send", Counter().step, 5)

    async with TestApp(notify) as app:
        app.mock_step("send")
        assert await app.execute(notify) is None


@scenario
async def test_what_can_be_called_is_called_with_the_arguments_of_the_step() -> None:
    async with TestApp(pay) as app:
        app.mock_step("charge", returns=lambda amount: Receipt(id="called", amount=amount * 10))
        assert await app.execute(pay, 5) == "Receipt called 50"

        async def charge(amount: int) -> Receipt:
            return Receipt(id=current_step().key, amount=amount)

        app.mock_step("charge", returns=charge)
        assert await app.execute(pay, 5) == "Receipt charge 5"


@scenario
async def test_mocks_of_the_standard_library_can_be_given() -> None:
    plain, waited = Mock(return_value=Receipt(id="m", amount=1)), AsyncMock(return_value=Receipt(id="a", amount=2))
    async with TestApp(pay) as app:
        app.mock_step("charge", returns=plain)
        assert await app.execute(pay, 5) == "Receipt m 1"
        app.mock_step("charge", returns=waited)
        assert await app.execute(pay, 6) == "Receipt a 2"

    plain.assert_called_once_with(5)
    waited.assert_awaited_once_with(6)


@scenario
async def test_a_def_mock_runs_in_a_thread_as_a_def_step_does() -> None:
    threads: list[threading.Thread] = []

    def charge(amount: int) -> Receipt:
        threads.append(threading.current_thread())
        return Receipt(id="t", amount=amount)

    async with TestApp(pay) as app:
        app.mock_step("charge", returns=charge)
        await app.execute(pay, 5)

    assert threads != [threading.main_thread()]
    assert len(threads) == 1


@scenario
async def test_steps_of_def_bodies_and_decorated_steps_are_mocked_too() -> None:
    @step("charge")
    async def charge(amount: int) -> int:
        raise AssertionError("it is mocked")

    @workflow
    async def decorated(amount: int) -> int:
        return await charge(amount)

    @workflow
    def plain(amount: int, step: SyncStep) -> int:
        return step.define("charge", Counter().plain, timeout="1s").run(amount)  # type: ignore[no-any-return]

    async with TestApp(decorated, plain) as app:
        app.mock_step("charge", returns=lambda amount: amount + 1)
        assert (await app.execute(decorated, 1), await app.execute(plain, 2)) == (2, 3)


# -- errors


@scenario
async def test_what_a_mock_raises_is_retried_by_the_steps_policy_and_then_fails_it() -> None:
    async with TestApp(pay) as app:
        app.mock_step("charge", raises=CardDeclined("no funds"))
        handle = await app.start(pay, 5)
        error = await caught(handle.result())

        assert isinstance(error, RunFailed)
        assert error.caused_by(CardDeclined)
        assert "CardDeclined: no funds" in str(error)
        assert [record.status for record in await handle.steps()] == ["failed"] * 5
        assert bank.charges == []


@scenario
async def test_a_class_of_exceptions_can_be_raised() -> None:
    @workflow(retry=ONCE)
    async def once(step: Step) -> None:
        await step.run("charge", bank.charge, 5)

    async with TestApp(once) as app:
        app.mock_step("charge", raises=CardDeclined)
        error = await caught(app.execute(once))

    assert isinstance(error, RunFailed)
    assert error.caused_by(CardDeclined)


# -- failing first


@scenario
async def test_the_first_attempts_fail_and_then_the_function_runs() -> None:
    async with TestApp(pay) as app:
        app.fail_step("charge", times=2)
        handle = await app.start(pay, 5)

        assert await handle.result() == "Receipt real 5"
        assert bank.charges == [5]
        records = await handle.steps()
        assert [(record.status, record.attempt) for record in records] == [("failed", 1), ("failed", 2), ("completed", 3)]
        assert str(records[0].error) == "RuntimeError: attempt 1 of step 'charge' fails, as fail_step('charge') says"
        assert app.now() - EPOCH > 2  # both delays have passed


@scenario
async def test_after_its_failures_the_mock_of_the_step_runs() -> None:
    async with TestApp(pay) as app:
        app.mock_step("charge", returns=Receipt(id="mocked", amount=1))
        app.fail_step("charge", error=ConnectionError("away"))
        handle = await app.start(pay, 5)

        assert await handle.result() == "Receipt mocked 1"
        first, second = await handle.steps()
        assert (str(first.error), second.status) == ("ConnectionError: away", "completed")


@scenario
async def test_failures_that_use_up_the_attempts_fail_the_step() -> None:
    async with TestApp(pay) as app:
        app.fail_step("charge", times=5, error=CardDeclined)
        error = await caught(app.execute(pay, 5))

        assert isinstance(error, RunFailed)
        assert error.caused_by(CardDeclined)
        assert await app.execute(pay, 5) == "Receipt real 5"


@scenario
async def test_said_again_the_failures_count_anew() -> None:
    async with TestApp(pay) as app:
        app.fail_step("charge", times=4)
        app.fail_step("charge", times=1)
        handle = await app.start(pay, 5)
        await handle.result()

        assert len(await handle.steps()) == 2


# -- for which steps, and how long


@scenario
async def test_of_several_steps_of_one_name_one_is_mocked_by_its_key() -> None:
    async with TestApp(pay_twice) as app:
        app.mock_step("charge:1", returns=Receipt(id="second", amount=0))
        assert await app.execute(pay_twice, 5) == ["real", "second"]

        app.mock_step("charge", returns=Receipt(id="all others", amount=0))
        assert await app.execute(pay_twice, 5) == ["all others", "second"]

        app.fail_step("charge:1")
        handle = await app.start(pay_twice, 5)
        await handle.result()
        assert [record.key for record in await handle.steps()] == ["charge", "charge:1", "charge:1"]


@scenario
async def test_of_two_mocks_for_one_step_the_later_counts() -> None:
    async with TestApp(pay) as app:
        app.mock_step("charge", raises=CardDeclined)
        app.mock_step("charge", returns=Receipt(id="later", amount=0))
        assert await app.execute(pay, 5) == "Receipt later 0"


@scenario
async def test_a_mock_holds_until_it_is_taken_away() -> None:
    async with TestApp(pay) as app:
        app.mock_step("charge", returns=Receipt(id="mocked", amount=0))
        app.fail_step("charge", times=3)
        app.unmock_step("charge")
        handle = await app.start(pay, 5)

        assert await handle.result() == "Receipt real 5"
        assert len(await handle.steps()) == 1


@scenario
async def test_a_mock_may_be_made_before_the_app_is_entered_and_ends_when_it_is_left() -> None:
    app = TestApp(pay)
    app.mock_step("charge", returns=Receipt(id="mocked", amount=0))

    async with app:
        assert await app.execute(pay, 5) == "Receipt mocked 0"
    async with app:
        assert await app.execute(pay, 5) == "Receipt real 5"


@scenario
async def test_a_mock_may_be_made_while_a_run_is_under_way() -> None:
    async with TestApp(pay_later, self_moving=False) as app:
        handle = await app.start(pay_later, 5)
        await app.advance("1h")
        app.mock_step("charge", returns=Receipt(id="mocked", amount=0))
        await app.advance("1 day")

        assert await handle.result() == "mocked"


@scenario
async def test_a_result_that_is_recorded_stays_whatever_is_mocked_later() -> None:
    @workflow
    async def pay_and_wait(step: Step) -> str:
        receipt = await step.run("charge", bank.charge, 5)
        await step.sleep("wait", "1 day")
        return receipt.id

    async with TestApp(pay_and_wait, self_moving=False) as app:
        app.mock_step("charge", returns=Receipt(id="first", amount=0))
        handle = await app.start(pay_and_wait)
        await app.advance("1h")
        app.mock_step("charge", returns=Receipt(id="later", amount=0))
        await app.advance("1 day")

        assert await handle.result() == "first"


@scenario
async def test_further_workers_of_the_app_call_mocks_too() -> None:
    async with TestApp(pay) as app:
        app.mock_step("charge", returns=Receipt(id="mocked", amount=0))
        handle = await app.start(pay, 5, queue="slow")
        await app.worker(queues=["slow"]).run_until_idle()

        assert await handle.result() == "Receipt mocked 0"
        assert bank.charges == []


@scenario
async def test_a_mock_that_no_step_comes_to_is_no_error() -> None:
    async with TestApp(pay) as app:
        app.mock_step("refund", raises=CardDeclined)
        assert await app.execute(pay, 5) == "Receipt real 5"


# -- called wrongly


def test_a_mock_returns_or_raises() -> None:
    with pytest.raises(DefinitionError, match="a mock of step 'charge' either returns or raises"):
        TestApp(pay).mock_step("charge", returns=1, raises=CardDeclined)


@pytest.mark.parametrize("error", ["CardDeclined", 5, int, [CardDeclined]])
def test_only_exceptions_can_be_raised(error: Any) -> None:
    with pytest.raises(DefinitionError, match="what a mock of step 'charge' raises is an exception, an object or a class; not"):
        TestApp(pay).mock_step("charge", raises=error)
    with pytest.raises(DefinitionError, match="the error of step 'charge' is an exception, an object or a class; not"):
        TestApp(pay).fail_step("charge", error=error)


@pytest.mark.parametrize("name", ["", None, bank.charge])
def test_a_step_is_mocked_by_a_name(name: Any) -> None:
    for mock in (TestApp(pay).mock_step, TestApp(pay).fail_step):
        with pytest.raises(DefinitionError, match="the name of a step is"):
            mock(name)


@pytest.mark.parametrize("times", [0, -1, 1.5, True, "2"])
def test_a_step_fails_a_number_of_times(times: Any) -> None:
    with pytest.raises(DefinitionError, match="how often step 'charge' fails is"):
        TestApp(pay).fail_step("charge", times=times)


def test_what_was_not_mocked_cannot_be_taken_away() -> None:
    app = TestApp(pay)
    with pytest.raises(DefinitionError, match="step 'charge' is not mocked; mocked: none is"):
        app.unmock_step("charge")

    app.mock_step("ship")
    app.fail_step("refund")

    with pytest.raises(DefinitionError, match="step 'charge' is not mocked; mocked: 'refund', 'ship'"):
        app.unmock_step("charge")
    app.unmock_step("refund")
    app.unmock_step("ship")
