"""What the tests of the examples are run on: a database, and no mail server but one that the test begins."""

from pathlib import Path

import pytest


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Of a database that is not there yet."""
    return f"sqlite:///{tmp_path / 'stepwell.db'}"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment says nothing."""
    for name in ("STEPWELL_DATABASE_URL", "STEPWELL_NAMESPACE", "STEPWELL_TIMEZONE", "STEPWELL_RETENTION", "SMTP_SERVER"):
        monkeypatch.delenv(name, raising=False)
