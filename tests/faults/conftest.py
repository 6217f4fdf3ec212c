"""Where the tests of faults have their databases, and how they are run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from stepwell import Stepwell
from tests.faults.databases import say_where
from tests.faults.flows import app_in
from tests.postgres.shared import fresh_database


@pytest.fixture(params=["sqlite", "postgres"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """For the traces of runs, whose database is in it, or on the server: every test that uses it is executed over both."""
    with ExitStack() as stack:
        if request.param == "postgres":
            say_where(tmp_path, stack.enter_context(fresh_database()))
        yield tmp_path


@pytest.fixture
def app(folder: Path) -> Stepwell:
    """An app on the database in the folder, not open yet."""
    return app_in(folder)
