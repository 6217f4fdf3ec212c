"""Keeps async generators of bodies apart from the worker's loop.

Python tells one pair of hooks a thread of generators that begin, and of those that nobody holds any more. Without these, a body's
generator that is left open would be closed by the worker's loop, outside of its run. When the garbage collector gets to it is chance,
so it is kept, and closed when the run is left.
"""

from __future__ import annotations

import sys
from asyncio import events
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class Generators:
    """The async generators that one run's body has begun."""

    __slots__ = ("_begun", "left_open")

    def __init__(self) -> None:
        self._begun: list[int] = []
        self.left_open: list[AsyncGenerator[Any, Any]] = []
        """Those that nobody holds any more, and that have not run to their end."""

    def begin(self, generator: AsyncGenerator[Any, Any]) -> None:
        """The body iterates it for the first time."""
        self._begun.append(id(generator))
        _homes[id(generator)] = self

    def forget(self) -> None:
        """The run has been left."""
        for generator_id in self._begun:
            if _homes.get(generator_id) is self:  # ids are used again, then it is another run's
                del _homes[generator_id]
        self._begun.clear()


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
            generators.left_open.append(generator)
        elif outer.finalizer is not None:
            outer.finalizer(generator)

    begun.of_stepwell = True  # type: ignore[attr-defined]
    sys.set_asyncgen_hooks(begun, dropped)
