"""The pytest plugin, which pytest loads in every project where Stepwell is installed: so it imports nothing until a test asks for it.

It is a module of its own, since to import one of the package would import the package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from stepwell.testing import TestApp


@pytest.fixture
def stepwell_app() -> type[TestApp]:
    """Makes apps in memory, each with its worker, on clocks that move by themselves. See `stepwell.testing.TestApp`.

    It works with any runner of async tests (anyio, pytest-asyncio), and in a plain test with `asyncio.run`.

    Example:
        async def test_a_trial_ends(stepwell_app):
            async with stepwell_app(trial_reminder) as app:
                app.mock_step("welcome")
                assert await app.execute(trial_reminder, Trial(email="ada@example.com")) == {"reminded": True}
    """
    from stepwell.testing import TestApp  # noqa: PLC0415  # only who asks for it pays for it

    return TestApp
