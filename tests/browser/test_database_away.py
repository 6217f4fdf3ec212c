"""Pages while the database does not answer: they say so, keep what they show, and go on by themselves when it is back."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg
import pytest
from playwright.sync_api import expect
from psycopg import sql

from tests.browser.conftest import Complaints, NewContext
from tests.browser.served import Site
from tests.postgres import shared

pytestmark = pytest.mark.timeout(120)


class Database:
    """One of its own, which can be sent away, with all who use it, and brought back."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._name = urlsplit(url).path.removeprefix("/")

    def leaves(self) -> None:
        self._let("false")
        with psycopg.connect(shared.server_url(), autocommit=True) as connection:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [self._name])

    def comes_back(self) -> None:
        self._let("true")

    def _let(self, allowed: str) -> None:
        with psycopg.connect(shared.server_url(), autocommit=True) as connection:
            connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(sql.Identifier(self._name), sql.SQL(allowed)))


@pytest.fixture
def database() -> Iterator[Database]:
    with shared.fresh_database() as url:
        database = Database(url)
        yield database
        database.comes_back()


def test_a_page_says_that_the_database_is_away_and_goes_on_when_it_is_back(
    new_context: NewContext, database: Database, complaints: Complaints
) -> None:
    complaints.expect("503")
    with Site(database.url, "stepwell") as site:
        site.start("nap", {})
        context = new_context(base_url=site.door().url)
        tasks, workflows = context.new_page(), context.new_page()
        tasks.goto("/tasks")
        expect(tasks.locator("[data-live]")).to_have_attribute("data-state", "live")
        expect(tasks.locator("[data-row]").first).to_be_visible()

        database.leaves()
        expect(tasks.locator("[data-live]")).to_have_attribute("data-state", "retrying")
        expect(tasks.locator("[data-row]").first).to_be_visible()
        workflows.goto("/workflows")
        expect(workflows.get_by_role("heading", level=1)).to_have_text("Database unavailable")
        database.comes_back()

        expect(tasks.locator("[data-live]")).to_have_attribute("data-state", "live")
        expect(workflows.get_by_role("heading", level=1)).to_have_text("Workflows")
        context.close()
