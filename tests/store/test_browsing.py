"""Lists that pages turn: workflows, queues, schedules, and the steps of a run. Each page begins where the one before has ended."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from stepwell.core.failure import error_text
from stepwell.core.naming import BODY
from stepwell.core.records import UNRESOLVED, Event, Kind, QueueState, StepRecord
from stepwell.core.registry import Lane
from stepwell.core.status import Action
from stepwell.errors import ErrorInfo, RunNotFound
from stepwell.store.port import Halt, Known, Store
from tests.store.making import (
    ALICE,
    BOB,
    FIRST,
    NOW,
    attempt,
    claimed_run,
    definition,
    failure,
    move,
    new_run,
    new_worker,
    outcome,
    run_id,
    started,
    write,
)
from tests.store.scheduling import declaration, new_schedule

ABSENT = "01890000-0000-7000-8000-00000000ffff"
START = ("", "")


async def published(store: Store, *names: str) -> None:
    await store.register(new_worker("carol", *(definition(name) for name in names)))


# -- what is around a run


async def test_what_decides_whether_a_run_is_claimed_is_read_at_once(store: Store) -> None:
    await store.halt(Halt("queue", "mail"), halted=True, now=NOW)
    await store.halt(Halt("workflow", "pay"), halted=True, now=NOW)
    await store.register(new_worker("carol", definition("pay", "v1"), queues=("mail", "bulk")))
    await store.enqueue([new_run(1), new_run(2, version=UNRESOLVED)])

    halts, workers, lanes = await store.around(100)

    assert halts == {Halt("queue", "mail"), Halt("workflow", "pay")}
    assert sorted(workers, key=lambda state: state.id) == sorted(await store.workers(), key=lambda state: state.id)
    assert lanes == {Lane("default", "pay", UNRESOLVED)}


async def test_a_worker_that_has_gone_is_not_around(store: Store) -> None:
    await store.hand_back(BOB, NOW, 10)

    assert [state.id for state in (await store.around(100)).workers] == [ALICE]


async def test_so_many_workers_are_listed_as_are_asked_for(store: Store) -> None:
    assert [state.id for state in await store.workers(1)] == [ALICE]


# -- workflows


async def names_of(store: Store, find: str = "", after: str = "", limit: int = 100) -> list[str]:
    return [state.name for state in await store.catalog(find, after, limit)]


async def test_workflows_are_listed_by_name_from_a_place_on(store: Store) -> None:
    await published(store, "b", "a", "d", "c", "Z", "é")

    assert await names_of(store) == ["Z", "a", "b", "c", "d", "é"]
    assert await names_of(store, limit=2) == ["Z", "a"]
    assert await names_of(store, after="a", limit=2) == ["b", "c"]
    assert await names_of(store, after="é") == []


async def test_workflows_are_found_by_a_part_of_their_name(store: Store) -> None:
    await published(store, "send_mail", "Send_Letter", "sendXmail", "50%", "pay")

    assert await names_of(store, "SEND") == ["Send_Letter", "sendXmail", "send_mail"]
    assert await names_of(store, "d_m") == ["send_mail"]
    assert await names_of(store, "%") == ["50%"]
    assert await names_of(store, "\\") == []


async def test_a_workflow_is_listed_with_its_versions_and_whether_it_is_paused(store: Store) -> None:
    versions = definition("pay", "v9", retry='{"a":1}'), definition("pay", "v10"), definition("pay")
    await store.register(new_worker("carol", *versions, definition("ship")))
    await store.halt(Halt("workflow", "pay"), halted=True, now=NOW)
    await store.halt(Halt("workflow", "unknown"), halted=True, now=NOW)
    await store.halt(Halt("queue", "ship"), halted=True, now=NOW)

    assert await store.catalog("", "", 100) == [
        Known("pay", {"v9": '{"a":1}', "v10": "{}", None: "{}"}, True),
        Known("ship", {None: "{}"}, False),
        Known("unknown", {}, True),
    ]


async def test_what_is_published_of_a_workflow_is_read_with_whether_it_is_paused(store: Store) -> None:
    versions = [definition("pay"), definition("pay", "v1", queue="bulk", timeout=7.5, takes_version=True), definition("pay", "v2")]
    await store.register(new_worker("carol", *versions, definition("payment")))
    assert await store.published("pay", 100) == (tuple(versions), False)

    await store.halt(Halt("workflow", "pay"), halted=True, now=NOW)

    assert await store.published("pay", 2) == (tuple(versions[:2]), True)


async def test_of_a_workflow_that_nobody_has_published_it_is_known_whether_it_is_paused(store: Store) -> None:
    assert await store.published("none", 100) == ((), False)

    await store.halt(Halt("workflow", "none"), halted=True, now=NOW)

    assert await store.published("none", 100) == ((), True)


async def test_queues_are_those_that_are_named_waited_in_or_paused(store: Store) -> None:
    await store.register(new_worker("carol", definition("pay", queue="named")))
    await store.enqueue([new_run(1, queue="waited")])
    await store.halt(Halt("queue", "paused"), halted=True, now=NOW)
    await store.halt(Halt("queue", "waited"), halted=True, now=NOW)

    everything = [
        QueueState(name="named", paused=False),
        QueueState(name="paused", paused=True),
        QueueState(name="waited", paused=True),
    ]
    assert await store.queues(100) == everything
    assert await store.queues(2) == everything[:2]


# -- figures of some


async def test_speeds_and_ends_of_some_workflows_are_read_without_the_others(store: Store) -> None:
    await claimed_run(store)
    await write(store, move(Action.COMPLETE), now=NOW + 1)

    assert [speed.workflow for speed in await store.speeds(100, ["pay", "none"])] == ["none", "pay"]
    assert [(speed.workflow, speed.runs) for speed in await store.speeds(100, ["pay"])] == [("pay", 1)]
    assert await store.speeds(100, []) == []
    assert set(await store.ends_by_workflow(NOW, NOW + 10, 10.0, ["none", "pay"])) == {"pay"}
    assert await store.ends_by_workflow(NOW, NOW + 10, 10.0, ["none"]) == {}


# -- schedules


async def some_schedules(store: Store) -> None:
    """`a` has two, one of which is paused; `b` has one and had another; `c` had one."""
    here = [declaration(new_schedule("one"), new_schedule("two"), workflow="a"), declaration(new_schedule("three"), workflow="b")]
    gone = [declaration(new_schedule("four"), workflow="b"), declaration(new_schedule("five"), workflow="c")]
    await store.declare(ALICE, gone, None, NOW)
    await store.declare(ALICE, [*here, declaration(workflow="c", digest="two")], None, NOW)
    await store.pause_schedule("a", "two", NOW, "ada")


async def page(store: Store, find: str = "", declared: Any = START, others: Any = START, limit: int = 100) -> list[str]:
    return [f"{each.workflow}/{each.name}" for each in await store.schedules_page(find, declared, others, limit)]


async def test_schedules_are_listed_those_first_that_are_declared(store: Store) -> None:
    await some_schedules(store)

    assert await page(store) == ["a/one", "a/two", "b/three", "b/four", "c/five"]
    assert await page(store, others=None) == ["a/one", "a/two", "b/three"]


async def test_a_page_of_schedules_begins_after_the_last_one_of_the_page_before(store: Store) -> None:
    await some_schedules(store)

    assert await page(store, declared=("a", "one"), limit=3) == ["a/two", "b/three", "b/four"]
    assert await page(store, declared=None, others=("b", "four")) == ["c/five"]
    assert await page(store, declared=None, others=("c", "five")) == []


async def test_schedules_are_found_by_a_part_of_either_name(store: Store) -> None:
    await some_schedules(store)

    assert await page(store, "O") == ["a/one", "a/two", "b/four"]
    assert await page(store, "B") == ["b/three", "b/four"]
    assert await page(store, "_") == []


async def test_a_schedule_in_a_list_says_what_it_says_by_itself(store: Store) -> None:
    await some_schedules(store)

    every = await store.schedules()

    assert sorted(await store.schedules_page("", START, START, 100), key=lambda each: (each.workflow, each.name)) == every


async def test_schedules_that_nobody_has_ever_declared_are_told_from_the_others(store: Store) -> None:
    await some_schedules(store)

    assert await store.unknown_schedules([("a", "one"), ("a", "six"), ("c", "five"), ("d", "one")]) == [("a", "six"), ("d", "one")]
    assert await store.unknown_schedules([]) == []


async def test_of_each_workflow_the_first_schedules_are_listed(store: Store) -> None:
    await some_schedules(store)

    found = await store.schedules_of(["b", "a", "none"], 1)

    assert {name: [each.name for each in listed] for name, listed in found.items()} == {"a": ["one"], "b": ["three"]}
    assert [each.name for each in (await store.schedules_of(["b"], 5))["b"]] == ["three", "four"]


async def test_schedules_that_fire_are_counted_and_those_that_are_late(store: Store) -> None:
    await some_schedules(store)

    assert await store.due_schedules(NOW, 100) == (2, 0)
    assert await store.due_schedules(NOW + 1_000, 100) == (2, 2)
    assert await store.due_schedules(NOW, 0) == (1, 0)


async def test_events_are_told_up_to_a_number(store: Store) -> None:
    await store.enqueue([new_run()])
    assert await store.events(FIRST) == []
    for action in (Action.PAUSE, Action.RESUME, Action.CANCEL):
        await store.act(FIRST, action, NOW, "ada")
    await some_schedules(store)

    assert [event.action for event in await store.events(FIRST)] == ["pause", "resume", "cancel"]
    assert [event.action for event in await store.events(FIRST, 2)] == ["pause", "resume"]
    assert await store.schedule_events("a", "two", 0) == []
    with pytest.raises(RunNotFound):
        await store.events(ABSENT)


# -- a run


async def test_a_run_is_told_with_what_was_done_to_it_last_and_how_its_steps_are_tried_again(store: Store) -> None:
    await store.register(new_worker("carol", definition("pay", "v1", retry='{"a":1}'), definition("pay", retry="{}")))
    await store.enqueue([new_run(1, version="v1", input='{"id": 7}'), new_run(2, version="v2")])
    for action, actor in ((Action.PAUSE, "ada"), (Action.RESUME, None), (Action.PAUSE, "bob")):
        await store.act(FIRST, action, NOW + 0.25, actor)

    run, events, retry = await store.story(FIRST, 2)

    assert (run, retry) == (await store.get(FIRST), '{"a":1}')
    at = datetime.fromtimestamp(NOW + 0.25, UTC)
    assert list(events) == [Event(at=at, action="resume", actor=None), Event(at=at, action="pause", actor="bob")]
    assert (await store.story(run_id(2), 2))[1:] == ([], None)
    with pytest.raises(RunNotFound):
        await store.story(ABSENT, 2)


# -- steps


ERROR = ErrorInfo("CardDeclined", "no funds", traceback="File shop.py")


async def some_steps(store: Store) -> None:
    """All kinds of attempts, of which two began at the same time."""
    await claimed_run(store)
    await write(
        store,
        outcome("order", 1, value='{"id": 7}', started_at=NOW + 1, at=NOW + 2),
        outcome("nap", 2, kind=Kind.SLEEP, value=None, started_at=NOW + 3, at=NOW + 4),
        outcome("~timer", 3, kind=Kind.TIMER, value=None, started_at=NOW + 3, at=NOW + 4),
        attempt("charge", 1, started_at=NOW + 5, finished_at=NOW + 6),
        attempt("charge", 2, canceled=True, error=None, due=None, started_at=NOW + 7.000_001, finished_at=NOW + 8),
        attempt(BODY, 1, started_at=NOW + 5, finished_at=NOW + 6),
        failure("charge", 4, attempt=3, value=error_text(ERROR), started_at=NOW + 9, at=NOW + 10),
        outcome("ship:2", 5, kind=Kind.CHILD, child=ABSENT, started_at=NOW + 11, at=NOW + 12, asked=4),
        outcome("ship:1", 6, value="[1]", started_at=NOW + 11, at=NOW + 12, asked=4),
        started("mail", 1, started_at=NOW + 13),
    )


def bare(record: StepRecord) -> StepRecord:
    """Without what it has returned; of an error, its type."""
    return replace(record, output=None, error=None if record.error is None else ErrorInfo(record.error.type, ""))


def begun(records: list[StepRecord]) -> list[tuple[str, int]]:
    return [(record.key, record.attempt) for record in records]


async def test_a_trace_says_of_each_attempt_what_became_of_it_and_not_what_it_has_returned(store: Store) -> None:
    await some_steps(store)

    traced, every = await store.trace(FIRST, 100), await store.steps(FIRST)

    assert begun(traced) == [
        ("order", 1), ("nap", 1), ("charge", 1), ("charge", 2), ("charge", 3), ("ship:1", 1), ("ship:2", 1), ("mail", 1),
    ]  # fmt: skip
    assert {record.key: record for record in traced} == {record.key: bare(record) for record in every}
    assert traced[4].error == ErrorInfo("CardDeclined", "")


async def test_of_a_trace_the_newest_attempts_are_told(store: Store) -> None:
    await some_steps(store)

    assert begun(await store.trace(FIRST, 2)) == [("ship:2", 1), ("mail", 1)]
    assert await store.trace(ABSENT, 2) == []


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8, 100])
async def test_all_attempts_are_read_page_by_page_each_once(store: Store, limit: int) -> None:
    await some_steps(store)

    found, cursor = list[StepRecord](), None
    while True:
        turned = await store.some_steps(FIRST, None, None, cursor, limit)
        assert 0 < len(turned) <= limit
        found += turned
        cursor = turned.next_cursor
        if cursor is None:
            break

    assert begun(found) == begun(await store.trace(FIRST, 100))
    every = {(record.key, record.attempt): record for record in await store.steps(FIRST)}
    assert {(record.key, record.attempt): record for record in found} == every


async def test_the_attempts_of_one_step_are_read_alone(store: Store) -> None:
    await some_steps(store)

    found = await store.some_steps(FIRST, "charge", None, None, 100)

    assert begun(list(found)) == [("charge", 1), ("charge", 2), ("charge", 3)]
    assert (found.items[2].error, found.next_cursor) == (ERROR, None)
    assert (await store.some_steps(FIRST, "none", None, None, 100)).items == ()


async def test_one_attempt_is_read_alone(store: Store) -> None:
    await some_steps(store)

    assert begun(list(await store.some_steps(FIRST, "charge", 2, None, 100))) == [("charge", 2)]
    assert (await store.some_steps(FIRST, "charge", 9, None, 100)).items == ()


async def test_steps_of_a_run_that_is_not_there_are_asked_for_in_vain(store: Store) -> None:
    with pytest.raises(RunNotFound):
        await store.some_steps(ABSENT, None, None, None, 100)


@pytest.mark.parametrize(
    "cursor", ["", "x", "[]", "[1,2,3]", '[1,2,3,"a",5]', '["a",2,3,"a"]', "[1,2,3,4]", f'[{1 << 70},2,3,"a"]', '[1,2,3,"\\u0000"]', "n:1"]
)
async def test_a_cursor_of_steps_that_no_page_had_is_refused(store: Store, cursor: str) -> None:
    await claimed_run(store)

    with pytest.raises(ValueError, match="is no cursor"):
        await store.some_steps(FIRST, None, None, cursor, 10)
