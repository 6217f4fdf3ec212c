"""A folder with workflows in it, and the command line called in there."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stepwell import Stepwell
from stepwell.cli.command import Place
from stepwell.cli.target import load
from tests.cli.harness import FLOWS, Answer, Call, called
from tests.engine.harness import leaving_takes_its_time


@pytest.fixture(autouse=True)
def patience() -> Iterator[None]:
    """Workers leave in order, also on a busy machine."""
    with leaving_takes_its_time():
        yield


@pytest.fixture(autouse=True)
def plain_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Nothing of the machine's settings, and nothing that a test imports, reaches another test."""
    for name in (
        "STEPWELL_DATABASE_URL",
        "STEPWELL_NAMESPACE",
        "STEPWELL_TIMEZONE",
        "STEPWELL_RETENTION",
        "STEPWELL_WEB_TOKENS",
        "FORCE_COLOR",
        "NO_COLOR",
        "COLUMNS",
    ):
        monkeypatch.delenv(name, raising=False)
    path = list(sys.path)
    yield
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]
    sys.path[:] = path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def shop(here: Path) -> Path:
    """The current folder, with `flows.py` in it."""
    (here / "flows.py").write_text(FLOWS)
    return here


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Call the command line in this process."""

    def call(*arguments: str) -> Answer:
        return called(capsys, *arguments)

    return call


@pytest.fixture
def work(shop: Path) -> Callable[[], None]:
    """Let a worker do what is due."""

    def work() -> None:
        async def until_idle(app: Stepwell) -> None:
            await app.worker(lease="5s").run_until_idle()

        asyncio.run(until_idle(load("flows.py", Place())))

    return work
