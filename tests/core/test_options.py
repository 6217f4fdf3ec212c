"""Limits and schedules are checked where they are declared."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from stepwell.core.definition import Debounce, Limit, Rate, Schedule
from stepwell.core.options import takes_slot
from stepwell.errors import DefinitionError


def by_tenant(input: Any) -> Any:
    return input.tenant


def test_limits_keep_what_they_were_given() -> None:
    limit, rate, debounce = Limit(5, key=by_tenant), Rate(100, per="1m", key=by_tenant), Debounce("10s", key=by_tenant)

    assert (limit.max, limit.key) == (5, by_tenant)
    assert (rate.max, rate.per, rate.key) == (100, timedelta(minutes=1), by_tenant)
    assert (debounce.delay, debounce.key) == (timedelta(seconds=10), by_tenant)


def test_a_limit_of_none_takes_keys_in_turn_and_so_needs_one() -> None:
    assert Limit(None, key=by_tenant).max is None
    with pytest.raises(DefinitionError, match="needs a key"):
        Limit(None)


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: Limit(0), "the number of a Limit is at least 1, not 0"),
        (lambda: Limit(True), "the number of a Limit is a whole number, not bool"),
        (lambda: Limit(1, key="tenant"), "the key of a Limit is a function of the input, not str"),  # type: ignore[arg-type]
        (lambda: Rate(0, "1m"), "the number of a Rate is at least 1"),
        (lambda: Rate(1, "0s"), "the time of a Rate is longer than zero"),
        (lambda: Rate(1, "1m", key=3), "the key of a Rate"),  # type: ignore[arg-type]
        (lambda: Debounce(timedelta(0)), "the time of a Debounce is longer than zero"),
        (lambda: Debounce("1s", key=3), "the key of a Debounce"),  # type: ignore[arg-type]
    ],
)
def test_a_limit_that_cannot_be_is_refused(declare: Callable[[], object], message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        declare()


@pytest.mark.parametrize("declare", [lambda: Rate(1, 60), lambda: Debounce(10), lambda: Schedule("@daily", jitter=5)])  # type: ignore[arg-type, call-overload]
def test_their_times_need_a_unit(declare: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="needs a unit"):
        declare()


def test_a_schedule_has_the_defaults_of_the_contract() -> None:
    schedule = Schedule("hourly_backup", "0 * * * *")

    assert (schedule.name, schedule.expression, schedule.input, schedule.timezone) == ("hourly_backup", "0 * * * *", None, None)
    assert (schedule.overlap, schedule.catch_up, schedule.jitter) == ("allow", "latest", None)


@pytest.mark.parametrize("schedule", [Schedule("0 * * * *", input=1), Schedule(expression="0 * * * *", input=1)])
def test_a_schedule_without_a_name_is_named_after_workflow_and_expression(schedule: Schedule) -> None:
    named = schedule.named("backup")

    assert (named.name, named.expression, named.input) == ("backup[0 * * * *]", "0 * * * *", 1)


def test_a_schedule_with_a_name_keeps_it() -> None:
    schedule = Schedule(name="nightly", expression="@daily", timezone="Europe/Paris", overlap="skip", catch_up="all", jitter="5m")

    assert schedule.named("backup") == schedule
    assert (schedule.name, schedule.timezone, schedule.jitter) == ("nightly", "Europe/Paris", timedelta(minutes=5))


@pytest.mark.parametrize(
    "expression", ["* * * * *", "30 0 2 * * 1-5", "  0 2 * * *  ", "@hourly", "@daily", "@weekly", "@monthly", "@yearly"]
)
def test_an_expression_has_five_fields_or_six_or_is_an_alias(expression: str) -> None:
    assert Schedule(expression).expression == expression.strip()


@pytest.mark.parametrize("expression", ["", "@noon", "* * * *", "* * * * * * *", "every day", 5])
def test_any_other_expression_is_refused(expression: Any) -> None:
    with pytest.raises(DefinitionError, match="expression"):
        Schedule("nightly", expression)


@pytest.mark.parametrize("input", [dict, lambda: 1, lambda slot: slot, lambda slot, region="eu": slot, lambda *slots: 1, len, max])
def test_an_input_may_be_a_function_of_nothing_or_of_the_slot(input: Any) -> None:
    assert Schedule("@daily", input=input).input is input


@pytest.mark.parametrize(
    ("input", "needs"),
    [(lambda slot, region: 1, "slot, region"), (lambda *, slot: 1, "slot"), (divmod, "x, y")],
)
def test_a_function_that_needs_more_than_the_slot_is_refused_where_it_is_declared(input: Any, needs: str) -> None:
    for arguments in (["nightly", "@daily"], ["@daily"]):
        said = f"the input function of schedule '{arguments[0]}' takes nothing, or the slot's time; this one needs {needs}: "
        with pytest.raises(DefinitionError, match=said):
            Schedule(*arguments, input=input)


def test_a_function_is_one_of_the_slot_if_it_has_a_parameter_that_must_be_given() -> None:
    assert takes_slot(lambda slot: slot)
    assert not takes_slot(lambda region="eu": region)
    assert not takes_slot(lambda: 1)
    assert not takes_slot(lambda *slots, **options: 1)


def test_an_expression_left_out_is_refused() -> None:
    with pytest.raises(DefinitionError, match="the expression of a schedule is a text such as"):
        Schedule()  # type: ignore[call-overload]


@pytest.mark.parametrize("timezone", ["Mars/Olympus", "", "../etc/passwd", "Europe", 5])
def test_a_zone_that_does_not_exist_is_refused(timezone: Any) -> None:
    with pytest.raises(DefinitionError, match="timezone"):
        Schedule("@daily", timezone=timezone)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"overlap": "queue"}, "overlap of a schedule is one of allow, skip, cancel, wait, not 'queue'"),
        ({"catch_up": None}, "catch_up of a schedule is one of latest, all, none, not None"),
        ({"name": ""}, "the name of a schedule is empty"),
        ({"name": 3}, "the name of a schedule is a string"),
    ],
)
def test_an_option_that_a_schedule_does_not_have_is_refused(option: dict[str, Any], message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        Schedule(**{"name": "nightly", "expression": "@daily"} | option)
