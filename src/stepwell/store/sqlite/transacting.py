"""`Store.transact`: a step's function has the connection that writes, within a transaction that it may share with other writes.

What it does is undone with the savepoint of its job. It cannot end the transaction: SQLite is asked to allow no such statement meanwhile.
Where one ends nevertheless (`ON CONFLICT ROLLBACK`), nothing of it is written, and the others are asked to write again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, cast

from stepwell.core.status import RunStatus
from stepwell.errors import DefinitionError
from stepwell.store.port import Batch, EffectFailed
from stepwell.store.sql.writing import Writes, recorded
from stepwell.store.sqlite.connection import OUR_SAVEPOINTS, code_of

if TYPE_CHECKING:
    from stepwell.store.port import Effect
    from stepwell.store.sql.starting import Lanes
    from stepwell.store.sqlite.connection import WriteConnection
    from stepwell.store.sqlite.transaction import Transaction

_NOTHING: Final = Batch((), (), (), (), ())
_ENVIRONMENT: Final = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM)
"""Errors for which no function can be blamed."""


async def transact(transaction: Transaction, lanes: Lanes, worker: str, effect: Effect, tried: bool, now: float) -> RunStatus | None:
    """See `Store.transact`. `tried`: it may be written already."""
    writes = Writes(transaction, lanes, worker, _NOTHING, now)
    held = (effect.run, effect.claim)
    status = (await writes.fence({held})).get(held, RunStatus.RUNNING)
    if status is None or status.ended:
        return status
    there = await recorded(transaction, effect.run, effect.key, effect.claim) if tried else None
    if there is not None:
        effect.found(there)
    else:
        await writes.record([effect.outcome(_call(effect, cast("WriteConnection", transaction.source)))])
    return status


def _call(effect: Effect, connection: WriteConnection) -> Any:
    try:
        with _lent(connection) as refused:
            value = effect.call(connection)
    except EffectFailed as failed:
        if (faultless := _of_the_environment(failed.__cause__)) is not None:
            effect.blame(None)
            raise faultless from None
        if refused:
            effect.blame(_not_its_own(effect, refused[0]))
        _check_open(effect, connection)
        raise
    if not connection.in_transaction:
        effect.blame(_not_its_own(effect, "ROLLBACK"))
    _check_open(effect, connection)
    return value


@contextmanager
def _lent(connection: WriteConnection) -> Iterator[list[str]]:
    """While it is lent, no statement is allowed that ends the transaction; afterwards it is as it was. What was refused is told."""

    def allows(action: int, what: str | None, name: str | None, *_: Any) -> int:
        if not connection.in_transaction:  # `OR ROLLBACK` has ended it: nothing is to be written beside it
            refused.append("ROLLBACK")
        elif action == sqlite3.SQLITE_TRANSACTION:
            refused.append(what or "BEGIN")
        elif action == sqlite3.SQLITE_SAVEPOINT and (name or "").lower().startswith(OUR_SAVEPOINTS):
            refused.append(f"{what} {name}")
        else:
            return sqlite3.SQLITE_OK
        return sqlite3.SQLITE_DENY

    refused: list[str] = []
    row_factory, text_factory = connection.row_factory, connection.text_factory
    # Statements prepared before are prepared anew, our own COMMIT among them: none is allowed from the cache.
    connection.set_authorizer(allows)
    connection.refused = refused
    try:
        yield refused
    finally:
        connection.refused = None
        connection.set_authorizer(None)
        connection.row_factory, connection.text_factory = row_factory, text_factory


def _not_its_own(effect: Effect, what: str) -> DefinitionError:
    return DefinitionError(
        f"the function of transaction {effect.key!r} is not to use {what}: the step commits what it writes together with its own "
        "record, or rolls back both. Return from the function, or raise"
    )


def _of_the_environment(error: BaseException | None) -> sqlite3.Error | None:
    """The error of the disk or the memory that this one comes from."""
    while error is not None:
        if isinstance(error, sqlite3.Error) and code_of(error) in _ENVIRONMENT:
            return error
        error = error.__cause__ or error.__context__
    return None


def _check_open(effect: Effect, connection: sqlite3.Connection) -> None:
    """Others share the transaction: without it, nothing of them is written either."""
    if not connection.in_transaction:
        raise sqlite3.OperationalError(f"the transaction was rolled back by what step {effect.key!r} of run {effect.run} has done in it")
