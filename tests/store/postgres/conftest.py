"""A server that tests of this adapter may break, freeze and fill with users: nobody else uses it."""

from collections.abc import Iterator

import pytest

from tests.postgres.binaries import ABSENT, binaries
from tests.postgres.server import NOT_DURABLE, Server, new_server
from tests.postgres.shared import lacking


@pytest.fixture(scope="package")
def server() -> Iterator[Server]:
    """A server of these tests. What one of them does to it is undone there."""
    if binaries() is None:
        lacking(ABSENT)
    with new_server(settings=NOT_DURABLE) as server:
        yield server
