"""Keeps async generators of bodies apart from the worker's loop.

Python tells one pair of hooks a thread of generators that begin, and of those that nobody holds any more. Without these, a body's
generator that is left open would be closed by the worker's loop, outside of its run. When the garbage collector gets to it is chance,
so it is kept, and closed when the run is left.
"""

from __future__ import annotations

import sys
from asyncio import events
from typing import TYPE_CHECKING, Any, Final
from weakref import ref

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class Generators:
    """The async generators that one run's body has begun."""

    __slots__ = ("_begun", "_dropped")

    def __init__(self) -> None:
        self._begun: list[tuple[int, ref[AsyncGenerator[Any, Any]]]] = []
        self._dropped: list[AsyncGenerator[Any, Any]] = []

    def begin(self, generator: AsyncGenerator[Any, Any]) -> None:
        """The body iterates it for the first time."""
        self._begun.append((id(generator), ref(generator)))
        _homes[id(generator)] = self

    def drop(self, generator: AsyncGenerator[Any, Any]) -> None:
        """Nobody holds it any more, and it has not run to its end."""
        self._dropped.append(generator)

    def take_open(self) -> list[AsyncGenerator[Any, Any]]:
        """All that may not have run to their end, for the last time: the run is being left."""
        held = [generator for _, reference in self._begun if (generator := reference()) is not None]
        taken, self._dropped = [*self._dropped, *held], []
        for generator_id, _ in self._begun:
            if _homes.get(generator_id) is self:  # ids are used again, then it is another run's
                del _homes[generator_id]
        self._begun.clear()
        return taken


_homes: Final[dict[int, Generators]] = {}
"""Which run a generator belongs to, by the generator's id."""


def adopt_generators() -> None:
    """Set the hooks of this thread, in which the worker's loop runs. Again: nothing."""
    outer = sys.get_asyncgen_hooks()
    if getattr(outer.firstiter, "of_stepwell", False):
        return

    def begun(generator: AsyncGenerator[Any, Any]) -> None:
        generators = getattr(events._get_running_loop(), "generators", None)
        if isinstance(generators, Generators):
            generators.begin(generator)
            return
        _homes.pop(id(generator), None)  # of one that ran to its end, whose id this one has now
        if outer.firstiter is not None:
            outer.firstiter(generator)

    def dropped(generator: AsyncGenerator[Any, Any]) -> None:
        generators = _homes.pop(id(generator), None)
        if generators is not None:
            generators.drop(generator)
        elif outer.finalizer is not None:
            outer.finalizer(generator)

    begun.of_stepwell = True  # type: ignore[attr-defined]
    sys.set_asyncgen_hooks(begun, dropped)
