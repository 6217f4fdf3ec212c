"""What pages show of the whole: runs without payloads, counts with an end, steps at a glance, ends, speeds, and what waits."""

from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stepwell.core.failure import error_text
from stepwell.core.filters import by_id, earliest_id
from stepwell.core.naming import BODY
from stepwell.core.records import (
    UNRESOLVED,
    Backlog,
    Ends,
    Kind,
    LiveVersion,
    Page,
    RunFilter,
    RunSummary,
    Speed,
    StepChip,
    Waiting,
)
from stepwell.core.registry import Lane
from stepwell.core.status import Action, RunStatus
from stepwell.errors import ErrorInfo
from stepwell.store.port import Store
from tests.store.making import (
    ALL,
    BOB,
    FIRST,
    NOW,
    attempt,
    bring_to,
    claimed_run,
    claims,
    definition,
    failure,
    leave,
    move,
    new_run,
    new_worker,
    outcome,
    progress,
    run_id,
    started,
    write,
)

SECOND = run_id(2)
NOT_SHOWN = {"preview", "error", "paused_by"}
"""What a summary has in a way of its own."""


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def named(value: object) -> str:
    """Parameters of a test, by what they say."""
    return "-".join(value) or "all" if isinstance(value, dict) else str(value)


def number_of(run: str) -> int:
    return int(run[-12:], 16)


async def summaries(store: Store, where: RunFilter = ALL, **options: Any) -> Page[RunSummary]:
    return await store.summaries(where, **{"newest": True, "limit": 100, "cursor": None, **options})


async def found(store: Store, where: RunFilter = ALL, **options: Any) -> list[int]:
    return [number_of(run.id) for run in await summaries(store, where, **options)]


async def some_runs(store: Store) -> None:
    """Run 1 is completed, 2 failed, 3 canceled, 4 paused, 5 sleeps, 6 runs, 7 and 8 wait."""
    await store.enqueue([new_run(number) for number in range(1, 7)])
    await claims(store)
    await write(store, move(Action.COMPLETE), move(Action.FAIL, run=run_id(2)), move(Action.PARK, run=run_id(5)))
    await store.act(run_id(3), Action.CANCEL, NOW)
    await store.act(run_id(4), Action.PAUSE, NOW)
    await store.enqueue([new_run(7), new_run(8)])


# -- summaries


async def test_a_summary_says_what_the_run_says(store: Store) -> None:
    await some_runs(store)
    await store.enqueue([
        new_run(9, key="order-9", tags=("eu", "big"), version="v2", priority=7, queue="slow", parent_id=FIRST, schedule="daily",
                scheduled_at=NOW, available_at=NOW + 60),
        new_run(10, version=UNRESOLVED),
    ])  # fmt: skip
    await write(store, progress(3.0, run=run_id(6), message="three"))

    shown = await summaries(store)
    runs = await store.find(ALL, newest=True, limit=100, cursor=None)

    assert len(shown) == 10
    for summary, run in zip(shown, runs, strict=True):
        for field in fields(summary):
            if field.name not in NOT_SHOWN:
                assert getattr(summary, field.name) == getattr(run, field.name), field.name


async def test_of_a_paused_run_it_is_said_who_has_paused_it(store: Store) -> None:
    await store.enqueue([new_run(number) for number in range(1, 5)])
    await store.act(FIRST, Action.PAUSE, NOW, "ada")
    await store.act(FIRST, Action.RESUME, NOW, "ada")
    await store.act(FIRST, Action.PAUSE, NOW, "grace")
    await store.act(FIRST, Action.PAUSE, NOW, "ada")  # it is paused already
    await store.act(SECOND, Action.PAUSE, NOW, "ada")
    await store.act(SECOND, Action.RESUME, NOW)
    await store.act(run_id(3), Action.PAUSE, NOW)

    assert [run.paused_by for run in await summaries(store)] == [None, None, None, "grace"]
    assert {run.id: run.paused_by for run in await store.active(10)} == {FIRST: "grace", SECOND: None, run_id(3): None, run_id(4): None}
    assert (await store.summaries_of([FIRST]))[FIRST].paused_by == "grace"


async def test_a_run_that_changed_code_has_paused_was_paused_by_nobody(store: Store) -> None:
    await store.enqueue([new_run()])
    await store.act(FIRST, Action.PAUSE, NOW, "ada")
    await store.act(FIRST, Action.RESUME, NOW)
    await claims(store)
    await write(store, move(Action.DIVERGE, claim=1))

    (run,) = await summaries(store)

    assert (run.status, run.paused_by) == (RunStatus.PAUSED, None)


async def test_a_fork_says_of_which_run_it_was_made(store: Store) -> None:
    await claimed_run(store)
    await write(store, outcome("charge", 1), outcome("ship", 2))
    await store.fork(FIRST, new_run(2), "ship")

    (fork, _) = await summaries(store)

    assert (fork.id, fork.forked_from) == (SECOND, FIRST)


@pytest.mark.parametrize(
    ("input", "preview"),
    [("null", "null"), ('{"id": 7}', '{"id": 7}'), ('"' + "é" * 200 + '"', '"' + "é" * 119), ("", "")],
    ids=["none", "short", "long", "to be computed"],
)
async def test_of_the_input_the_first_hundred_and_twenty_characters_are_shown(store: Store, input: str, preview: str) -> None:
    await store.enqueue([new_run(input=input)])

    (run,) = await summaries(store)

    assert run.preview == preview


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (ErrorInfo("CardDeclined", "no funds", traceback="File shop.py"), "CardDeclined: no funds"),
        (ErrorInfo("CardDeclined", ""), "CardDeclined"),
        (ErrorInfo("ValueError", 'a "quote"\nand a line'), 'ValueError: a "quote"\nand a line'),
        (ErrorInfo("ValueError", "ü" * 300), "ValueError: " + "ü" * 188),
    ],
    ids=["with a message", "without", "with odd signs", "long"],
)
async def test_of_an_error_a_line_is_shown(store: Store, error: ErrorInfo, shown: str) -> None:
    await claimed_run(store)
    await write(store, move(Action.FAIL, error=error_text(error)))

    (run,) = await summaries(store)

    assert run.error == shown
    assert len(run.error) <= 200


@pytest.mark.parametrize("newest", [False, True])
@pytest.mark.parametrize(
    "where",
    [
        RunFilter(),
        RunFilter(statuses=frozenset({RunStatus.FAILED, RunStatus.PENDING})),
        RunFilter(statuses=frozenset(RunStatus)),
        RunFilter(statuses=frozenset()),
        RunFilter(workflow="pay", statuses=frozenset({RunStatus.COMPLETED, RunStatus.RUNNING})),
        RunFilter(search="declined"),
        RunFilter(workflow="ship"),
        RunFilter(created_after=NOW - 9_996.5),
        RunFilter(finished_before=NOW + 1, statuses=frozenset({RunStatus.FAILED, RunStatus.CANCELED})),
    ],
    ids=["all", "statuses", "every status", "no status", "workflow", "text", "nothing", "time", "ended"],
)
async def test_pages_of_summaries_are_those_of_runs_there_and_back(store: Store, where: RunFilter, newest: bool) -> None:
    await some_runs(store)
    cursors: list[str | None] = [None]
    for cursor in cursors:
        shown = await store.summaries(where, newest=newest, limit=2, cursor=cursor)
        runs = await store.find(where, newest=newest, limit=2, cursor=cursor)
        assert [run.id for run in shown] == [run.id for run in runs]
        assert (shown.next_cursor, shown.previous_cursor) == (runs.next_cursor, runs.previous_cursor)
        cursors += [each for each in (shown.next_cursor, shown.previous_cursor) if each is not None and each not in cursors]


@pytest.mark.parametrize("cursor", ["", "7", "x:" + FIRST])
async def test_what_is_no_cursor_is_refused(store: Store, cursor: str) -> None:
    with pytest.raises(ValueError, match="cursor"):
        await summaries(store, cursor=cursor)


# -- ranges


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"id_from": run_id(3)}, [5, 4, 3]),
        ({"id_below": run_id(3)}, [2, 1]),
        ({"id_from": run_id(2), "id_below": run_id(5)}, [4, 3, 2]),
        ({"id_from": run_id(5), "id_below": run_id(2)}, []),
        ({"id_from": run_id(2), "statuses": frozenset({RunStatus.CANCELED, RunStatus.PENDING})}, [5, 4, 3, 2]),
        ({"id_from": run_id(2), "id_prefix": run_id(1)[:-1]}, [5, 4, 3, 2]),
        ({"id_from": run_id(2), "workflow": "pay", "id_below": run_id(5)}, [4, 3, 2]),
        ({"id_from": run_id(2), "tags": ("even",)}, [4, 2]),
    ],
    ids=named,
)
async def test_runs_are_found_by_a_range_of_ids(store: Store, where: dict[str, Any], expected: list[int]) -> None:
    await store.enqueue([new_run(number, tags=("even",) if number % 2 == 0 else ()) for number in range(1, 6)])
    await store.act(run_id(3), Action.CANCEL, NOW)

    assert await found(store, RunFilter(**where)) == expected
    assert sum((await store.tally(RunFilter(**where), 100)).values()) == len(expected)
    assert sum((await store.count(RunFilter(**where))).values()) == len(expected)


async def test_a_time_is_a_range_of_ids(store: Store) -> None:
    ids = [earliest_id(1_800_000_000_000 + place) + "-7000-8000-000000000001" for place in range(4)]
    await store.enqueue([new_run(number, id=run) for number, run in enumerate(ids, 1)])

    async def created(**times: Any) -> list[str]:
        return [run.id for run in await summaries(store, by_id(RunFilter(**times)), newest=False)]

    assert await created(created_after=NOW + 0.001) == ids[1:]
    assert await created(created_before=NOW + 0.002) == ids[:2]
    assert await created(created_after=NOW + 0.001_5, created_before=NOW + 0.002_5) == ids[1:3]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"within": 3}, [8, 7, 6]),
        ({"within": 3, "id_below": run_id(7)}, [6, 5, 4]),
        ({"within": 3, "statuses": frozenset({RunStatus.RUNNING, RunStatus.PAUSED})}, [6]),
        ({"within": 7, "search": "declined"}, [2]),
        ({"within": 6, "search": "declined"}, []),
        ({"within": 3, "workflow": "pay"}, [8, 7, 6]),
        ({"within": 3, "tags": ("eu",)}, []),
    ],
    ids=named,
)
@pytest.mark.parametrize("newest", [False, True])
async def test_only_the_newest_are_looked_at_if_one_wants_so(
    store: Store, where: dict[str, Any], expected: list[int], newest: bool
) -> None:
    await some_runs(store)

    assert await found(store, RunFilter(**where), newest=newest) == (expected if newest else expected[::-1])
    assert sum((await store.tally(RunFilter(**where), 100)).values()) == len(expected)


async def test_the_next_page_of_the_newest_looks_at_the_same_ones(store: Store) -> None:
    await some_runs(store)
    where = RunFilter(within=5)

    first = await summaries(store, where, limit=3)
    second = await summaries(store, where, limit=3, cursor=first.next_cursor)

    assert [[number_of(run.id) for run in page] for page in (first, second)] == [[8, 7, 6], [5, 4]]
    assert second.next_cursor is None


# -- active


async def test_active_runs_are_those_that_have_not_ended_running_ones_first(store: Store) -> None:
    await some_runs(store)

    assert [number_of(run.id) for run in await store.active(10)] == [6, 8, 7, 5, 4]
    assert [number_of(run.id) for run in await store.active(2)] == [6, 8]


async def test_newer_runs_that_wait_do_not_take_the_place_of_one_that_is_running(store: Store) -> None:
    await claimed_run(store)
    await store.enqueue([new_run(number) for number in range(2, 40)])

    assert [number_of(run.id) for run in await store.active(3)] == [1, 39, 38]


async def test_where_nothing_goes_on_nothing_is_active(store: Store) -> None:
    await bring_to(store, RunStatus.COMPLETED)

    assert await store.active(10) == []


# -- tally


async def test_each_status_is_counted_also_where_there_is_none_of_it(store: Store) -> None:
    await store.enqueue([new_run(number) for number in range(1, 4)])
    await store.act(FIRST, Action.CANCEL, NOW)

    assert dict(await store.tally(ALL, 10)) == {
        status: {RunStatus.PENDING: 2, RunStatus.CANCELED: 1}.get(status, 0) for status in RunStatus
    }


async def test_statuses_that_are_not_asked_for_are_left_out(store: Store) -> None:
    await some_runs(store)

    assert dict(await store.tally(RunFilter(statuses=frozenset({RunStatus.FAILED, RunStatus.PENDING})), 10)) == {
        RunStatus.PENDING: 2,
        RunStatus.FAILED: 1,
    }
    assert dict(await store.tally(RunFilter(statuses=frozenset()), 10)) == {}


@pytest.mark.parametrize("where", [{}, {"workflow": "pay"}, {"within": 100}, {"tags": ("eu",)}], ids=named)
async def test_nothing_is_counted_beyond_one_more_than_the_cap(store: Store, where: dict[str, Any]) -> None:
    await store.enqueue([new_run(number, tags=("eu",)) for number in range(1, 9)])

    for cap, expected in ((3, 4), (7, 8), (8, 8), (9, 8)):
        assert (await store.tally(RunFilter(**where), cap))[RunStatus.PENDING] == expected


@pytest.mark.parametrize(
    "where",
    [
        {"workflow": "pay"},
        {"workflow": "ship"},
        {"version": ""},
        {"search": "declined"},
        {"queue": "default", "created_before": NOW - 9_995.5},
        {"id_prefix": run_id(8)},
        {"workflow": "pay", "statuses": frozenset({RunStatus.COMPLETED, RunStatus.SLEEPING})},
        {"finished_before": NOW + 1},
    ],
    ids=named,
)
async def test_what_is_tallied_is_what_is_counted(store: Store, where: dict[str, Any]) -> None:
    await some_runs(store)

    tallied = await store.tally(RunFilter(**where), 100)

    assert {status: count for status, count in tallied.items() if count} == dict(await store.count(RunFilter(**where)))


# -- chips


async def chips(store: Store, limit: int = 6) -> tuple[int, list[tuple[str, str, str]]]:
    count, steps = (await store.chips([FIRST], limit))[FIRST]
    return count, [(chip.key, chip.status, chip.kind) for chip in steps]


async def test_the_steps_of_a_run_are_shown_in_the_order_in_which_they_ended(store: Store) -> None:
    await claimed_run(store)
    await write(
        store,
        outcome("zero", 1),
        outcome("nap", 2, kind=Kind.SLEEP),
        failure("charge", 3),
        outcome("go", 4, kind=Kind.SIGNAL),
        outcome("a-child", 5, kind=Kind.CHILD),
        outcome("n", 6, kind=Kind.VALUE),
    )

    assert await chips(store) == (
        6,
        [
            ("zero", "completed", "function"),
            ("nap", "completed", "sleep"),
            ("charge", "failed", "function"),
            ("go", "completed", "signal"),
            ("a-child", "completed", "child"),
            ("n", "completed", "value"),
        ],
    )


async def test_of_many_steps_the_last_are_shown(store: Store) -> None:
    await claimed_run(store)
    await write(store, *(outcome(f"step:{60 - number}", number) for number in range(1, 51)), attempt("retried"), started("slow"))

    assert await chips(store, 4) == (
        52,
        [("step:11", "completed", "function"), ("step:10", "completed", "function"),
         ("retried", "retrying", "function"), ("slow", "running", "function")],
    )  # fmt: skip
    assert await chips(store, 1) == (52, [("slow", "running", "function")])


async def test_timers_of_the_body_are_no_steps(store: Store) -> None:
    await claimed_run(store)
    await write(store, outcome("~timer", 1, kind=Kind.TIMER, value=None), outcome("charge", 2))

    assert await chips(store) == (1, [("charge", "completed", "function")])


async def test_a_step_that_is_tried_again_is_shown_once(store: Store) -> None:
    await claimed_run(store)
    await write(store, attempt("charge", 1), attempt("charge", 2, started_at=NOW + 5), attempt("ship", 1, started_at=NOW + 1))
    assert await chips(store) == (2, [("ship", "retrying", "function"), ("charge", "retrying", "function")])

    await write(store, started("charge", 3, started_at=NOW + 6))
    assert await chips(store) == (2, [("ship", "retrying", "function"), ("charge", "running", "function")])

    await write(store, attempt("charge", 3, started_at=NOW + 6))
    assert await chips(store) == (2, [("ship", "retrying", "function"), ("charge", "retrying", "function")])

    await write(store, outcome("charge", 1, attempt=4))
    assert await chips(store) == (2, [("charge", "completed", "function"), ("ship", "retrying", "function")])


async def test_steps_under_way_are_shown_in_the_order_of_their_start(store: Store) -> None:
    await claimed_run(store)
    await write(store, started("b", started_at=NOW + 1), started("a", started_at=NOW + 2), started("done"), outcome("done", 1))

    assert await chips(store) == (
        3,
        [("done", "completed", "function"), ("b", "running", "function"), ("a", "running", "function")],
    )


async def test_what_the_body_or_its_failed_attempts_leave_is_no_step(store: Store) -> None:
    await claimed_run(store)
    await write(store, attempt(BODY), attempt("gone", canceled=True, error=None, due=None))

    assert await chips(store) == (0, [])


async def test_a_step_that_was_to_be_tried_again_has_failed_when_its_run_has_ended(store: Store) -> None:
    await claimed_run(store)
    await write(store, attempt("charge"), started("ship"))
    await store.act(FIRST, Action.CANCEL, NOW)

    assert await chips(store) == (1, [("charge", "failed", "function")])


async def test_what_a_worker_was_at_that_has_left_is_not_under_way(store: Store) -> None:
    await claimed_run(store)
    await write(store, started("charge"))
    await leave(store)

    assert await chips(store) == (0, [])


async def test_attempts_that_a_retry_has_taken_back_are_not_shown(store: Store) -> None:
    await claimed_run(store)
    failed = error_text(ErrorInfo("StepFailed", "ship", steps=("ship",)))
    await write(store, outcome("charge", 1), attempt("ship", asked=1), failure("ship", 2, asked=1, attempt=2))
    await write(store, move(Action.FAIL, error=failed))
    await store.act(FIRST, Action.RETRY, NOW)

    assert await chips(store) == (1, [("charge", "completed", "function")])


async def test_of_each_run_its_own_steps_are_shown_and_of_none_none(store: Store) -> None:
    await store.enqueue([new_run(1), new_run(2), new_run(3)])
    await claims(store)
    await write(store, outcome("one", 1), outcome("two", 1, run=SECOND), outcome("more", 2, run=SECOND))

    shown = await store.chips([SECOND, run_id(3), FIRST, run_id(9), "no\0id"], 1)

    assert dict(shown) == {
        SECOND: (2, [StepChip(key="more", status="completed", kind="function")]),
        run_id(3): (0, []),
        FIRST: (1, [StepChip(key="one", status="completed", kind="function")]),
        run_id(9): (0, []),
        "no\0id": (0, []),
    }
    assert dict(await store.chips([], 6)) == {}


async def test_runs_are_shown_by_their_ids_and_those_that_are_not_there_are_left_out(store: Store) -> None:
    await store.enqueue([new_run(1), new_run(2), new_run(3)])
    page = await store.summaries(ALL, newest=False, limit=2, cursor=None)

    assert await store.summaries_of([FIRST, SECOND, run_id(9), "x\0y"]) == {summary.id: summary for summary in page}
    assert await store.summaries_of([]) == {}


# -- ends


async def end_at(store: Store, number: int, seconds: float, action: Action) -> None:
    if action is Action.CANCEL:
        await store.act(run_id(number), action, NOW + seconds)
    else:
        await write(store, move(action, run=run_id(number)), now=NOW + seconds)


async def test_ends_are_counted_in_intervals_each_of_which_is_there(store: Store) -> None:
    await store.enqueue([new_run(number) for number in range(1, 9)])
    await claims(store)
    for number, (seconds, action) in enumerate(
        [(0.0, Action.COMPLETE), (9.999, Action.FAIL), (10.0, Action.COMPLETE), (11.0, Action.COMPLETE), (29.5, Action.CANCEL),
         (-0.001, Action.COMPLETE), (30.0, Action.FAIL)], 1,
    ):  # fmt: skip
        await end_at(store, number, seconds, action)

    assert await store.ends(NOW, NOW + 30, 10.0) == [
        Ends(at=at(NOW), completed=1, failed=1),
        Ends(at=at(NOW + 10), completed=2),
        Ends(at=at(NOW + 20), canceled=1),
    ]


async def test_ends_of_one_workflow_are_counted_by_themselves(store: Store) -> None:
    await store.enqueue([new_run(1), new_run(2, workflow="ship")])
    for number in (1, 2):
        await store.act(run_id(number), Action.CANCEL, NOW)

    assert await store.ends(NOW, NOW + 1, 1.0, "ship") == [Ends(at=at(NOW), canceled=1)]
    assert await store.ends(NOW, NOW + 1, 1.0, "other") == [Ends(at=at(NOW))]


async def test_ends_are_counted_for_each_workflow_of_which_a_run_has_ended(store: Store) -> None:
    await store.enqueue([new_run(1), new_run(2, workflow="ship"), new_run(3, workflow="ship"), new_run(4, workflow="other")])
    for number, seconds in ((1, 0.0), (2, 5.0), (3, 15.0), (4, 20.0)):
        await store.act(run_id(number), Action.CANCEL, NOW + seconds)

    assert await store.ends_by_workflow(NOW, NOW + 20, 10.0) == {
        "pay": [Ends(at=at(NOW), canceled=1), Ends(at=at(NOW + 10))],
        "ship": [Ends(at=at(NOW), canceled=1), Ends(at=at(NOW + 10), canceled=1)],
    }
    assert await store.ends_by_workflow(NOW + 30, NOW + 40, 10.0) == {}


async def test_the_last_interval_may_be_shorter(store: Store) -> None:
    await store.enqueue([new_run(1)])
    await store.act(FIRST, Action.CANCEL, NOW + 24)

    assert await store.ends(NOW, NOW + 25, 10.0) == [Ends(at=at(NOW)), Ends(at=at(NOW + 10)), Ends(at=at(NOW + 20), canceled=1)]


async def test_a_run_that_was_retried_has_no_end(store: Store) -> None:
    await bring_to(store, RunStatus.FAILED)
    await store.act(FIRST, Action.RETRY, NOW)

    assert await store.ends(NOW - 5, NOW + 5, 10.0) == [Ends(at=at(NOW - 5))]


# -- speeds


async def test_speeds_are_those_of_the_newest_runs_that_have_ended(store: Store) -> None:
    await store.enqueue([new_run(number) for number in range(1, 8)])
    await claims(store, now=NOW)
    for number, seconds in ((1, 100.0), (2, 1.0), (3, 2.0), (4, 4.0)):
        await end_at(store, number, seconds, Action.COMPLETE)
    await end_at(store, 5, 7.0, Action.FAIL)
    await store.act(run_id(6), Action.CANCEL, NOW + 8)

    assert await store.speeds(5) == [
        Speed(workflow="pay", runs=5, failed=1, p50=timedelta(seconds=2), p95=timedelta(seconds=4)),
    ]
    assert await store.speeds(6) == [
        Speed(workflow="pay", runs=6, failed=1, p50=timedelta(seconds=2), p95=timedelta(seconds=100)),
    ]


async def test_of_workflows_that_have_not_ended_any_run_nothing_is_said(store: Store) -> None:
    await store.register(new_worker("carol", definition("billing"), definition("billing", "v2"), definition("Zoo")))
    await store.enqueue([new_run(1, workflow="audit"), new_run(2, workflow="audit", version="v2")])

    assert await store.speeds(5) == [Speed(workflow=name, runs=0, failed=0, p50=None, p95=None) for name in ("Zoo", "audit", "billing")]


async def test_a_run_that_was_canceled_before_it_began_has_no_speed(store: Store) -> None:
    await store.enqueue([new_run(1)])
    await store.act(FIRST, Action.CANCEL, NOW)

    assert await store.speeds(5) == [Speed(workflow="pay", runs=1, failed=0, p50=None, p95=None)]


async def test_behind_a_long_backlog_speeds_are_not_looked_for(store: Store) -> None:
    await store.enqueue([new_run(number) for number in range(1, 30)])
    await store.act(FIRST, Action.CANCEL, NOW)

    assert [speed.runs for speed in await store.speeds(2)] == [0]
    assert [speed.runs for speed in await store.speeds(3)] == [1]


# -- waits

ALL_OF_THEM = [(run_id(0), run_id(99))]


async def test_a_run_has_waited_from_when_it_could_begin_until_it_did(store: Store) -> None:
    await store.enqueue([new_run(1, created_at=NOW - 90), new_run(2, created_at=NOW - 100, available_at=NOW - 30)])
    await claims(store, now=NOW)

    assert await store.waits(ALL_OF_THEM, 5, NOW + 1_000) == [[90.0, 30.0]]


async def test_a_run_that_waits_still_has_waited_until_now(store: Store) -> None:
    await store.enqueue([new_run(1, created_at=NOW - 90)])

    assert await store.waits(ALL_OF_THEM, 5, NOW + 10) == [[100.0]]


async def test_a_run_that_waits_for_a_time_or_for_somebody_or_has_ended_unbegun_waits_for_no_worker(store: Store) -> None:
    await store.enqueue([new_run(1, available_at=NOW + 60), new_run(2), new_run(3)])
    await store.act(SECOND, Action.PAUSE, NOW)
    await store.act(run_id(3), Action.CANCEL, NOW)

    assert await store.waits(ALL_OF_THEM, 5, NOW) == [[]]


async def test_a_run_that_was_ready_again_after_it_began_has_waited_since_its_creation(store: Store) -> None:
    await store.enqueue([new_run(1, created_at=NOW - 90)])
    await claims(store, now=NOW)
    await write(store, move(Action.FAIL), now=NOW + 5)
    await store.act(FIRST, Action.RETRY, NOW + 500)

    assert await store.waits(ALL_OF_THEM, 5, NOW + 1_000) == [[90.0]]


async def test_of_each_part_the_first_and_the_last_runs_are_looked_at_in_the_order_of_their_ids(store: Store) -> None:
    await store.enqueue([new_run(number, created_at=NOW - number) for number in (5, 1, 3, 2, 8, 4)])
    parts = [(run_id(0), run_id(3)), (run_id(3), run_id(8)), (run_id(8), run_id(8)), (run_id(4), run_id(99))]

    assert await store.waits(parts, 2, NOW) == [[1.0, 2.0], [3.0, 4.0, 5.0], [], [4.0, 5.0, 8.0]]
    assert await store.waits(parts, 1, NOW) == [[1.0, 2.0], [3.0, 5.0], [], [4.0, 8.0]]
    assert await store.waits([], 1, NOW) == []


async def test_waits_of_one_workflow_are_asked_for_by_themselves(store: Store) -> None:
    await store.enqueue([new_run(1, created_at=NOW - 1), new_run(2, created_at=NOW - 2, workflow="ship")])

    assert await store.waits(ALL_OF_THEM, 1, NOW, "ship") == [[2.0]]
    assert await store.waits(ALL_OF_THEM, 5, NOW, "other") == [[]]


# -- what waits


async def test_live_versions_are_those_of_runs_that_have_not_ended(store: Store) -> None:
    await some_runs(store)
    await store.enqueue([
        new_run(9, version="v2"), new_run(10, version="v1"), new_run(11, version="v2"), new_run(12, version=UNRESOLVED),
        new_run(13, workflow="ship", version="v1"), new_run(14, workflow="audit"),
    ])  # fmt: skip
    await store.act(run_id(14), Action.CANCEL, NOW)

    assert await store.live_versions(100) == [
        LiveVersion(workflow="pay", version=None, count=5),
        LiveVersion(workflow="pay", version=UNRESOLVED, count=1),
        LiveVersion(workflow="pay", version="v1", count=1),
        LiveVersion(workflow="pay", version="v2", count=2),
        LiveVersion(workflow="ship", version="v1", count=1),
    ]


async def test_of_each_status_the_oldest_runs_are_looked_at_for_their_version(store: Store) -> None:
    await store.enqueue([new_run(1, version="v1"), *(new_run(number, version="v2") for number in range(2, 10))])
    await store.act(run_id(9), Action.PAUSE, NOW)

    assert await store.live_versions(3) == [
        LiveVersion(workflow="pay", version="v1", count=1),
        LiveVersion(workflow="pay", version="v2", count=3),
    ]


async def test_the_backlog_is_what_can_be_claimed_now_by_lane(store: Store) -> None:
    await some_runs(store)
    await store.enqueue([
        new_run(9, queue="slow", created_at=NOW - 50), new_run(10, version="v2", created_at=NOW - 40),
        new_run(11, version=UNRESOLVED, created_at=NOW - 30),
        new_run(12, workflow="later", available_at=NOW + 60),
    ])  # fmt: skip

    assert await store.backlog(100) == Backlog(
        oldest_ready_at=at(NOW - 9_993),
        ready=(
            Waiting(queue="default", workflow="pay", version=None, count=2),
            Waiting(queue="default", workflow="pay", version=UNRESOLVED, count=1),
            Waiting(queue="default", workflow="pay", version="v2", count=1),
            Waiting(queue="slow", workflow="pay", version=None, count=1),
        ),
    )


async def test_a_lane_is_counted_up_to_one_more_than_the_cap(store: Store) -> None:
    await store.enqueue([new_run(number) for number in range(1, 9)])

    assert (await store.backlog(3)).ready == (Waiting(queue="default", workflow="pay", version=None, count=4),)


async def test_where_nothing_waits_there_is_no_backlog(store: Store) -> None:
    await claimed_run(store)
    await store.enqueue([new_run(2, available_at=NOW + 60)])

    assert await store.backlog(10) == Backlog(oldest_ready_at=None, ready=())


async def test_what_is_urgent_does_not_hide_what_has_waited_longest(store: Store) -> None:
    await store.enqueue([new_run(1), *(new_run(number, priority=9) for number in range(2, 20))])

    assert (await store.backlog(10)).oldest_ready_at == at(NOW - 9_999)


async def test_runs_that_wait_for_a_time_do_not_hide_what_has_waited_longest(store: Store) -> None:
    await store.enqueue([new_run(number, available_at=NOW + 60) for number in range(1, 20)])
    await store.enqueue([new_run(20), new_run(21)])

    assert (await store.backlog(10)).oldest_ready_at == at(NOW - 9_980)


async def test_a_run_that_was_resumed_waits_from_then_on(store: Store) -> None:
    await bring_to(store, RunStatus.PAUSED)
    await leave(store)
    await store.act(FIRST, Action.RESUME, NOW + 5)

    assert (await store.backlog(10)).oldest_ready_at == at(NOW + 5)


# -- facts


async def test_facts_say_what_the_database_is(store: Store) -> None:
    facts = await store.facts(lambda: NOW)

    if facts.kind == "memory":
        assert (facts.version, facts.size, facts.migrations, facts.clock_skew) == ("", None, (), None)
        return
    assert facts.kind in ("SQLite", "PostgreSQL")
    assert facts.version[0].isdigit()
    assert facts.size is not None
    assert facts.size > 10_000
    assert facts.migrations[0] == "0001_initial"
    assert (facts.clock_skew is None) == (facts.kind == "SQLite")


async def test_the_clock_of_a_server_is_compared_with_this_machines(store: Store) -> None:
    ahead = (await store.facts(lambda: 0.0)).clock_skew
    later = (await store.facts(lambda: 1_000.0)).clock_skew

    if ahead is not None and later is not None:
        assert ahead > 1_700_000_000  # seconds since 1970
        assert 900.0 < ahead - later <= 1_000.0


async def test_a_store_that_has_nothing_says_so(store: Store) -> None:
    assert list(await summaries(store)) == []
    assert await store.active(10) == []
    assert await store.speeds(5) == []
    assert await store.live_versions(5) == []


async def test_workers_that_are_registered_are_not_in_the_way(store: Store) -> None:
    await store.enqueue([new_run(1), new_run(2, queue="slow")])
    await claims(store, BOB, 10, NOW, Lane("slow", "pay", None))

    assert [waiting.queue for waiting in (await store.backlog(10)).ready] == ["default"]
