"""The one server of a whole run of pytest, all its workers included, and databases in it.

It is `STEPWELL_TEST_POSTGRES_URL`, or else a server that is started when the first test wants it, and ends with the run.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Final, LiteralString, NoReturn
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from tests.postgres.binaries import ABSENT, binaries, runnable
from tests.postgres.keeping import wait_for_end
from tests.postgres.places import make_folder
from tests.postgres.server import NOT_DURABLE, Server

GIVEN: Final = "STEPWELL_TEST_POSTGRES_URL"
"""A server for tests, as a superuser, or one who may create databases: databases are made in it, and dropped again."""

FOLDER: Final = "STEPWELL_TEST_POSTGRES_FOLDER"
"""Tells the workers of pytest where the run has its server."""


def lacking(what: str) -> NoReturn:
    """A test that needs this is skipped, and says so; on CI, where it must be there, it fails."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


def server_url() -> str:
    """The server of this run, started if it is not yet. Without PostgreSQL on this machine the test is skipped, or fails."""
    if given := os.environ.get(GIVEN):
        return given
    if binaries() is None:
        lacking(ABSENT)
    return _started()


@cache
def database_url() -> str:
    """One database for all tests in this process, which have a namespace each."""
    return _url(_create(None))


@contextmanager
def fresh_namespace() -> Iterator[str]:
    """A name that no schema of `database_url()` has. The schema is dropped afterwards, if there is one."""
    name = f"test_{secrets.token_hex(6)}"
    try:
        yield name
    finally:
        _execute("DROP SCHEMA IF EXISTS {} CASCADE", name, url=database_url())


@contextmanager
def fresh_database(language: str | None = None) -> Iterator[str]:
    """The URL of an empty database, which is dropped afterwards, whoever uses it still; or goes with the server, if that does.

    (To drop one, a server waits for each of its processes, whatever other tests have it do just then.)
    Text sorts by its bytes, or as in a language (`en-US`) where the server knows any: the wheel's does not.
    """
    name = _create(language)
    try:
        yield _url(name)
    finally:
        if os.environ.get(GIVEN):
            _execute("DROP DATABASE {} WITH (FORCE)", name)


def knows_languages() -> bool:
    """Whether the server can sort as in a language."""
    with psycopg.connect(server_url()) as connection:
        return connection.execute("SELECT FROM pg_collation WHERE collprovider = 'i' AND collname = 'en-US-x-icu'").fetchone() is not None


# --------------------------------------------------------------------------------------------------------- the run of pytest


class Life:
    """Of the server of a run: it ends when this does, or when this process does, however that may be."""

    def __init__(self) -> None:
        self.folder = make_folder()
        os.mkfifo(self.folder / "life")
        self._held = os.open(self.folder / "life", os.O_RDWR)
        os.environ[FOLDER] = str(self.folder)

    def end(self) -> None:
        """Stop the server, if it has been started, and leave nothing of it."""
        del os.environ[FOLDER]
        os.close(self._held)
        while _STARTED:
            _STARTED.pop().stop("immediate")
        with suppress(FileNotFoundError):
            wait_for_end(int((self.folder / "keeper").read_text()))
        # The keeper has removed it, if there was a server and it has not ended by itself.
        shutil.rmtree(self.folder, ignore_errors=True)


def drop_database() -> None:
    """Take away the database of this process: a server that was given outlives the run."""
    if database_url.cache_info().currsize and os.environ.get(GIVEN):
        _execute("DROP DATABASE {} WITH (FORCE)", urlsplit(database_url()).path.removeprefix("/"))


def described() -> str:
    """Which server tests use, for the header of pytest."""
    if given := os.environ.get(GIVEN):
        with psycopg.connect(given) as connection:
            info = connection.info
            return f"PostgreSQL: {info.parameter_status('server_version')}, {info.host}:{info.port}, from {GIVEN}"
    if found := binaries():
        return f"PostgreSQL: {found.version}, {found.folder}, thrown away afterwards"
    return f"PostgreSQL: its tests {'fail' if os.environ.get('CI') else 'are skipped'}: {ABSENT}"


# Held, for Python complains of a process that is forgotten while it runs.
_STARTED: Final[list[Server]] = []


def _started() -> str:
    """Started by whichever worker comes first; the others wait for it."""
    folder = Path(os.environ[FOLDER])
    told = folder / "url"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not told.exists():
            found = binaries()
            assert found is not None
            server = Server(folder, runnable(found), settings=NOT_DURABLE)
            # Of a test whose time was over before its server was there: others would find it and fail.
            shutil.rmtree(server.data, ignore_errors=True)
            server.create()
            with (folder / "life").open("rb") as life:
                server.start(held_by=life)
            _STARTED.append(server)
            told.write_text(server.url())
        return told.read_text()


def _create(language: str | None) -> str:
    name = f"stepwell_test_{secrets.token_hex(6)}"
    # Its files are copied: half the time of writing each page to the log.
    made: LiteralString = "CREATE DATABASE {} TEMPLATE template0 STRATEGY file_copy ENCODING 'UTF8'"
    if language is None:
        _execute(made, name)
    else:
        _execute(made + " LOCALE_PROVIDER icu ICU_LOCALE {}", name, language)
    return name


def _url(database: str) -> str:
    return urlsplit(server_url())._replace(path=f"/{database}").geturl()


def _execute(statement: LiteralString, *names: str, url: str | None = None) -> None:
    with psycopg.connect(url or server_url(), autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
