"""The server that tests of this adapter may break, freeze and fill with users."""

import pytest

from tests.postgres.server import Server


@pytest.fixture
def server(own_server: Server) -> Server:
    """What a test does to it is undone there."""
    return own_server
