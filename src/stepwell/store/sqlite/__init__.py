"""The port on SQLite: one file, or memory."""

from stepwell.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
