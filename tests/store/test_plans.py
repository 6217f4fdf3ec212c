"""How SQLite finds the rows of what is asked all the time: by an index, also where nobody has ever run ANALYZE."""

import re
import sqlite3
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from stepwell.core.records import RunFilter
from stepwell.core.status import RunStatus
from stepwell.store.sql import browsing, reading, surveying
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


# -- what pages ask


PAGES = {
    "active": {"stepwell_runs_status"},
    "summaries": {"PRIMARY KEY", "stepwell_events_run"},
    "chips": {"PRIMARY KEY"},
    "ends": {"stepwell_runs_finished"},
    "ends_of": {"stepwell_runs_finished"},
    "ends_by_workflow": {"stepwell_runs_finished"},
    "speeds": {"stepwell_runs_workflow"},
    "waits": {"PRIMARY KEY"},
    "waits_of": {"stepwell_runs_workflow", "PRIMARY KEY"},
    "live_versions": {"stepwell_runs_status"},
    "backlog": {"stepwell_runs_ready", "sqlite_autoindex_stepwell_lanes_1"},
    "oldest_ready": {"stepwell_runs_status"},
    "around": set(),
    "catalog": {"PRIMARY KEY"},
    "published": {"PRIMARY KEY"},
    "queues": {"PRIMARY KEY", "sqlite_autoindex_stepwell_lanes_1"},
    "schedules_page": {"PRIMARY KEY"},
    "unknown_schedules": {"PRIMARY KEY"},
    "schedules_of": {"PRIMARY KEY"},
    "due_schedules": set(),
    "story": {"PRIMARY KEY", "stepwell_events_run"},
    "trace": {"PRIMARY KEY"},
    "some_steps": {"PRIMARY KEY"},
    "events": {"PRIMARY KEY", "stepwell_events_run"},
}
FEW = r"^SCAN (stepwell_(lanes|definitions|halts|workers|schedules)|l|\w+ VIRTUAL|(\d+ )?CONSTANT|\(|[apqswx]$)"
"""What may be read as a whole: lanes, definitions, workers, schedules to count them, and what a query has within it."""


@pytest.mark.parametrize(("name", "indexes"), PAGES.items(), ids=list(PAGES))
def test_no_statement_of_a_page_reads_a_whole_table(connection: sqlite3.Connection, name: str, indexes: set[str]) -> None:
    lines = plan(connection, STATEMENTS.texts[name])

    assert [line for line in lines if line.startswith("SCAN") and not re.search(FEW, line)] == []
    assert used(lines) - {"TEMP"} == indexes


def test_ends_of_all_workflows_are_counted_in_the_index_alone(connection: sqlite3.Connection) -> None:
    lines = plan(connection, STATEMENTS.texts["ends"])

    assert any("COVERING INDEX stepwell_runs_finished (status=? AND finished_at>? AND finished_at<?)" in line for line in lines)


@pytest.mark.parametrize(
    ("where", "step"),
    [
        (RunFilter(), "SEARCH r USING COVERING INDEX stepwell_runs_status (status=?)"),
        (RunFilter(id_from="01"), "SEARCH r USING COVERING INDEX stepwell_runs_status (status=? AND id>?)"),
        (RunFilter(id_from="01", id_below="02"), "SEARCH r USING COVERING INDEX stepwell_runs_status (status=? AND id>? AND id<?)"),
        (RunFilter(statuses=FAILED, workflow="pay"), "SEARCH r USING INDEX stepwell_runs_status (status=?)"),
        (
            RunFilter(statuses=frozenset({RunStatus.COMPLETED}), workflow="pay", id_from="01"),
            "SEARCH r USING INDEX stepwell_runs_workflow (workflow=? AND id>?)",
        ),
        (
            RunFilter(statuses=frozenset({RunStatus.COMPLETED}), tags=("eu",), id_from="01"),
            "SEARCH t USING PRIMARY KEY (tag=? AND run>?)",
        ),
    ],
    ids=["all", "since", "between", "few of a workflow", "many of a workflow", "tag"],
)
def test_a_tally_reads_each_status_by_an_index_and_a_range_of_ids(connection: sqlite3.Connection, where: RunFilter, step: str) -> None:
    (statement,) = _asked(connection, lambda transaction: surveying.tally(transaction, where, 1_000))

    lines = plan(connection, statement)

    assert lines.count(step) == (len(RunStatus) if where.statuses is None else 1)
    assert not any("TEMP B-TREE" in line for line in lines)


def _asked(connection: sqlite3.Connection, ask: Callable[[Transaction], Coroutine[Any, Any, Any]]) -> list[str]:
    """The statements that were executed."""
    asked: list[str] = []
    connection.set_trace_callback(asked.append)
    at_once(ask(Transaction(connection, STATEMENTS)))
    connection.set_trace_callback(None)
    return asked


@pytest.mark.parametrize(
    ("where", "step"),
    [
        (RunFilter(id_from="01", id_below="02"), "SEARCH r USING PRIMARY KEY (id>? AND id<?)"),
        (RunFilter(id_from="01", statuses=FAILED), "SEARCH r USING COVERING INDEX stepwell_runs_status (status=? AND id>?)"),
        (RunFilter(id_from="01", workflow="pay"), "SEARCH r USING COVERING INDEX stepwell_runs_workflow (workflow=? AND id>?)"),
        (RunFilter(id_from="01", tags=("eu",)), "SEARCH t USING PRIMARY KEY (tag=? AND run>?)"),
    ],
    ids=["time", "status", "workflow", "tag"],
)
def test_a_page_of_a_time_is_read_by_a_range_of_ids_and_not_sorted(connection: sqlite3.Connection, where: RunFilter, step: str) -> None:
    (statement,) = _asked(connection, lambda transaction: reading.matching(transaction, where, limit=51, newest=True))

    lines = plan(connection, statement)

    assert step in lines
    assert not any("TEMP B-TREE" in line for line in lines)


def test_free_text_is_looked_for_in_so_many_of_the_newest(connection: sqlite3.Connection) -> None:
    where = RunFilter(id_from="01", search="x", within=10_000)

    (statement,) = _asked(connection, lambda transaction: reading.matching(transaction, where, limit=51, newest=True))

    assert "SEARCH stepwell_runs USING PRIMARY KEY (id>? AND id<?)" in plan(connection, statement)
    assert "LIMIT 10000" in statement or "LIMIT :within" in statement


def test_a_page_of_several_statuses_is_read_by_one_statement(connection: sqlite3.Connection) -> None:
    where = RunFilter(statuses=frozenset(RunStatus))

    (statement,) = _asked(connection, lambda transaction: reading.matching(transaction, where, limit=51, newest=True))

    assert plan(connection, statement).count("SEARCH r USING COVERING INDEX stepwell_runs_status (status=?)") == len(RunStatus)


OWN_VALUES = {"story", "trace", "some_steps", "published", "unknown_schedules"}
"""Statements with other values in them, or that are looked at by themselves below."""
PAYLOADS = ("output", "value", "payload", "input,", ".input")


@pytest.mark.parametrize("name", [*sorted(PAGES.keys() - OWN_VALUES), "find", "find_newest", "filters"])
def test_no_statement_of_a_page_reads_a_payload(name: str) -> None:
    text = re.sub(
        r"--.*|json_each\(:\w+\) x( CROSS JOIN \w+ r ON r.id = x.value)?|(SELECT|=|<|tag =|WHERE) (x\.)?value", "", STATEMENTS.texts[name]
    )

    assert [payload for payload in PAYLOADS if re.search(rf"(?<!\w){re.escape(payload)}", text)] == []


def test_a_timeline_reads_of_values_only_those_that_are_errors() -> None:
    text = STATEMENTS.texts["trace"]

    assert text.count("value") == 1
    assert "CASE WHEN NOT ok THEN substr(value ->> 'type', 1, :characters) END" in text


@pytest.mark.parametrize("name", ["catalog", "schedules_page"])
def test_a_page_of_names_is_read_in_their_order_and_not_sorted(connection: sqlite3.Connection, name: str) -> None:
    lines = plan(connection, STATEMENTS.texts[name])

    assert sum("TEMP B-TREE" in line for line in lines) == (1 if name == "catalog" else 0)  # the versions of each workflow are


def test_a_list_of_runs_is_found_and_shown_by_one_statement(connection: sqlite3.Connection) -> None:
    where = RunFilter(id_from="01", statuses=FAILED, workflow="pay")
    verbs = (
        lambda transaction: surveying.summaries(transaction, where, True, 50, None),
        lambda transaction: surveying.active(transaction, 20),
        lambda transaction: browsing.around(transaction, 100),
        lambda transaction: browsing.trace(transaction, "01", 100),
    )

    for verb in verbs:
        (statement,) = _asked(connection, verb)
        assert [line for line in plan(connection, statement) if line.startswith("SCAN") and not re.search(FEW, line)] == []
