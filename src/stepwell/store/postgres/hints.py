"""Hints between processes by LISTEN and NOTIFY, on connections of their own. Hints may be lost; everything works without them, later.

A NOTIFY in a transaction with data would make all commits of the server wait for each other.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import psycopg

from stepwell.errors import DatabaseUnavailable
from stepwell.store.port import Hint
from stepwell.store.postgres.connection import Connection, connect, give_up
from stepwell.store.postgres.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

APART: Final = 0.02
"""Seconds between two announcements of one process."""

LAST_WORDS: Final = 0.25
"""Seconds for what was announced just before the end: programs that do one thing and leave have nothing else to say."""

AGAIN: Final = 1.0
"""Seconds until the next try to listen."""


class Announcer:
    """Tells other processes what may have changed here, and this one what may have changed there.

    Args:
        target: the database.
        namespace: the channel.
        me: by which this process knows its own words.
        tell: told what others have said.
        listens: whether the connection stays the same for as long as it is open: behind a pooler, nothing is heard.
    """

    def __init__(self, target: Target, namespace: str, me: str, tell: Callable[[set[Hint]], None], *, listens: bool) -> None:
        self._target = target
        self._namespace = namespace
        self._me = me
        self._tell = tell
        self._waiting: set[Hint] = set()
        self._listener: Connection | None = None
        self._speaker: Connection | None = None
        self._speaking: asyncio.Task[None] | None = None
        self._listening: asyncio.Task[None] | None = None
        if listens:
            self._listening = asyncio.get_running_loop().create_task(self._listen_on(), name="stepwell-postgres-listener")

    def send(self, hints: set[Hint]) -> None:
        """Announce this: at once, if the last time is long enough ago, else with what comes until then."""
        self._waiting |= hints
        if self._speaking is None or self._speaking.done():
            self._speaking = asyncio.get_running_loop().create_task(self._speak(), name="stepwell-postgres-speaker")

    async def close(self) -> None:
        """Say what is still to be said, and then nothing more."""
        if self._speaking is not None:
            await asyncio.wait([self._speaking], timeout=LAST_WORDS)
        tasks = [task for task in (self._listening, self._speaking) if task is not None]
        for connection in (self._listener, self._speaker):
            if connection is not None:
                give_up(connection)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- to others

    async def _speak(self) -> None:
        while self._waiting:
            hints, self._waiting = self._waiting, set()
            try:
                await self._announce(f"{self._me} {' '.join(sorted(hints))}")
            except (psycopg.Error, DatabaseUnavailable) as error:
                log.debug("a hint was lost: %s", error)
                if self._speaker is not None:
                    give_up(self._speaker)
                    self._speaker = None
            await asyncio.sleep(APART)

    async def _announce(self, words: str) -> None:
        if self._speaker is None or self._speaker.closed:
            self._speaker = (await connect(self._target, {})).connection
        # What is announced has been flushed before: there is no need to wait for the flush of having said so.
        statement = f"BEGIN; SET LOCAL synchronous_commit = off; NOTIFY \"{self._namespace}\", '{words}'; COMMIT"
        await self._speaker.execute(statement)

    # -- from others

    async def _listen_on(self) -> None:
        while True:
            try:
                await self._listen()
            except (psycopg.Error, DatabaseUnavailable) as error:
                log.debug("nothing is heard from other processes, and is tried again: %s", error)
            finally:
                if self._listener is not None:
                    give_up(self._listener)
                    self._listener = None
            await asyncio.sleep(AGAIN)

    async def _listen(self) -> None:
        self._listener = (await connect(self._target, {})).connection
        await self._listener.execute(f'LISTEN "{self._namespace}"')
        self._tell(set(Hint))  # nobody knows what was said before
        async for notice in self._listener.notifies():
            self._hear(notice.payload)

    def _hear(self, words: str) -> None:
        who, _, hints = words.partition(" ")
        if who == self._me:
            return
        with suppress(ValueError):  # a word of a newer version
            self._tell({Hint(word) for word in hints.split()})
