"""A SQLite file as a place for benchmarks."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stepwell.store.port import Store
from stepwell.store.sqlite import SqliteStore


class SqliteFile:
    """See `whole.Place`."""

    @contextmanager
    def empty(self) -> Iterator[Store]:
        with tempfile.TemporaryDirectory() as directory:
            yield SqliteStore(str(Path(directory) / "bench.db"))
