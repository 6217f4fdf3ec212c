"""Pages that another server than ours serves, in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest

PROGRAM = """
from starlette.applications import Starlette
from starlette.routing import Mount
from stepwell import Stepwell
from stepwell.web import create_app

pages = create_app(Stepwell("sqlite:///pages.db"))
around = Starlette(routes=[Mount("/stepwell", pages)])
"""

WITHIN = 40
"""Seconds, on a busy machine. A stream lasts much longer."""


@pytest.mark.skipif(os.name != "posix", reason="processes are told to end by signals")
@pytest.mark.parametrize(("application", "prefix"), [("pages", ""), ("around", "/stepwell")])
def test_uvicorn_ends_when_it_is_told_to_though_somebody_looks_at_a_page(application: str, prefix: str, tmp_path: Path) -> None:
    (tmp_path / "served.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "uvicorn", f"served:{application}", "--port", "0", "--no-access-log"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            port = next(found[1] for line in server.stderr if (found := re.search(r"running on http://127.0.0.1:(\d+)", line)))
            connection = HTTPConnection("127.0.0.1", int(port), timeout=WITHIN)
            connection.request("GET", f"{prefix}/-/events")
            stream = connection.getresponse()
            first = stream.readline()

            server.send_signal(signal.SIGTERM)
            with closing(connection):
                server.wait(WITHIN)
            said = server.stderr.read()
        finally:
            server.kill()

    assert first == b": still there\n"
    assert "Finished server process" in said
    assert "Traceback" not in said
