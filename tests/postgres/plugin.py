"""The hooks and fixtures by which the tests get PostgreSQL. All else is in `shared`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.postgres import shared

LIFE = pytest.StashKey[shared.Life]()


def pytest_configure(config: pytest.Config) -> None:
    """The process that hands the tests out, or that runs them all, is the one whose end ends the server."""
    if not hasattr(config, "workerinput"):
        config.stash[LIFE] = shared.Life()


def pytest_unconfigure(config: pytest.Config) -> None:
    """The other processes have ended by now."""
    shared.drop_database()
    if LIFE in config.stash:
        config.stash[LIFE].end()


def pytest_report_header() -> str:
    """Nobody should have to guess which server the tests have used."""
    return shared.described()


@pytest.fixture(scope="session")
def postgres_url() -> str:
    """A database of this process."""
    return shared.database_url()


@pytest.fixture
def postgres_namespace() -> Iterator[str]:
    """The name of a schema in `postgres_url` that is not there yet, and is dropped after the test."""
    with shared.fresh_namespace() as namespace:
        yield namespace


@pytest.fixture
def fresh_postgres_url() -> Iterator[str]:
    """A database of this test."""
    with shared.fresh_database() as url:
        yield url
