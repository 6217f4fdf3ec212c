"""Schedules whose server is away over slots, and on machines whose clocks are wrong: on a server, its clock is the truth."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import pytest

from stepwell.core import slots
from tests.faults.databases import Database, on_postgres, say_where
from tests.faults.processes import Program, until
from tests.faults.scheduled import each_second, made, release_in, slots_made, without_gap
from tests.faults.test_schedules import IS_LONG, fires_more, made_in, records
from tests.loops import on_a_loop
from tests.postgres import shared
from tests.postgres.binaries import ABSENT, binaries
from tests.postgres.server import Server, new_server
from tests.postgres.wire import Wire

# -- clocks


def ahead_of_time(database: Database) -> float:
    """By how many seconds the last slot that was fired is still to come, by the clock of the server."""
    statement = f"SELECT max(scheduled_at) - extract(epoch FROM clock_timestamp())::float8 FROM {database.table('runs')}"
    ((ahead,),) = database.execute(statement)
    return float(ahead)


async def fires_in_time(database: Database, number: int, name: str = "it") -> None:
    """Wait for so many more slots, none of which may come early, or so late that it may be missed."""
    enough = len(slots_made(database, name)) + number

    def has_fired() -> bool:
        assert -slots.LATE < ahead_of_time(database) <= 0.0
        return len(slots_made(database, name)) >= enough

    await until(has_fired, every=0.05)


@on_postgres
@pytest.mark.parametrize("ahead", [3600, -3600])
@on_a_loop
async def test_on_a_machine_whose_clock_is_wrong_by_an_hour_slots_are_fired_by_the_clock_of_the_server(folder: Path, ahead: int) -> None:
    database = await made_in(folder)
    with Program("scheduled", folder, "old", f"ahead={ahead}") as wrong, Program("scheduled", folder, "old") as right:
        await fires_more(database, 1)
        await fires_in_time(database, 2)
        await until(lambda: database.has_worker(right.process.pid))
        wrong.kill()
        await fires_in_time(database, 1)
        with Program("scheduled", folder, "old", f"ahead={ahead}") as again:
            await until(lambda: database.has_worker(again.process.pid))
            right.kill()
            await fires_in_time(database, 3)

    assert without_gap(slots_made(database))
    assert [run for run in made(database) if not 0.0 <= run.created_at - run.slot < slots.LATE] == []


@on_postgres
@pytest.mark.parametrize("ahead", [3600, -3600])
@on_a_loop
async def test_a_machine_whose_clock_is_set_by_an_hour_and_back_fires_nothing_early_or_late_and_asks_no_more_than_before(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, ahead: int
) -> None:
    database, there = await made_in(folder), tmp_path_factory.mktemp("there")
    with Wire(f"{database.url}?hints=off") as wire:
        say_where(there, wire.url, database.namespace)
        with Program("scheduled", there, "three", "lease=10m") as worker:  # it beats rarely
            await fires_more(database, 1, "def")
            rates = []
            for clock in (0, ahead, 0):
                await until(lambda: datetime.now(UTC).microsecond > 900_000)  # a slot comes before anybody has noticed
                worker.tell(str(clock))
                await worker.says_meanwhile("is set")
                wire.arm(0, "before")
                began = monotonic()
                await fires_in_time(database, 4, "def")
                rates.append(wire.commits / (monotonic() - began))

    for name in ("value", "def", "async"):
        assert without_gap(slots_made(database, name))
        assert [run for run in made(database, name) if not 0.0 <= run.created_at - run.slot < slots.LATE] == []
    assert max(rates) < 2 * rates[0] + 5, rates


# -- outages


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    if binaries() is None:
        shared.lacking(ABSENT)
    with new_server() as server:
        say_where(tmp_path, server.url())
        yield server


class Knocks:
    """How often anybody has tried to connect to a server that is down, and for how long it was."""

    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0


@contextmanager
def down(server: Server) -> Iterator[Knocks]:
    """The server is away meanwhile. Who comes is counted and sent away."""
    knocks = Knocks()
    server.stop("immediate")
    with socket.create_server((server.host, server.port)) as door:

        def answer() -> None:
            with suppress(OSError):  # it ends when the door is closed
                while True:
                    door.accept()[0].close()
                    knocks.count += 1

        thread, began = threading.Thread(target=answer), monotonic()
        thread.start()
        try:
            yield knocks
        finally:
            knocks.seconds = monotonic() - began
            with suppress(OSError):
                door.shutdown(socket.SHUT_RDWR)
            door.close()
            thread.join()
    server.start()


@on_a_loop
async def test_slots_while_a_server_was_away_are_fired_when_it_is_back_and_nobody_storms_it(server: Server, tmp_path: Path) -> None:
    database, seconds = await made_in(tmp_path), 8.0 if IS_LONG else 3.0
    with Program("scheduled", tmp_path, "old") as one, Program("scheduled", tmp_path, "old") as other:
        await fires_more(database, 2)
        with down(server) as knocks:
            threading.Event().wait(seconds)
        await fires_more(database, int(seconds) + 2)
        assert [worker.process.poll() for worker in (one, other)] == [None, None]

    assert without_gap(slots_made(database))
    assert 0 < knocks.count < 20 * knocks.seconds


@on_a_loop
async def test_slots_that_were_missed_while_a_server_was_away_are_dealt_with_as_catch_up_says(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not IS_LONG:
        monkeypatch.setattr(slots, "LATE", 1.5)
    database = await made_in(tmp_path)
    async with release_in(tmp_path, each_second(1)) as app, app.worker():
        await fires_more(database, 2)
        with down(server):
            await until_time(15.0 if IS_LONG else 4.0)
        await fires_more(database, 4)

    missed = [record for record in records(database) if record[3] == "missed"]
    assert {last - first + 1 - count for first, last, count, *_ in missed} == {0}
    assert max(count for _, _, count, *_ in missed) >= 2
    assert {"latest" in reason for *_, reason, _ in missed} == {True}
    assert without_gap(sorted([*slots_made(database), *(first + second for first, _, count, *_ in missed for second in range(count))]))
    assert app is not None


async def until_time(seconds: float) -> None:
    """So long, with the loop going on."""
    over = monotonic() + seconds
    await until(lambda: monotonic() >= over, seconds + 5, every=0.05)
