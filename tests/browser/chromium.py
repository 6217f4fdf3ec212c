"""Finds Chromium on this machine, and says how it is to be started. Starts none."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

CHOICE: Final = "STEPWELL_TEST_CHROMIUM"
"""A program to use, whatever else is there."""

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

ABSENT: Final = (
    f"no Chromium on this machine: install it (on Debian `make services`, or `apt-get install chromium`; elsewhere `python -m playwright "
    f"install chromium`), or name its program by {CHOICE}"
)

FLAGS: Final = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""It asks nobody but the pages that it shows."""


@cache
def chromium() -> str | None:
    """The program: the one that was chosen, else the system's, else the newest that Playwright has fetched."""
    if chosen := os.environ.get(CHOICE):
        return chosen
    found = (shutil.which(name) for name in _NAMES)
    return next((path for path in found if path), None) or _of_playwright()


def flags() -> list[str]:
    """With which it is started; root may not have it shut itself in."""
    return [*FLAGS, "--no-sandbox"] if os.geteuid() == 0 else list(FLAGS)


def described() -> str:
    """Which one tests use, for the header of pytest."""
    path = chromium()
    if path is None:
        return f"Chromium: its tests {'fail' if os.environ.get('CI') else 'ARE LEFT OUT'}: {ABSENT}"
    answer = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=60, check=False)
    return f"Chromium: {answer.stdout.strip() or 'of no known version'}, {path}"


def _of_playwright() -> str | None:
    folder = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or Path.home() / ".cache/ms-playwright")
    found = sorted(folder.glob("chromium-*/chrome-linux*/chrome"), key=lambda path: int(path.parts[-3].rpartition("-")[2]))
    return str(found[-1]) if found else None
