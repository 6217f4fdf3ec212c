"""The apps that tests of apps are run over."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.apps import KINDS, Opened, opener
from tests.engine.harness import leaving_takes_its_time


@pytest.fixture(params=KINDS)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    """Makes an app with these workflows and a worker; on one database, however often it is asked."""
    return opener(request.param, tmp_path)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Of a database that is not there yet."""
    return f"sqlite:///{tmp_path / 'test.db'}"


@pytest.fixture(autouse=True)
def patience() -> Iterator[None]:
    """Workers leave in order, also on a busy machine."""
    with leaving_takes_its_time():
        yield


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the environment nor a pyproject.toml says anything."""
    for name in ("DATABASE_URL", "NAMESPACE", "TIMEZONE", "RETENTION"):
        monkeypatch.delenv(f"STEPWELL_{name}", raising=False)
    monkeypatch.chdir(tmp_path)
