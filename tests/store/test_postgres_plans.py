"""How PostgreSQL finds the rows of what is asked all the time: by the index made for it, whatever the tables held when it was planned."""

import asyncio
import fcntl
import os
import pickle
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import psycopg
import pytest

from stepwell.core.records import RunFilter
from stepwell.core.status import RunStatus
from stepwell.store.postgres.connection import LIMITS, connection_parameters
from stepwell.store.postgres.store import PostgresStore
from stepwell.store.sql import browsing, reading, surveying
from tests.postgres.shared import FOLDER, GIVEN, fresh_database, server_url
from tests.store.making import NOW, run_id
from tests.store.planned import SCHEDULES, STATEMENTS, Node, Planned, Watched, add_schedules, add_workers, fill

RUNS: Final = 1_000_000

INDEXES: Final[Mapping[str, set[str]]] = {
    "by_key": {"runs_key"},
    "prospect": {"workers_pkey", "runs_ready", "halts_pkey", "lanes_queue_workflow_version_key"},
    "take": {"runs_pkey", "inputs_pkey"},
    "declare_dead": {"workers_pkey"},
    "owned": {"runs_owned"},
    "take_back": {"runs_pkey"},
    "forget_notices": {"notices_pkey"},
    "look": {"runs_ready", "runs_due", "runs_deadline", "notices_pkey", "schedules_changed"},
    "make_ready": {"runs_due", "runs_pkey"},
    "expired": {"runs_deadline"},
    "expire": {"runs_pkey"},
    "heads": {"runs_ready"},
    "ready": {"runs_ready"},
    "won": {"runs_pkey"},
    "pin": {"runs_pkey"},
    "claim": {"runs_pkey"},
    "claimed": {"runs_pkey", "inputs_pkey"},
    "histories": {"outcomes_pkey"},
    "tried": {"attempts_pkey", "outcomes_pkey"},
    "logged": {"logs_pkey"},
    "unread": {"signals_run_id_key", "outcomes_pkey"},
    "outcomes": {"outcomes_pkey"},
    "commit": {"workers_pkey", "runs_pkey"},
    "fence": {"workers_pkey", "runs_pkey"},
    "recorded": {"outcomes_pkey"},
    "progress": {"runs_pkey"},
    "survived": {"runs_pkey"},
    "move": {"runs_pkey"},
    "renew": {"runs_pkey"},
    "renew_input": {"inputs_pkey"},
    "forget_outcomes": {"outcomes_pkey"},
    "forget_attempts": {"attempts_pkey"},
    "notices": {"notices_pkey", "runs_pkey"},
    "news": {"runs_pkey", "signals_pkey"},
    "standing": {"runs_owned"},
    "mailbox": {"runs_pkey", "signals_run_id_key"},
    "raise_news": {"runs_pkey"},
    "awake": {"runs_pkey"},
    "end": {"runs_pkey"},
    "not_awaited": {"runs_pkey"},
    "awaited": {"runs_parent"},
    "canceled_with_its_parent": {"attempts_pkey"},
    "state": {"runs_pkey"},
    "pause": {"runs_pkey"},
    "resume": {"runs_pkey"},
    "cancel": {"runs_pkey"},
    "retry": {"runs_pkey"},
    "take_outcomes_back": {"outcomes_pkey"},
    "void_attempts": {"attempts_pkey"},
    "move_logs": {"logs_pkey"},
    "fork": {"runs_pkey"},
    "standing_attempts": {"attempts_pkey"},
    "tags_of": {"runs_pkey"},
    "delete": {"runs_pkey"},
    "delete_inputs": {"inputs_pkey"},
    "delete_tags": {"tags_pkey"},
    "delete_outcomes": {"outcomes_pkey"},
    "delete_attempts": {"attempts_pkey"},
    "delete_started": {"started_pkey"},
    "delete_logs": {"logs_pkey"},
    "delete_events": {"events_run"},
    "get": {"runs_pkey", "inputs_pkey"},
    "ended": {"runs_pkey"},
    "is_there": {"runs_pkey"},
    "attempts": {"attempts_pkey"},
    "under_way": {"runs_pkey", "started_pkey", "outcomes_pkey", "attempts_pkey"},
    "logs": {"runs_pkey", "logs_pkey"},
    "events": {"runs_pkey", "events_run"},
    "published": {"definitions_pkey", "halts_pkey"},
    "declares": {"workers_pkey"},
    "last_deed": {"schedules_changed"},
    "known_schedules": {"schedules_pkey"},
    "changed_schedules": {"schedules_changed"},
    "cursors": {"schedules_pkey", "runs_pkey"},
    "lock_cursors": {"schedules_pkey"},
    "move_cursors": {"schedules_pkey"},
    "fail_inputs": {"runs_pkey"},
    "supply": {"runs_pkey", "workers_pkey"},
    "supply_input": {"inputs_pkey"},
    "pause_schedule": {"schedules_pkey"},
    "resume_schedule": {"schedules_pkey"},
    "triggered": {"schedules_pkey"},
    "made": {"slots_schedule", "runs_schedule", "events_run"},
    "slots": {"slots_schedule"},
    "subject_events": {"events_subject"},
    "forget_slots": {"slots_schedule", "slots_pkey"},
}
WRITES: Final = (
    "enqueue", "enqueue_inputs", "enqueue_tags", "record", "attempt", "started", "log", "send", "event", "notify",
    "new_release", "declare", "add_slots", "backfilled",
)  # fmt: skip
HOT: Final = (*INDEXES, "heartbeat", *WRITES)
ORDERED: Final = ("ready", "look", "make_ready", "expired", "owned", "logged", "last_deed", "changed_schedules", "slots")
"""What comes first is read first."""

SMALL: Final = {"workers", "lanes"}
"""Tables that may be read as a whole."""

MANY: Final = 300
"""Rows that none of them reads of one index: the batches are of five, the limits 50, and a worker has a hundred runs."""

KINDS: Final = ("kept", "informed", "ignorant")


class Plans(NamedTuple):
    """What each statement did, by its name."""

    kept: Mapping[str, list[Node]]
    """As planned on empty, analyzed tables, to which a million runs came since."""
    informed: Mapping[str, list[Node]]
    """As planned when the million was there, and analyzed."""
    ignorant: Mapping[str, list[Node]]
    """Where nobody has ever analyzed the tables."""
    url: str
    """Where the million is."""

    def of(self, kind: str, name: str) -> list[Node]:
        """Of one statement."""
        found: list[Node] = getattr(self, kind)[name]
        return found


@pytest.fixture(scope="module")
def plans() -> Iterator[Plans]:
    """Made once, since it takes long: by whichever process of the run comes first, if the server is the run's own."""
    folder = os.environ.get(FOLDER)
    if folder is None or os.environ.get(GIVEN):
        with _made() as plans:
            yield plans
        return
    server_url()  # which makes the folder's server
    known = Path(folder) / "plans"
    with ExitStack() as stack:
        with (Path(folder) / "plans-lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not known.exists():
                known.write_bytes(pickle.dumps(stack.enter_context(_made())))
        yield pickle.loads(known.read_bytes())


@contextmanager
def _made() -> Iterator[Plans]:
    with fresh_database() as url, fresh_database() as other:
        with _migrated(url) as connection, Planned(url) as early:
            connection.execute("ANALYZE")
            early.prepare(HOT)
            fill(connection, RUNS)
            kept = early.executed(HOT)
            connection.execute("ANALYZE")
        with _migrated(other) as connection:
            fill(connection, RUNS // 50)
        with Planned(url) as late, Planned(other) as blind:
            late.prepare(HOT)
            blind.prepare(HOT)
            yield Plans(kept, late.executed(HOT), blind.executed(HOT), url)


def _migrated(url: str) -> psycopg.Connection[tuple[Any, ...]]:
    async def migrate() -> None:
        store = PostgresStore(url)
        await store.open()
        await store.close()

    asyncio.run(migrate())
    connection = psycopg.connect(url, autocommit=True)
    add_workers(connection)
    return connection


def used(plan: list[Node]) -> set[str]:
    """The indexes."""
    return {node.index for node in plan if node.index}


def walks(plan: list[Node]) -> list[Node]:
    """Where every row of a table is read that is not small."""
    return [node for node in plan if node.kind == "Seq Scan" and node.table not in SMALL]


def sorts(plan: list[Node]) -> list[tuple[str, ...]]:
    """What is sorted, apart from parameters."""
    return [node.order for node in plan if node.order and not any("jsonb_array" in key for key in node.order)]


# -- what workers ask


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", HOT)
def test_no_statement_of_the_daily_work_reads_a_whole_table(plans: Plans, kind: str, name: str) -> None:
    plan = plans.of(kind, name)

    assert walks(plan) == []
    assert [node for node in plan if node.read > MANY and node.table not in SMALL] == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "indexes"), INDEXES.items(), ids=list(INDEXES))
def test_each_statement_uses_the_index_that_was_made_for_it(plans: Plans, kind: str, name: str, indexes: set[str]) -> None:
    assert used(plans.of(kind, name)) == indexes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ORDERED)
def test_what_comes_first_is_read_in_order_and_not_sorted(plans: Plans, kind: str, name: str) -> None:
    assert sorts(plans.of(kind, name)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_what_can_be_claimed_is_found_with_one_entry_of_the_index_for_each_run(plans: Plans, kind: str) -> None:
    assert sum(node.read for node in plans.of(kind, "ready") if node.index) == 4 * 50  # of each lane
    assert sum(node.read for node in plans.of(kind, "heads") if node.index) == 8  # the highest and the lowest of each lane
    assert sum(node.read for node in plans.of(kind, "look") if node.index) == 5


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_done_to_schedules_is_seen_in_one_entry_of_an_index(plans: Plans, kind: str) -> None:
    for name in ("look", "heartbeat", "last_deed"):
        assert [node.read for node in plans.of(kind, name) if node.index == "schedules_changed"] == [1]


@pytest.mark.parametrize("kind", KINDS)
def test_schedules_are_found_with_one_entry_of_an_index_each(plans: Plans, kind: str) -> None:
    for name in ("cursors", "lock_cursors", "move_cursors"):
        assert [node.read for node in plans.of(kind, name) if node.index == "schedules_pkey"] == [5]


OF_SCHEDULES: Final = [name for name, indexes in INDEXES.items() if "schedules_pkey" in indexes]


@pytest.mark.parametrize("few", [0, 1, 20])
def test_what_was_planned_for_a_few_schedules_that_nobody_has_analyzed_is_right_for_many(few: int) -> None:
    with fresh_database() as url, _migrated(url) as connection, Planned(url) as early:
        connection.execute("ALTER TABLE stepwell.schedules SET (autovacuum_enabled = off)")
        add_schedules(connection, few)
        early.prepare(OF_SCHEDULES)
        add_schedules(connection, SCHEDULES)

        done = early.executed(OF_SCHEDULES)

    assert {name: node.read for name, plan in done.items() for node in plan if node.table == "schedules" and node.read > 5} == {}


@pytest.mark.parametrize("name", INDEXES)
def test_a_plan_that_is_kept_reads_no_more_pages_than_one_that_knows_the_tables(plans: Plans, name: str) -> None:
    assert plans.kept[name][0].pages <= 2 * plans.informed[name][0].pages + 50


# -- what people ask


def _asked(url: str, ask: Callable[[Watched], Awaitable[Any]]) -> list[list[Node]]:
    """The plans of what is asked, on a connection as people's are."""

    async def watch() -> list[list[Node]]:
        parameters = connection_parameters(url, LIMITS | {"jit": "off"})
        async with await psycopg.AsyncConnection.connect(**parameters, autocommit=True) as connection:
            session = Watched(connection, STATEMENTS)
            await ask(session)
            return session.plans

    return asyncio.run(watch())


FAILED: Final = frozenset({RunStatus.FAILED})
COMPLETED: Final = frozenset({RunStatus.COMPLETED})
LISTS: Final = {
    "all": (RunFilter(), "runs_pkey"),
    "status": (RunFilter(statuses=FAILED), "runs_status"),
    "workflow": (RunFilter(workflow="pay1"), "runs_workflow"),
    "many of a workflow": (RunFilter(workflow="pay1", statuses=COMPLETED), "runs_workflow"),
}


@pytest.mark.parametrize(("where", "index"), LISTS.values(), ids=list(LISTS))
@pytest.mark.parametrize("newest", [True, False])
@pytest.mark.parametrize("start", [None, run_id(10_000)])
def test_a_page_of_a_list_is_read_in_order_as_far_as_the_page_goes(
    plans: Plans, where: RunFilter, index: str, newest: bool, start: str | None
) -> None:
    for plan in _asked(plans.url, lambda session: reading.matching(session, where, limit=100, newest=newest, start=start)):
        assert walks(plan) == []
        assert sorts(plan) == []
        assert used(plan) & {index, "runs_pkey"}
        assert max(node.read for node in plan) <= 2_500


@pytest.mark.parametrize("start", [None, run_id(10_000)])
def test_the_thousand_runs_of_a_tag_are_found_without_a_look_at_the_million(plans: Plans, start: str | None) -> None:
    (plan,) = _asked(plans.url, lambda session: reading.matching(session, RunFilter(tags=("t7",)), limit=100, newest=True, start=start))

    assert walks(plan) == []
    assert max(node.read for node in plan) <= 10_000


@pytest.mark.parametrize("status", [RunStatus.COMPLETED, RunStatus.FAILED])
def test_runs_that_ended_before_a_time_are_found_without_a_look_at_those_that_ended_later(plans: Plans, status: RunStatus) -> None:
    where = RunFilter(statuses=frozenset({status}), finished_before=NOW + 1_000.0)

    (plan,) = _asked(plans.url, lambda session: reading.matching(session, where, limit=100, by_end=True))

    assert used(plan) == {"runs_finished"}
    assert sorts(plan) == []
    assert max(node.read for node in plan) <= 100


def test_few_runs_of_a_status_are_counted_by_its_index(plans: Plans) -> None:
    (plan,) = _asked(plans.url, lambda session: reading.count(session, RunFilter(statuses=FAILED)))

    assert walks(plan) == []
    assert used(plan) == {"runs_status"}


# -- what pages ask


STILL_LIVE: Final = frozenset({RunStatus.PENDING, RunStatus.SLEEPING})
PARTS: Final = [(run_id(number), run_id(number + 50_000)) for number in range(0, 1_000_000, 50_000)]
SOME: Final = [run_id(number) for number in range(1_000, 1_020)]
PAGES: Final[Mapping[str, tuple[Callable[[Watched], Awaitable[Any]], int]]] = {
    "all": (lambda session: surveying.summaries(session, RunFilter(), True, 50, None), 51),
    "statuses": (lambda session: surveying.summaries(session, RunFilter(statuses=STILL_LIVE), True, 50, None), 51),
    "next page": (lambda session: surveying.summaries(session, RunFilter(), True, 50, f"n:{run_id(500_000)}"), 51),
    "part": (lambda session: surveying.summaries(session, RunFilter(id_below=run_id(500_000)), True, 50, None), 51),
    "nothing in a part": (
        lambda session: surveying.summaries(session, RunFilter(id_from=run_id(999_990), statuses=FAILED, workflow="pay1"), True, 50, None),
        51,
    ),
    "text": (lambda session: surveying.summaries(session, RunFilter(search="nothing", within=10_000), True, 50, None), 10_000),
    "active": (lambda session: surveying.active(session, 20), 20),
    "tally": (lambda session: surveying.tally(session, RunFilter(), 1_000), 1_001),
    "tally of a part": (lambda session: surveying.tally(session, RunFilter(id_from=run_id(999_000)), 1_000), 1_001),
    "tally of a workflow": (lambda session: surveying.tally(session, RunFilter(workflow="pay1"), 1_000), 50_000),
    "tally of text": (lambda session: surveying.tally(session, RunFilter(search="nothing", within=10_000), 1_000), 10_000),
    "chips": (lambda session: surveying.chips(session, SOME, 6), 20),
    "ends": (lambda session: surveying.ends(session, NOW + 1_000, NOW + 2_000, 100.0, None), 300),
    "ends of a workflow": (lambda session: surveying.ends(session, NOW + 1_000, NOW + 2_000, 100.0, "pay1"), 300),
    "ends by workflow": (lambda session: surveying.ends_by_workflow(session, NOW + 1_000, NOW + 2_000, 100.0), 300),
    "speeds": (lambda session: surveying.speeds(session, 100), 4_000),
    "waits": (lambda session: surveying.waits(session, PARTS, 5, NOW, None), 100),
    "waits of a workflow": (lambda session: surveying.waits(session, PARTS, 5, NOW, "pay1"), 100),
    "live versions": (lambda session: surveying.live_versions(session, 2_500), 10_000),
    "backlog": (lambda session: surveying.backlog(session, 1_000), 4_004),
    "around": (lambda session: browsing.around(session, 1_000), 0),
    "workflows": (lambda session: browsing.catalog(session, "pay", "", 51), 51),
    "queues": (lambda session: browsing.queues(session, 51), 51),
    "schedules": (lambda session: browsing.schedules_page(session, "", ("pay1", "s1"), None, 51), 51),
    "schedules of workflows": (lambda session: browsing.schedules_of(session, ["pay1", "pay2"], 4), SCHEDULES),
    "unknown schedules": (lambda session: browsing.unknown_schedules(session, [("pay1", "s1"), ("pay1", "none")]), 2),
    "trace": (lambda session: browsing.trace(session, SOME[0], 1_000), 20),
    "some steps": (lambda session: browsing.some_steps(session, SOME[0], None, None, None, 50), 20),
}
"""What is asked, and how many rows each part of it may read, of a million."""

FEW: Final = SMALL | {"definitions", "halts"}


@pytest.mark.parametrize(("ask", "limit"), PAGES.values(), ids=list(PAGES))
def test_no_statement_of_a_page_reads_more_than_it_is_told_to(plans: Plans, ask: Callable[[Watched], Awaitable[Any]], limit: int) -> None:
    asked = _asked(plans.url, ask)

    assert asked
    for plan in asked:
        tables = [node for node in plan if node.table is not None and node.table not in FEW]
        assert [node for node in tables if node.kind == "Seq Scan"] == []
        assert max((node.read for node in tables), default=0) <= limit


def test_a_page_takes_one_statement_whatever_it_lists(plans: Plans) -> None:
    where = RunFilter(statuses=frozenset(RunStatus))

    assert len(_asked(plans.url, lambda session: surveying.summaries(session, where, True, 50, None))) == 1
    assert len(_asked(plans.url, lambda session: surveying.active(session, 20))) == 1
    assert len(_asked(plans.url, lambda session: surveying.tally(session, RunFilter(), 1_000))) == 1
    assert len(_asked(plans.url, lambda session: surveying.chips(session, SOME, 6))) == 1
