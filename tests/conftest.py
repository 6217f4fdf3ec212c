"""What all tests share: how Hypothesis looks for examples, one PostgreSQL, and one browser."""

import gc

from hypothesis import settings

pytest_plugins = ["tests.browser.plugin", "tests.postgres.plugin"]

# An example has no deadline of its own: on a busy machine the first one, which imports what it needs, may be slow.
# All else stays as Hypothesis has it, which on CI tries the same examples every time.
settings.register_profile("stepwell", settings(), deadline=None)
settings.load_profile("stepwell")


def pytest_collection_finish() -> None:
    """The tests themselves are no garbage until the end: to look through them each time took a quarter of a second."""
    gc.freeze()
