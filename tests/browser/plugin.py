"""Says at the beginning of a run of pytest which browser its tests use, or that they are left out."""

from __future__ import annotations

from tests.browser.chromium import described


def pytest_report_header() -> str:
    """Nobody should believe that pages were tried in a browser when there was none."""
    return described()
