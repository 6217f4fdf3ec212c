"""How SQLite finds the rows of what is asked all the time: by an index, also where nobody has ever run ANALYZE."""

import re
import sqlite3
from collections.abc import Iterator

import pytest

from stepwell.core.records import RunFilter
from stepwell.core.status import RunStatus
from stepwell.store.sql import reading
from stepwell.store.sql.transaction import at_once
from stepwell.store.sqlite import SqliteStore
from stepwell.store.sqlite.transaction import Transaction, statements_of
from stepwell.store.statements import DEFAULT_NAMESPACE

STATEMENTS = statements_of(DEFAULT_NAMESPACE)
FAILED = frozenset({RunStatus.FAILED})
INDEXES = {
    "prospect": {"PRIMARY KEY", "INTEGER PRIMARY KEY", "stepwell_runs_ready"},
    "heads": {"stepwell_runs_ready", "PRIMARY KEY"},
    "ready": {"stepwell_runs_ready"},
    "look": {"stepwell_runs_ready", "stepwell_runs_due", "stepwell_runs_deadline", "stepwell_notices_worker", "stepwell_schedules_changed"},
    "make_ready": {"stepwell_runs_due", "PRIMARY KEY"},
    "expired": {"stepwell_runs_deadline"},
    "owned": {"stepwell_runs_owned"},
    "standing": {"stepwell_runs_owned"},
    "lanes": {"INTEGER PRIMARY KEY"},
    "claim": {"PRIMARY KEY"},
    "claimed": {"PRIMARY KEY"},
    "histories": {"PRIMARY KEY"},
    "tried": {"PRIMARY KEY"},
    "logged": {"sqlite_autoindex_stepwell_logs_1"},
    "fence": {"PRIMARY KEY"},
    "move": {"PRIMARY KEY"},
    "survived": {"PRIMARY KEY"},
    "notices": {"stepwell_notices_worker", "PRIMARY KEY"},
    "ended": {"PRIMARY KEY"},
    "delete": {"PRIMARY KEY"},
    "delete_inputs": {"PRIMARY KEY"},
    "delete_tags": {"PRIMARY KEY"},
    "delete_outcomes": {"PRIMARY KEY"},
    "delete_attempts": {"PRIMARY KEY"},
    "delete_started": {"PRIMARY KEY"},
    "delete_signals": {"sqlite_autoindex_stepwell_signals_2"},
    "delete_logs": {"sqlite_autoindex_stepwell_logs_1"},
    "delete_events": {"stepwell_events_run"},
    "declares": {"PRIMARY KEY"},
    "last_deed": {"stepwell_schedules_changed"},
    "known_schedules": {"PRIMARY KEY"},
    "changed_schedules": {"stepwell_schedules_changed"},
    "cursors": {"PRIMARY KEY"},
    "lock_cursors": {"PRIMARY KEY"},
    "move_cursors": {"PRIMARY KEY"},
    "fail_inputs": {"PRIMARY KEY"},
    "supply": {"PRIMARY KEY"},
    "supply_input": {"PRIMARY KEY"},
    "pause_schedule": {"PRIMARY KEY"},
    "resume_schedule": {"PRIMARY KEY"},
    "triggered": {"PRIMARY KEY"},
    "made": {"stepwell_slots_schedule", "stepwell_runs_schedule", "stepwell_events_run"},
    "slots": {"stepwell_slots_schedule"},
    "subject_events": {"stepwell_events_subject"},
    "forget_slots": {"stepwell_slots_schedule", "INTEGER PRIMARY KEY"},
}
WRITES = ("record", "attempt", "log", "started", "declare", "add_slots", "backfilled")
ORDERED = ("look", "make_ready", "expired", "ready", "heads", "last_deed", "changed_schedules", "slots", "forget_slots", "subject_events")


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    """An empty database, about which SQLite knows nothing."""
    connection = sqlite3.connect(":memory:")
    connection.executescript(SqliteStore(None).migration_sql())
    yield connection
    connection.close()


def plan(connection: sqlite3.Connection, statement: str) -> list[str]:
    """What SQLite does, line by line."""
    parameters = dict.fromkeys(re.findall(r":(\w+)", statement))
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]


def walks(lines: list[str]) -> list[str]:
    """The lines in which every row of a table is read. Batches are no tables, and of the index of what is ready one entry is enough."""
    return [line for line in lines if line.startswith("SCAN") and not re.search(_HARMLESS, line)]


_HARMLESS = r"VIRTUAL TABLE|CONSTANT ROW|^SCAN \(subquery|^SCAN w$|INDEX stepwell_runs_ready$"


def used(lines: list[str]) -> set[str]:
    """The indexes."""
    return {match for line in lines for match in re.findall(r"USING (?:COVERING )?(?:INDEX )?(INTEGER PRIMARY KEY|PRIMARY KEY|\w+)", line)}


@pytest.mark.parametrize("name", [*INDEXES, *WRITES])
def test_no_statement_of_the_daily_work_reads_a_whole_table(connection: sqlite3.Connection, name: str) -> None:
    wanted_whole = {"SCAN stepwell_halts"}  # each of the few is to be known
    assert set(walks(plan(connection, STATEMENTS.texts[name]))) <= wanted_whole


@pytest.mark.parametrize(("name", "indexes"), INDEXES.items(), ids=list(INDEXES))
def test_each_statement_uses_the_index_that_was_made_for_it(connection: sqlite3.Connection, name: str, indexes: set[str]) -> None:
    assert used(plan(connection, STATEMENTS.texts[name])) - {"TEMP"} == indexes


@pytest.mark.parametrize("name", ORDERED)
def test_what_comes_first_is_read_in_order_and_not_sorted(connection: sqlite3.Connection, name: str) -> None:
    assert [line for line in plan(connection, STATEMENTS.texts[name]) if "TEMP B-TREE" in line] == []


@pytest.mark.parametrize(
    ("where", "index"),
    [
        (RunFilter(), None),
        (RunFilter(statuses=FAILED), "stepwell_runs_status"),
        (RunFilter(workflow="pay"), "stepwell_runs_workflow"),
        (RunFilter(workflow="pay", statuses=FAILED), "stepwell_runs_status"),
        (RunFilter(workflow="pay", statuses=frozenset({RunStatus.COMPLETED})), "stepwell_runs_workflow"),
    ],
    ids=["all", "status", "workflow", "few of a workflow", "many of a workflow"],
)
def test_lists_and_counts_are_read_by_the_index_of_what_is_asked_for(
    connection: sqlite3.Connection, where: RunFilter, index: str | None
) -> None:
    asked: list[str] = []
    connection.set_trace_callback(asked.append)
    transaction = Transaction(connection, STATEMENTS)
    at_once(reading.matching(transaction, where, limit=100, newest=True))
    at_once(reading.count(transaction, where))
    connection.set_trace_callback(None)

    listed, counted = (plan(connection, statement) for statement in asked if "stepwell_runs r" in statement or "count(*)" in statement)
    assert not any("TEMP B-TREE" in line for line in listed)
    if index is None:
        assert listed[0] == "SCAN r"  # in the order of the table itself, as far as the page goes
        assert used(counted) == {"stepwell_runs_status"}
    else:
        assert listed[0].startswith("SEARCH r USING ")
        assert index in listed[0]
        assert index in counted[0]


@pytest.mark.parametrize("status", [status for status in RunStatus if status.ended])
def test_runs_that_ended_before_a_time_are_found_without_a_look_at_those_that_ended_later(
    connection: sqlite3.Connection, status: RunStatus
) -> None:
    asked: list[str] = []
    where = RunFilter(statuses=frozenset({status}), finished_before=1_000.0)
    connection.set_trace_callback(asked.append)
    transaction = Transaction(connection, STATEMENTS)
    at_once(reading.matching(transaction, where, limit=100, by_end=True))
    at_once(reading.count(transaction, where))
    connection.set_trace_callback(None)

    for statement in (line for line in asked if "stepwell_runs r" in line):
        lines = plan(connection, statement)
        assert re.fullmatch(r"SEARCH r USING (COVERING )?INDEX stepwell_runs_finished \(status=\? AND finished_at<\?\)", lines[0])
        assert not any("TEMP B-TREE" in line for line in lines)
