"""Workers on machines of their own, which share a database and nothing else, and a cable that is cut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from stepwell import RunStatus
from tests.faults.databases import database_of, say_where
from tests.faults.flows import SEEN_FROM_HERE, app_in, effects, in_two, short
from tests.faults.processes import Program, until
from tests.loops import on_a_loop
from tests.postgres import shared
from tests.postgres.binaries import ABSENT, binaries
from tests.postgres.machines import Machine, absent, new_machine
from tests.postgres.server import Server, new_server


class Network(NamedTuple):
    """A server on this machine, and two machines beside it."""

    server: Server
    one: Machine
    other: Machine

    def there(self, machine: Machine) -> tuple[str, ...]:
        """What runs a program on a machine, which reaches the server over TCP and by no other way."""
        url = self.server.url().replace("0.0.0.0", machine.here)
        return ("env", f"{SEEN_FROM_HERE}={url} stepwell", *machine.through)


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    if lacks := absent() or (ABSENT if binaries() is None else None):
        shared.lacking(lacks)
    with ExitStack() as stack:
        server = stack.enter_context(new_server(host="0.0.0.0"))
        say_where(tmp_path, server.url())
        yield Network(server, stack.enter_context(new_machine()), stack.enter_context(new_machine()))


@on_a_loop
async def test_a_machine_that_is_cut_off_in_a_step_for_longer_than_its_lease_writes_nothing_when_it_is_back(
    network: Network, tmp_path: Path
) -> None:
    async with app_in(tmp_path) as app:
        handle = await app.start(in_two)
        with Program("worker", tmp_path, "lease=3s", through=network.there(network.one)) as cut:
            await cut.says_meanwhile("waits")
            with network.one.cut_off(), Program("worker", tmp_path, "lease=3s", through=network.there(network.other)):
                await until(lambda: (tmp_path / "second.mark").exists() or _others(handle.run_id, tmp_path, cut))
                (tmp_path / "go").touch()
                result = await handle.result()
                before = _recorded(tmp_path)
            await cut.says_meanwhile("was taken for dead")
            await cut.says_meanwhile("is registered again")
            again = await (await app.start(short, 21)).result()
        steps = [(step.key, step.status) for step in await handle.steps()]

    assert (result, again) == ("SECOND", 42)
    assert steps == [("first", "completed"), ("second", "completed")]
    assert [row for row in _recorded(tmp_path) if handle.run_id in row] == before
    assert effects(tmp_path).count(f"{handle.run_id}:second") == 1


def _others(run_id: str, folder: Path, cut: Program) -> bool:
    """Whether the run is another worker's now."""
    rows = database_of(folder).execute(f"SELECT worker FROM {database_of(folder).table('runs')} WHERE id = '{run_id}'")
    return rows[0][0] is not None and str(cut.process.pid) not in rows[0][0]


def _recorded(folder: Path) -> list[tuple[object, ...]]:
    database = database_of(folder)
    return database.execute(f"SELECT run, key, seq, value FROM {database.table('outcomes')} ORDER BY run, seq")


@on_a_loop
async def test_workers_on_two_machines_execute_each_run_once(network: Network, tmp_path: Path) -> None:
    with (
        Program("worker", tmp_path, through=network.there(network.one)) as one,
        Program("worker", tmp_path, through=network.there(network.other)) as other,
    ):
        for worker in (one, other):
            await worker.says_meanwhile("is open")
        async with app_in(tmp_path) as app:
            handles = await app.start_many(short, list(range(500)))
            results = [await handle.result() for handle in handles]
            counts = await app.runs.count()

    assert results == [2 * number for number in range(500)]
    assert counts == {RunStatus.COMPLETED: 500}
    assert Counter(line.split()[0] for line in effects(tmp_path)) == dict.fromkeys([handle.run_id for handle in handles], 1)
