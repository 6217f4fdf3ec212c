"""What all tests share: how Hypothesis looks for examples, one PostgreSQL, and one browser."""

import gc
import sys
from pathlib import Path
from typing import Final

import pytest
from hypothesis import settings

pytest_plugins = ["tests.browser.plugin", "tests.postgres.plugin"]

# An example has no deadline of its own: on a busy machine the first one, which imports what it needs, may be slow.
# All else stays as Hypothesis has it, which on CI tries the same examples every time.
settings.register_profile("stepwell", settings(), deadline=None)
settings.load_profile("stepwell")

STORES: Final = Path(__file__).parent / "store"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """The stores that tests of stores keep are theirs alone: others count connections, or wait until there is none."""
    kept = sys.modules.get("tests.store.kept")
    if kept is not None and item.path.parent != STORES:
        kept.end()


def pytest_collection_finish() -> None:
    """The tests themselves are no garbage until the end: to look through them each time took a quarter of a second."""
    gc.freeze()
