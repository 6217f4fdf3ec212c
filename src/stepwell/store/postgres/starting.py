"""Starts of the same moment share a transaction: one flush for all of them."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from stepwell.store.port import WriteRefused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from stepwell.core.records import NewRun

AT_ONCE: Final = 1_000
"""Runs in one transaction, unless one caller starts more."""


class Starts:
    """Gathers runs while others are being written.

    Args:
        write: writes runs in one transaction, and answers with their ids.
    """

    def __init__(self, write: Callable[[Sequence[NewRun]], Awaitable[list[str]]]) -> None:
        self._write = write
        self._waiting: deque[tuple[Sequence[NewRun], asyncio.Future[list[str]]]] = deque()
        self._writing: asyncio.Task[None] | None = None

    async def add(self, runs: Sequence[NewRun]) -> list[str]:
        """See `Store.enqueue`."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[str]] = loop.create_future()
        self._waiting.append((runs, answer))
        if self._writing is None or self._writing.done():
            self._writing = loop.create_task(self._write_all(), name="stepwell-postgres-starts")
        return await answer

    async def _write_all(self) -> None:
        while self._waiting:
            callers = self._taken()
            try:
                await self._write_together(callers)
            except Exception as error:  # noqa: BLE001  # it belongs to those who wait
                for _, answer in callers:
                    if not answer.done():
                        answer.set_exception(error)

    def _taken(self) -> list[tuple[Sequence[NewRun], asyncio.Future[list[str]]]]:
        callers = [self._waiting.popleft()]
        count = len(callers[0][0])
        while self._waiting and count + len(self._waiting[0][0]) <= AT_ONCE:
            callers.append(self._waiting.popleft())
            count += len(callers[-1][0])
        return callers

    async def _write_together(self, callers: list[tuple[Sequence[NewRun], asyncio.Future[list[str]]]]) -> None:
        runs = [run for given, _ in callers for run in given]
        try:
            ids = await self._write(runs)
        except WriteRefused:
            if len(callers) == 1:
                raise
            for caller in callers:  # the others are not to suffer for it
                await self._write_alone(*caller)
            return
        place = 0
        for given, answer in callers:
            if not answer.done():
                answer.set_result(ids[place : place + len(given)])
            place += len(given)

    async def _write_alone(self, given: Sequence[NewRun], answer: asyncio.Future[list[str]]) -> None:
        try:
            ids = await self._write(given)
        except WriteRefused as error:
            if not answer.done():
                answer.set_exception(error)
        else:
            if not answer.done():
                answer.set_result(ids)
