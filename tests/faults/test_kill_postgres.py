"""Workers on PostgreSQL that are killed for real around each commit of a step that writes to the database itself."""

from __future__ import annotations

import signal

import psycopg
import pytest

from tests.faults.processes import Program


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("number", range(1, 5))
def test_a_worker_killed_at_any_commit_has_written_each_transaction_with_its_record_and_once(
    fresh_postgres_url: str, number: int, side: str
) -> None:
    with psycopg.connect(fresh_postgres_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE ledger (key text)")
        with Program("booker", fresh_postgres_url, "killed", number, side) as worker:
            assert worker.ends() == -signal.SIGKILL, worker.errors
        left = written(connection)
        with Program("booker", fresh_postgres_url, "killed", 0, side) as worker:
            assert worker.ends() == 0, worker.errors
        end = written(connection)

        assert left[0] == left[1]
        assert len(left[0]) in ({number - 1, number} if side == "before" else {number, number + 1})  # another branch may be between
        assert end == (["@0/a", "@1/b", "first", "last"],) * 2


def written(connection: psycopg.Connection[tuple[str]]) -> tuple[list[str], list[str]]:
    """The keys that the steps have written, and those of their records."""
    ledger = connection.execute('SELECT key FROM ledger ORDER BY key COLLATE "C"').fetchall()
    outcomes = connection.execute('SELECT key FROM killed.outcomes ORDER BY key COLLATE "C"').fetchall()
    return [key for (key,) in ledger], [key for (key,) in outcomes]
