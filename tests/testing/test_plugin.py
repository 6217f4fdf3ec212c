"""The pytest plugin, as pytest finds it: with no conftest, in a process of its own."""

from __future__ import annotations

import asyncio

import pytest

from stepwell import Step, workflow
from stepwell.testing import TestApp

pytest_plugins = ["pytester"]

FLOWS = """
from stepwell import Step, workflow

def charge(amount: int) -> str:
    raise ConnectionError("tests must not talk to the bank")

@workflow
async def pay(amount: int, step: Step) -> str:
    await step.sleep("cool off", "30 days")
    return await step.run(charge, amount)
"""


@workflow
async def double(number: int, step: Step) -> int:
    return await step.run("add", lambda: number + number)


def test_the_fixture_makes_test_apps(stepwell_app: type[TestApp]) -> None:
    async def doubled() -> int:
        async with stepwell_app(double) as app:
            return await app.execute(double, 21)

    assert asyncio.run(doubled()) == 42


def test_it_works_in_a_plain_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        flows=FLOWS,
        test_pay="""
        import asyncio
        from flows import pay

        def test_pay(stepwell_app):
            async def paid():
                async with stepwell_app(pay, seed=3) as app:
                    app.mock_step("charge", returns="r1")
                    return await app.execute(pay, 5)

            assert asyncio.run(paid()) == "r1"
        """,
    )

    pytester.runpytest_subprocess("-W", "error").assert_outcomes(passed=1)


def test_it_works_with_a_runner_of_async_tests(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        flows=FLOWS,
        test_pay="""
        import pytest
        from flows import pay

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        @pytest.mark.anyio
        async def test_pay(stepwell_app):
            async with stepwell_app(pay) as app:
                app.mock_step("charge", returns="r1")
                assert await app.execute(pay, 5) == "r1"
        """,
    )

    pytester.runpytest_subprocess("-W", "error").assert_outcomes(passed=1)


def test_a_project_that_does_not_use_it_does_not_pay_for_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import sys

        def test_nothing(request):
            assert request.config.pluginmanager.has_plugin("stepwell")
            assert not [name for name in sys.modules if name.split(".")[0] in {"stepwell", "pydantic"}]
    """)

    pytester.runpytest_subprocess("-W", "error").assert_outcomes(passed=1)


def test_the_fixture_says_what_it_is_for(pytester: pytest.Pytester) -> None:
    answer = pytester.runpytest_subprocess("--fixtures", "-q")

    answer.stdout.fnmatch_lines(["stepwell_app*", "    Makes apps in memory, each with its worker*"])
