"""One suite for every adapter: whatever is true of a store is written once, against the port.

A new adapter is a line in `ADAPTERS`. Tests here use the verbs of the port, and instants that they pass, and nothing else.
"""

import asyncio
import os
from collections.abc import Iterator
from contextvars import copy_context
from typing import Final

import pytest

from stepwell.store.port import Store
from tests.postgres.binaries import ABSENT, binaries
from tests.postgres.pgbouncer import ABSENT as NO_POOLER
from tests.postgres.pgbouncer import pgbouncer, program
from tests.postgres.server import NOT_DURABLE, Server, new_server
from tests.postgres.shared import lacking
from tests.store import kept
from tests.store.adapters import ADAPTERS, POOLED, POOLED_TESTS, loop_for, with_workers

ALWAYS: Final = {
    "postgres-by-updates": {"test_claim", "test_workers", "test_ready", "test_stateful", "test_deadlines"},
    POOLED: {"test_claim", "test_start"},
}
"""Modules that run over these adapters wherever tests run: what is special to them has a part there. The others do in `make stores`."""

ALONE: Final = {"test_hints"}
"""Modules in which each test has a store of its own: what others have announced may still be on its way."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get("STEPWELL_TEST_STORES") == "all":
        return
    left_out = [
        item for item in items if any(adapter in item.name and item.path.stem not in modules for adapter, modules in ALWAYS.items())
    ]
    config.hook.pytest_deselected(items=left_out)
    gone = set(left_out)
    items[:] = [item for item in items if item not in gone]


@pytest.fixture(scope="session")
def stores_are_kept() -> Iterator[None]:
    """For as long as this process has tests."""
    yield
    kept.end()


@pytest.fixture
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    """The event loop of one test and of the store that it uses; of all such tests, where stores are kept."""
    adapter = request.node.callspec.params.get("store", "") if hasattr(request.node, "callspec") else ""
    if request.node.path.stem in ALONE:
        adapter = ""
    elif adapter.startswith("postgres"):
        request.getfixturevalue("stores_are_kept")
    with loop_for(adapter) as runner:
        yield runner


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests of a store are run over every adapter, and some of them behind a pooler too."""
    if "store" in metafunc.fixturenames and not hasattr(metafunc.module, "store"):
        is_pooled = metafunc.module.__name__.rpartition(".test_")[2] in POOLED_TESTS
        metafunc.parametrize("store", [*ADAPTERS, POOLED] if is_pooled else [*ADAPTERS], indirect=True)


@pytest.fixture(scope="session")
def own_server() -> Iterator[Server]:
    """A server that nobody but this process uses. What a test does to it is undone there."""
    if binaries() is None:
        lacking(ABSENT)
    with new_server(settings=NOT_DURABLE) as server:
        yield server


@pytest.fixture(scope="session")
def pooler(own_server: Server) -> Iterator[str]:
    """The URL of a pooler in transaction mode, with two connections to its server."""
    if program() is None:
        lacking(NO_POOLER)
    with pgbouncer(own_server, connections=2) as url:
        yield url


@pytest.fixture
def store(request: pytest.FixtureRequest, runner: asyncio.Runner) -> Iterator[Store]:
    """A store without runs in which Alice and Bob are registered, one of each adapter."""
    opened = with_workers(request.param, request.getfixturevalue("pooler") if request.param == POOLED else "")
    yield runner.run(opened.__aenter__())
    runner.run(opened.__aexit__(None, None, None))


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """A test that is a coroutine runs on the loop of its store."""
    if not asyncio.iscoroutinefunction(pyfuncitem.obj):
        return None
    runner: asyncio.Runner = pyfuncitem._request.getfixturevalue("runner")
    wanted = pyfuncitem._fixtureinfo.argnames
    test = pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in wanted})
    runner.run(test, context=copy_context())
    return True
