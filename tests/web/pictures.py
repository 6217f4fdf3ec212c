"""Pictures of timelines in a real browser, to be looked at: `python -m tests.web.pictures FOLDER [NAME …]`.

They are served with the policy that pages have, and what a page says of a breach of it is printed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import as_file, files
from pathlib import Path
from threading import Thread
from typing import Any

from tests.web.timelines import EXAMPLES, markup

POLICY = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'"
ASKED: dict[str, dict[str, Any]] = {
    "chosen": {"step": "charge_card", "attempt": 3},
    "zoomed": {"begin": 1.0, "end": 2.0},
    "opened": {"opened": ("send_email_*",), "only": "slow"},
}
"""What else than all of an example is looked at."""
WIDTHS = (1440, 768, 375)
THEMES = ("light", "dark")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--enable-logging=stderr",
)  # fmt: skip
PAGE = """<!doctype html>
<html lang="en" data-theme="{theme}">
<head><meta charset="utf-8"><title>{name}</title><meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="stepwell.css"><link rel="stylesheet" href="timeline.css"></head>
<body><main>{timeline}</main></body></html>
"""


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder under the policy."""

    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", POLICY)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: what is asked for is known."""


def main(folder: Path, names: list[str]) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("there is no chromium on PATH; on Debian: apt-get install chromium")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as served, as_file(files("stepwell.web") / "static") as static:
        for style in static.glob("*.css"):
            shutil.copy(style, served)
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=served))
        Thread(target=server.serve_forever, daemon=True).start()
        for name in names or list(EXAMPLES):
            _take(chromium, server.server_address[1], Path(served), folder, name)
        server.shutdown()


def _take(chromium: str, port: int, served: Path, folder: Path, name: str) -> None:
    timeline = markup(EXAMPLES[name]().timeline(**ASKED.get(name, {})))
    for theme in THEMES:
        page = f"{name}-{theme}.html"
        (served / page).write_text(PAGE.format(theme=theme, name=name, timeline=timeline))
        for width in WIDTHS:
            picture = folder / f"{name}-{width}-{theme}.png"
            said = _run(chromium, f"http://127.0.0.1:{port}/{page}", width, picture)
            print(picture, *(line for line in said.splitlines() if "Content Security Policy" in line))


def _run(chromium: str, address: str, width: int, picture: Path) -> str:
    with tempfile.TemporaryDirectory() as profile:
        command = [chromium, *FLAGS, f"--user-data-dir={profile}", f"--window-size={width},900", f"--screenshot={picture}", address]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stderr


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
