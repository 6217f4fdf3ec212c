"""An outage: a web site is down while many runs need it. An operator pauses them all, and resumes them when it is up again.

Without the pause each run would go on trying, and fail when its attempts are used up. A paused run uses up none, so that the outage may
last as long as it likes. From a shell: `stepwell runs pause --all --workflow collect`, and later `resume`.

    python examples/outage.py
"""

from __future__ import annotations

import asyncio
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any, Self
from urllib.error import HTTPError
from urllib.request import urlopen

from stepwell import Handle, Retry, Step, Stepwell, workflow

ATTEMPTS = 3


@workflow(retry=Retry(ATTEMPTS, initial_interval="1s"))
async def collect(url: str, step: Step) -> str:
    """Get a page and keep its title."""
    page = await step.run("fetch", fetch, url)
    return await step.run("title", title_of, page)


def fetch(url: str) -> str:
    """Get one page. An answer that is an error raises HTTPError, and the step is tried again."""
    try:
        with urlopen(url, timeout=10) as answer:
            return str(answer.read().decode())
    except HTTPError as error:
        error.close()  # it is the answer, too, and holds the connection
        raise


def title_of(page: str) -> str:
    """What stands between the tags."""
    return page.removeprefix("<title>").removesuffix("</title>")


async def attempts_failed(handles: list[Handle[Any]]) -> list[int]:
    """How many attempts of each run have failed."""
    return [sum(record.status == "failed" for record in await handle.steps()) for handle in handles]


# -- to try it: a web site that goes down after a while


class Site(ThreadingHTTPServer):
    """Serves any page on a free port of this machine, until it has served some; then it is down until it is repaired."""

    def __init__(self, healthy_for: int) -> None:
        super().__init__(("127.0.0.1", 0), Page)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.asked: list[str] = []
        self.refused = Event()
        self._healthy_for: float = healthy_for

    def __enter__(self) -> Self:
        """Serve, in a thread."""
        self._thread = Thread(target=self.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Serve no more."""
        self.shutdown()
        self._thread.join()
        self.server_close()

    def repair(self) -> None:
        """It is up again, for good."""
        self._healthy_for = float("inf")

    @property
    def down(self) -> bool:
        """Whether it answers with errors."""
        return len(self.asked) > self._healthy_for


class Page(BaseHTTPRequestHandler):
    """One request."""

    server: Site

    def do_GET(self) -> None:
        """Answer with a title, or with an error."""
        self.server.asked.append(self.path)
        down = self.server.down
        self.send_response(503 if down else 200)
        self.end_headers()
        self.wfile.write(f"<title>Page {self.path[1:]}</title>".encode())
        if down:
            self.server.refused.set()

    def log_message(self, *_: Any) -> None:
        """Say nothing: what was asked for is kept."""


async def main(database_url: str | None = None, *, outage_seconds: float = 4.0) -> None:
    """Collect twenty pages through an outage that lasts longer than all attempts of a run would."""
    with Site(healthy_for=8) as site:
        async with Stepwell(database_url, workflows=[collect]) as app, app.worker(concurrency=5):
            handles = await app.start_many(collect, [f"{site.url}/{number}" for number in range(1, 21)])
            await asyncio.to_thread(site.refused.wait)
            paused = await app.runs.pause_all(workflow="collect", actor="operator")
            print(f"the site is down: paused {paused} of {len(handles)} runs")

            await asyncio.sleep(outage_seconds)
            site.repair()
            print(f"the site is up again: resumed {await app.runs.resume_all(workflow='collect', actor='operator')} runs")

            titles = [await handle.result() for handle in handles]
            failed = await attempts_failed(handles)
            print(f"collected {titles[0]} to {titles[-1]}, all {len(titles)} of them")
            print(f"of {ATTEMPTS} attempts, no run has lost more than {max(failed)} to the outage")


if __name__ == "__main__":
    asyncio.run(main())
