"""Very many schedules that come in the same second, by the real clock: the benchmark of it, smaller, and with limits that are generous."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.on_sqlite import SqliteFile
from benchmarks.schedules import Rush, measured
from benchmarks.whole import Place
from stepwell.store.port import Store
from stepwell.store.postgres.store import PostgresStore
from tests.loops import on_a_loop

SCHEDULES = 2_000


class PostgresDatabase:
    """A place on the server of the tests."""

    def __init__(self, url: str) -> None:
        self._url = url

    @contextmanager
    def empty(self) -> Iterator[Store]:
        """See `Place`."""
        yield PostgresStore(self._url)


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest) -> Place:
    """Each kind of database."""
    return SqliteFile() if request.param == "sqlite" else PostgresDatabase(request.getfixturevalue("fresh_postgres_url"))


@on_a_loop
async def test_two_thousand_schedules_of_the_same_second_start_within_seconds_and_other_runs_go_on_meanwhile(place: Place) -> None:
    rush: Rush = await measured(place, SCHEDULES, workflows=20, lead=10.0)  # which looks that each has made one run

    assert rush.made < 30
    assert rush.ended < 60
    assert rush.delayed < max(5, 0.8 * rush.ended)
    assert rush.megabytes < 200
