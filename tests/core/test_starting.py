from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from stepwell import workflow
from stepwell.core.records import UNRESOLVED, Definition
from stepwell.core.starting import (
    LAST_INSTANT,
    checked_actor,
    checked_inputs,
    checked_key,
    checked_queue,
    checked_run_id,
    checked_start_priority,
    checked_tags,
    checked_target,
    due_at,
    published_target,
    run_timeout,
    target_of,
)
from stepwell.errors import DefinitionError, RunNotFound

NOON = datetime(2027, 1, 15, 12, tzinfo=UTC).timestamp()


def test_what_is_not_said_is_the_workflows() -> None:
    assert checked_queue(None, "pay", "slow") == "slow"
    assert checked_start_priority(None, "pay", 7) == 7
    assert checked_key(None) is None


def test_what_is_said_goes_before_it() -> None:
    assert checked_queue("fast", "pay", "slow") == "fast"
    assert checked_start_priority(0, "pay", 7) == 0
    assert checked_key("order-8") == "order-8"
    assert checked_tags(["acme", "import"]) == ("acme", "import")


@pytest.mark.parametrize("queue", ["", 5, "nul\0"], ids=["empty", "number", "nul"])
def test_what_cannot_be_a_queue_is_refused(queue: Any) -> None:
    with pytest.raises(DefinitionError, match="queue"):
        checked_queue(queue, "pay", "slow")


@pytest.mark.parametrize("priority", ["high", 10**30, True, 1.5])
def test_what_cannot_be_a_priority_is_refused(priority: Any) -> None:
    with pytest.raises(DefinitionError, match="the priority of workflow 'pay' is a whole number"):
        checked_start_priority(priority, "pay", 0)


@pytest.mark.parametrize("key", ["", 5])
def test_what_cannot_be_a_key_is_refused(key: Any) -> None:
    with pytest.raises(DefinitionError, match="idempotency key"):
        checked_key(key)


@pytest.mark.parametrize("tags", ["acme", 5, [1], [""]], ids=["one text", "number", "numbers", "empty"])
def test_what_cannot_be_tags_is_refused(tags: Any) -> None:
    with pytest.raises(DefinitionError, match="tag"):
        checked_tags(tags)


def test_a_tag_given_twice_is_there_once() -> None:
    assert checked_tags(["acme", "import", "acme"]) == ("acme", "import")


@pytest.mark.parametrize("actor", ["", 5, "nul\0"], ids=["empty", "number", "nul"])
def test_what_cannot_be_an_actor_is_refused(actor: Any) -> None:
    with pytest.raises(DefinitionError, match="actor"):
        checked_actor(actor)


def test_nobody_need_say_who_acts() -> None:
    assert (checked_actor(None), checked_actor("ann")) == (None, "ann")


@pytest.mark.parametrize("inputs", ["abc", b"abc", {"email": "a@b.c"}, 5, None])
def test_one_input_is_not_taken_for_several(inputs: Any) -> None:
    with pytest.raises(DefinitionError, match="start_many takes the inputs of several runs"):
        checked_inputs(inputs)


def test_inputs_may_come_from_a_generator() -> None:
    assert checked_inputs(number for number in range(3)) == [0, 1, 2]


def test_an_id_that_no_run_can_have_is_not_found() -> None:
    assert checked_run_id("01900000-0000-7000-8000-000000000000") == "01900000-0000-7000-8000-000000000000"
    for other in ("\ud800", "żółw"):
        with pytest.raises(RunNotFound):
            checked_run_id(other)


# -- when


def test_a_run_is_due_at_once_after_its_delay_or_at_its_time() -> None:
    at = datetime(2027, 1, 15, 14, tzinfo=timezone(timedelta(hours=1)))

    assert due_at(NOON, None, None) == NOON
    assert due_at(NOON, "90s", None) == NOON + 90
    assert due_at(NOON, timedelta(minutes=1), None) == NOON + 60
    assert due_at(NOON, None, at) == NOON + 3600


def test_a_time_that_has_passed_is_now() -> None:
    assert due_at(NOON, None, datetime(1999, 1, 1, tzinfo=UTC)) == NOON


def test_a_time_without_a_zone_is_refused_with_what_to_write() -> None:
    with pytest.raises(DefinitionError, match=r"at needs a timezone: 2027-01-15T12:00:00 is a different instant in each; write datetime"):
        due_at(NOON, None, datetime(2027, 1, 15, 12))  # noqa: DTZ001  # it is what is refused


@pytest.mark.parametrize("at", ["2027-01-15", 5, NOON])
def test_what_is_no_time_is_refused(at: Any) -> None:
    with pytest.raises(DefinitionError, match="at is a datetime with a timezone"):
        due_at(NOON, None, at)


def test_a_delay_and_a_time_together_are_refused() -> None:
    with pytest.raises(DefinitionError, match="delay or at, not both"):
        due_at(NOON, "1s", datetime(2027, 1, 16, tzinfo=UTC))


@pytest.mark.parametrize("delay", [5, "5"])
def test_a_delay_without_a_unit_is_refused(delay: Any) -> None:
    with pytest.raises(ValueError, match="delay needs a unit"):
        due_at(NOON, delay, None)


def test_a_run_ends_before_datetimes_do() -> None:
    with pytest.raises(DefinitionError, match="the delay ends after the year 9999"):
        due_at(NOON, timedelta(days=999_999_999), None)
    with pytest.raises(DefinitionError, match="the timeout ends after the year 9999"):
        run_timeout("1 day", None, LAST_INSTANT)
    with pytest.raises(DefinitionError, match="at ends after the year 9999"):
        due_at(NOON, None, datetime.max.replace(tzinfo=UTC))


def test_a_timeout_is_the_workflows_unless_the_start_gives_one() -> None:
    assert run_timeout(None, None, NOON) is None
    assert run_timeout(None, 60.0, NOON) == 60.0
    assert run_timeout("5s", 60.0, NOON) == 5.0


# -- what


def published(version: str | None, *, takes_version: bool = False, queue: str = "mail") -> Definition:
    return Definition("welcome", version, queue, 3, 60.0, takes_version, "{}", "{}")


def test_a_workflow_at_hand_says_what_a_start_leaves_out() -> None:
    @workflow(version="v2", queue="mail", priority=3, timeout="1m")
    def welcome(input: int = 5) -> str:
        return "welcome"

    target = target_of(welcome, "v1")

    assert target[:5] == ("welcome", "v1", "mail", 3, 60.0)
    assert (target.input, target.input_optional, target.output) == (int, True, str)


@pytest.mark.parametrize(
    ("known", "asked", "version", "queue"),
    [
        ([None, "v1"], None, None, "mail"),
        (["v9", "v10"], None, "v10", "mail"),
        (["v9", "v10"], "v9", "v9", "mail"),
        (["v9"], "v1", "v1", "default"),
        ([], "v1", "v1", "default"),
        ([], None, UNRESOLVED, "default"),
    ],
)
def test_a_name_means_what_workers_have_published(known: list[str | None], asked: str | None, version: str | None, queue: str) -> None:
    others = [published("v99")._replace(name="other")]

    target = published_target("welcome", asked, [*others, *(published(each) for each in known)])

    assert target[:3] == ("welcome", version, queue)
    assert (target.input, target.output) == (Any, Any)


def test_a_version_that_only_a_taker_of_all_versions_runs_is_started_as_that_says() -> None:
    takers = [published("v9", takes_version=True, queue="old"), published("v10", takes_version=True, queue="new")]

    assert published_target("welcome", "v1", [*takers, published("v11")])[:3] == ("welcome", "v1", "new")


@pytest.mark.parametrize("target", [print, None, 5])
def test_what_is_neither_a_workflow_nor_a_name_is_not_started(target: Any) -> None:
    with pytest.raises(DefinitionError, match=r"start takes a Workflow or its name, not .*; is it decorated with @workflow\?"):
        checked_target(target, None)


@pytest.mark.parametrize("version", ["", 5, "nul\0", UNRESOLVED])
def test_what_cannot_be_a_version_is_not_started(version: Any) -> None:
    with pytest.raises(DefinitionError, match="version"):
        checked_target("welcome", version)
