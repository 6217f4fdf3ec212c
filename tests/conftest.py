"""What all tests share: how Hypothesis looks for examples, one PostgreSQL, one browser, and how long they may take."""

from pathlib import Path
from typing import Final

import pytest
from hypothesis import settings

pytest_plugins = ["tests.browser.plugin", "tests.postgres.plugin"]

# An example has no deadline of its own: on a busy machine the first one, which imports what it needs, may be slow.
# All else stays as Hypothesis has it, which on CI tries the same examples every time.
settings.register_profile("stepwell", settings(), deadline=None)
settings.load_profile("stepwell")

WITH_PROGRAMS: Final = {"browser", "cli", "examples", "faults", "house", "postgres", "proof", "simulation"}
"""Folders of tests that start programs, servers and browsers, often several at a time, or compute for long."""

LONGEST: Final = 300
"""Seconds that they may take: on a busy machine they do not hang because they take more than a minute."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name in WITH_PROGRAMS and item.path.parent.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(LONGEST))
