"""Where the tests of faults have their databases, and how they are run."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepwell import Stepwell
from tests.faults.flows import app_in


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """For one database, and the traces of its runs."""
    return tmp_path


@pytest.fixture
def app(folder: Path) -> Stepwell:
    """An app on the database in the folder, not open yet."""
    return app_in(folder)
