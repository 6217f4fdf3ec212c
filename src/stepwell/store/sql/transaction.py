"""What the verbs see of a database: named statements in an open transaction. Knows no driver, and no SQL."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stepwell.store.port import Hint

T = TypeVar("T")
Verb = Callable[..., Coroutine[Any, Any, T]]
"""A function over an open transaction, which is its first argument."""


class Transaction(Protocol):
    """An open transaction. Batches go in as one parameter, a JSON array of arrays.

    Nothing here assumes that it is the only one: a statement whose answer others could make untrue locks the rows that it reads, in the
    order of their ids, where the database does not keep others out anyway.
    """

    hints: set[Hint]
    """What to tell others once it is committed."""
    committed: list[Callable[[], None]]
    """What is to be remembered of it, once it is committed."""

    async def execute(self, name: str, /, **parameters: Any) -> int:
        """Execute a statement that changes something; how many rows it touched."""

    async def together(self, name: str, other: str, /, **parameters: Any) -> None:
        """Execute two statements that insert, in one round trip where there are such. The first does not see what the other inserts."""

    async def one(self, name: str, /, **parameters: Any) -> Sequence[Any] | None:
        """The first row of the answer; None: there is none. Instants are seconds."""

    async def many(self, name: str, /, **parameters: Any) -> Sequence[Sequence[Any]]:
        """The rows of the answer. Instants are what the statement makes of them: whole microseconds, where many rows come."""

    async def records(self, name: str, /, **parameters: Any) -> list[dict[str, Any]]:
        """The rows, by the names of their columns. Instants are seconds."""

    async def query(self, statement: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """The rows that a statement answers which was put together from `part`s, with parameters like `:name`; it may use some only."""

    def part(self, name: str) -> str:
        """The text of a named statement."""


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits, as on a transaction whose statements block.

    Raises:
        RuntimeError: it waits for something.
    """
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise RuntimeError(f"{coroutine} waits for something, in a transaction that cannot")
