"""`Store.transact`: a step's function writes in a transaction of its own, and its outcome is added to that before it is committed.

The function comes first and the fence last, so the run is locked only for a moment, and what others did to it meanwhile is seen. Where
others got in the way of its statements it is called again; what else fails in it is a failed attempt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import psycopg

from stepwell.core.status import RunStatus
from stepwell.errors import DatabaseUnavailable, DefinitionError
from stepwell.store.port import Batch, EffectFailed
from stepwell.store.postgres.connection import ALTOGETHER, TRIES, Pool, meaning, unavailable
from stepwell.store.postgres.lines import Standing
from stepwell.store.sql.writing import Writes, recorded

if TYPE_CHECKING:
    from stepwell.core.records import Outcome
    from stepwell.store.port import Effect
    from stepwell.store.postgres.lines import Line, Lines
    from stepwell.store.sql.starting import Lanes
    from stepwell.store.sql.transaction import Transaction

_NOTHING: Final = Batch((), (), (), (), ())
_IN_THE_WAY: Final = ("40001", "40P01")
"""Codes of errors that say to try again: two transactions cannot both be done, or wait for each other."""

_ENVIRONMENT: Final = ("53", "58")
"""How the codes of those errors begin for which no function can be blamed: the server's disk, memory and files."""

_SILENT: Final = "25P03"
"""The server has ended a transaction in which nothing was asked for too long."""


class _InTheWay(Exception):
    """Others were in the way. Nothing is written, and it may be tried again."""

    def __init__(self, failure: Exception) -> None:
        super().__init__(failure)
        self.failure = failure
        """What to raise when it was tried often enough."""


class Transactions:
    """What is done with the connections that are lent to steps.

    Args:
        lines: where they come from.
        pool: of the workers; for what is asked without a function.
        lanes: of the store.
        label: of the database, for people.
    """

    def __init__(self, lines: Lines, pool: Pool, lanes: Lanes, label: str) -> None:
        self._lines = lines
        self._pool = pool
        self._lanes = lanes
        self._label = label

    async def transact(self, worker: str, effect: Effect, now: float) -> RunStatus | None:
        """See `Store.transact`."""
        return await self._pool.own(self._transact(worker, effect, now))

    async def close(self, patience: float) -> None:
        """Let go of all connections: those in use after so many seconds, in the middle of what they do."""
        await self._lines.close(patience)

    async def _transact(self, worker: str, effect: Effect, now: float) -> RunStatus | None:
        if effect.numbered:
            (status, there), _ = await self._pool.write(_look, self._lanes, worker, effect, now)
            if there is not None:
                effect.found(there)
            if there is not None or not _may_write(status):
                return status
            effect.void()  # others of the run are not to wait for the function
        tries = 0
        while True:
            tries += 1
            try:
                return await self._once(worker, effect, now)
            except _InTheWay as error:
                effect.void()
                if tries == TRIES:
                    raise error.failure from error.failure.__cause__
                effect.blame(None)
                await asyncio.sleep(0.002 * 2**tries)

    async def _once(self, worker: str, effect: Effect, now: float) -> RunStatus | None:
        try:
            async with self._lines.lend(effect) as line:
                value = await _called(line, effect, self._label)
                effect.number()
                outcome = effect.outcome(value)
                async with asyncio.timeout(ALTOGETHER):
                    status = await self._written(line, worker, effect, outcome, now)
                    if _may_write(status):
                        await _commit(line, effect, self._label)
                return status
        except psycopg.Error as error:  # on the way to the function
            raise unavailable(error, self._label) from error
        except TimeoutError as error:
            raise DatabaseUnavailable(f"{self._label} has not answered for {ALTOGETHER:g} s") from error

    async def _written(self, line: Line, worker: str, effect: Effect, outcome: Outcome, now: float) -> RunStatus | None:
        try:
            if not await line.take_over():
                effect.blame(_not_its_own(effect, "COMMIT or ROLLBACK"))
                raise EffectFailed
            return await line.run(_write, self._lanes, worker, effect, outcome, now)
        except (psycopg.Error, DatabaseUnavailable) as error:
            effect.void()  # nothing is written without a COMMIT
            said = meaning(error, self._label) if isinstance(error, psycopg.Error) else error
            code = _code_of(error)
            if code == _SILENT:
                effect.blame(said)
                raise EffectFailed from error
            if code in _IN_THE_WAY:
                raise _InTheWay(said) from error
            raise said from error


# -- in the transaction


async def _look(transaction: Transaction, lanes: Lanes, worker: str, effect: Effect, now: float) -> tuple[RunStatus | None, Outcome | None]:
    """How the run stands, and what is written of this effect. The fence waits for an older transaction that is not over yet."""
    _, status = await _fence(transaction, lanes, worker, effect, now)
    return status, await recorded(transaction, effect.run, effect.key, effect.claim) if _may_write(status) else None


async def _write(transaction: Transaction, lanes: Lanes, worker: str, effect: Effect, outcome: Outcome, now: float) -> RunStatus | None:
    writes, status = await _fence(transaction, lanes, worker, effect, now)
    if _may_write(status):
        await writes.record([outcome])
    return status


async def _fence(transaction: Transaction, lanes: Lanes, worker: str, effect: Effect, now: float) -> tuple[Writes, RunStatus | None]:
    writes = Writes(transaction, lanes, worker, _NOTHING, now)
    held = (effect.run, effect.claim)
    return writes, (await writes.fence({held})).get(held, RunStatus.RUNNING)


def _may_write(status: RunStatus | None) -> bool:
    return status is not None and not status.ended


# -- the function, and what became of its transaction


async def _called(line: Line, effect: Effect, label: str) -> Any:
    try:
        value = await line.call(effect)
    except EffectFailed as failed:
        _judge(line, effect, failed, label)
        raise
    _check(line, effect, label)
    return value


def _judge(line: Line, effect: Effect, failed: EffectFailed, label: str) -> None:
    """The function has raised. Was it its own fault?"""
    cause = failed.__cause__
    code = _code_of(cause)
    standing = line.standing
    if line.refused:
        effect.blame(_not_its_own(effect, line.refused[0]))
    elif standing is Standing.ENDED:
        effect.blame(_not_its_own(effect, "COMMIT or ROLLBACK"))
    elif code in _IN_THE_WAY:
        raise _InTheWay(failed) from failed
    elif standing is Standing.GONE and code != _SILENT:
        effect.blame(None)
        raise DatabaseUnavailable(f"{label}: the connection was lost ({cause})") from cause
    elif standing is Standing.ABORTED and code is not None and code.startswith(_ENVIRONMENT):
        effect.blame(None)
        raise DatabaseUnavailable(f"{label}: {cause}") from cause


def _check(line: Line, effect: Effect, label: str) -> None:
    """The function has returned. Is its transaction still there?"""
    standing = line.standing
    if standing is Standing.OPEN:
        return
    if standing is Standing.GONE:
        raise DatabaseUnavailable(f"{label}: the connection was lost while the function of transaction {effect.key!r} had it")
    if standing is Standing.ENDED:
        effect.blame(_not_its_own(effect, "COMMIT or ROLLBACK"))
    elif standing is Standing.ABORTED:
        effect.blame(
            DefinitionError(
                f"a statement in the function of transaction {effect.key!r} has failed, and the function went on: PostgreSQL then "
                "takes back all of the transaction. Let the error out, or put what may fail into `with connection.transaction():`"
            )
        )
    else:
        effect.blame(
            DefinitionError(
                f"the function of transaction {effect.key!r} has left a statement open: read all of its rows, and end each COPY"
            )
        )
    raise EffectFailed


async def _commit(line: Line, effect: Effect, label: str) -> None:
    try:
        await line.commit()
    except psycopg.Error as error:
        if line.standing is Standing.GONE:
            raise unavailable(error, label) from error  # it may be written: the next try looks
        effect.void()
        code = error.sqlstate or ""
        if code in _IN_THE_WAY:
            raise _InTheWay(unavailable(error, label)) from error
        if code.startswith(_ENVIRONMENT):
            raise unavailable(error, label) from error
        effect.blame(error)  # a deferred constraint, or a trigger
        raise EffectFailed from error


def _not_its_own(effect: Effect, what: str) -> DefinitionError:
    return DefinitionError(
        f"the function of transaction {effect.key!r} is not to use {what}: the step commits what it writes together with its own "
        "record, or rolls back both. Return from the function, or raise"
    )


def _code_of(error: BaseException | None) -> str | None:
    """What the server has called the error that this one comes from."""
    codes = (getattr(each, "sqlstate", None) or getattr(each, "pgcode", None) for each in _chain(error))
    return next((code for code in codes if code is not None), None)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen = set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
