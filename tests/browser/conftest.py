"""A browser, pages served on both databases with a worker at work, and a test that fails of whatever a browser complains of."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect, sync_playwright

from tests.browser.chromium import ABSENT, chromium, flags
from tests.browser.served import Door, Site, working
from tests.postgres import shared

MILLISECONDS: Final = 45_000
"""In which a page shows what is expected of it, on a busy machine."""

NewContext = Callable[..., BrowserContext]


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One for all tests of this folder. It must be gone before others begin: while it is there, this thread counts as an event loop's."""
    path = chromium()
    if path is None:
        shared.lacking(ABSENT)
    expect.set_options(timeout=MILLISECONDS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=flags())
        yield browser
        browser.close()


@pytest.fixture(scope="package", params=["sqlite", "postgres"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An app with a worker, on each database."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('site')}/stepwell.db"
        with Site(url, "stepwell") as site, working(site):
            yield site
        return
    with shared.fresh_namespace() as namespace, Site(shared.database_url(), namespace) as site, working(site):
        yield site


@pytest.fixture(scope="package")
def door(site: Site) -> Door:
    """Its pages, to which everybody is admitted."""
    return site.door()


class Complaints:
    """What a browser has complained of. A test says which complaints it expects."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self._expected: list[str] = []

    def expect(self, pattern: str) -> None:
        """Complaints with this in them are all right."""
        self._expected.append(pattern)

    def listen(self, context: BrowserContext) -> None:
        """To all pages of a context."""
        context.on("console", lambda message: self._hear(message.type, message.text))
        context.on("weberror", lambda error: self.heard.append(f"error: {error.error}"))
        context.on("requestfailed", self._failed)
        context.on("response", lambda answer: self.heard.append(f"{answer.status}: {answer.url}") if answer.status >= 400 else None)

    def _hear(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"}:
            self.heard.append(f"{kind}: {text}")

    def _failed(self, request: Request) -> None:
        # What a page had asked for when it was left.
        if request.failure != "net::ERR_ABORTED":
            self.heard.append(f"failed: {request.url}: {request.failure}")

    def unexpected(self) -> list[str]:
        return [each for each in self.heard if not any(re.search(pattern, each) for pattern in self._expected)]


@pytest.fixture
def complaints() -> Iterator[Complaints]:
    """What was heard until the end of the test, which fails of it."""
    complaints = Complaints()
    yield complaints
    assert complaints.unexpected() == []


@pytest.fixture
def new_context(browser: Browser, complaints: Complaints) -> Iterator[NewContext]:
    """A browser as somebody has it who comes for the first time; closed at the end of the test."""
    made = []

    def new(**options: Any) -> BrowserContext:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        context.set_default_timeout(MILLISECONDS)
        complaints.listen(context)
        made.append(context)
        return context

    yield new
    for context in made:
        context.close()


@pytest.fixture
def page(new_context: NewContext, door: Door) -> Page:
    """A page of `door`, not yet gone to: paths are relative to it."""
    return new_context(base_url=door.url).new_page()


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A file that is not there yet, for which steps wait."""
    return tmp_path / "gate"


@pytest.fixture
def mark(request: pytest.FixtureRequest) -> str:
    """A tag that only runs of this test have."""
    return re.sub(r"\W+", "-", request.node.name)[:60]
