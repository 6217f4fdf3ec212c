"""A data pipeline: collects pages of a web site, transforms them, and stores the result in a database of its own.

When the transformation turns out to be wrong, it is mended, and the run is forked from that step on: the pages that it has collected
are used again, and the site is not asked a second time.

    python examples/pipeline.py
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections import Counter
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any, Self
from urllib.request import urlopen

from pydantic import BaseModel

from stepwell import Step, Stepwell, workflow


class Source(BaseModel):
    """From where the pages come, and where the result goes."""

    urls: list[str]
    database: Path


@workflow(version="2")
async def word_counts(source: Source, version: str, step: Step) -> int:
    """Count the words of all pages; how many different ones there are."""
    pages = await step.map("collect", fetch, source.urls, concurrency=4)
    transform = count_all if version == "1" else count_words
    counts = await step.run("transform", transform, pages)
    return await step.run("store", store, source.database, counts)


def fetch(url: str) -> str:
    """Get one page."""
    with urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def count_all(pages: list[str]) -> dict[str, int]:
    """As it was in version 1: it takes the tags for words."""
    return dict(Counter(word for page in pages for word in page.split()))


def count_words(pages: list[str]) -> dict[str, int]:
    """As it is in version 2."""
    return dict(Counter(word.lower() for page in pages for word in re.findall(r"\w+", re.sub("<[^>]*>", " ", page))))


def store(database: Path, counts: dict[str, int]) -> int:
    """Replace what is stored, in one transaction: a second attempt leaves what the first one would have left."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE IF NOT EXISTS words (word TEXT PRIMARY KEY, count INTEGER NOT NULL)")
        connection.execute("DELETE FROM words")
        connection.executemany("INSERT INTO words VALUES (?, ?)", counts.items())
    return len(counts)


# -- to try it: a web site of three pages, and a run of version 1 that is forked with version 2

PAGES = {
    "/one": "<h1>Wells</h1> <p>A stepwell is a well with steps.</p>",
    "/two": "<h1>Steps</h1> <p>The steps lead down to the water.</p>",
    "/three": "<h1>Water</h1> <p>The water is far below.</p>",
}


class Site(ThreadingHTTPServer):
    """Serves the pages on a free port of this machine, and keeps what it was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Page)
        self.asked: list[str] = []

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

    @property
    def urls(self) -> list[str]:
        """Of all pages."""
        return [f"http://127.0.0.1:{self.server_port}{path}" for path in PAGES]


class Page(BaseHTTPRequestHandler):
    """One request."""

    server: Site

    def do_GET(self) -> None:
        """Answer with the page."""
        self.server.asked.append(self.path)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(PAGES[self.path].encode())

    def log_message(self, *_: Any) -> None:
        """Say nothing: what was asked for is kept."""


def most_frequent(database: Path) -> str:
    """What is stored, the words that come most often first."""
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT word, count FROM words ORDER BY count DESC, word LIMIT 4").fetchall()
    return ", ".join(f"{word} {count}" for word, count in rows)


async def main(database: Path, database_url: str | None = None) -> None:
    """Collect, find that the transformation was wrong, and go on from there with the one that is mended."""
    async with Stepwell(database_url, workflows=[word_counts]) as app, app.worker():
        with Site() as site:
            first = await app.start("word_counts", Source(urls=site.urls, database=database), version="1")
            print(f"version 1: {await first.result()} words; {most_frequent(database)}; {len(site.asked)} requests")
            second = await app.runs.fork(first.run_id, from_step="transform", version="2")
            print(f"version 2: {await second.result()} words; {most_frequent(database)}; {len(site.asked)} requests")


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder) / "words.db"))
