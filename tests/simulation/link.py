"""The line between one process and the store: calls that come late, or not at all, or whose answers get lost; hints likewise.

A call that is under way belongs to the line, not to who made it: it reaches the store also when its process has died meanwhile.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from stepwell.errors import DatabaseUnavailable
from stepwell.store.port import Beat, Hint, Store
from tests.simulation.weather import Luck

if TYPE_CHECKING:
    from tests.simulation.world import World

VERBS = frozenset(name for name in vars(Store) if not name.startswith("_")) - {"open", "close", "listen", "hint", "beat", "enqueue_within"}


class Link:
    """A store as one process sees it. Used in place of the store."""

    def __init__(self, world: World, store: Store, name: str, chance: random.Random) -> None:
        self.name = name
        self.away = False
        """Nothing reaches the store."""
        self.deaf = False
        """Its heartbeats do not reach the store."""
        self.gone = False
        """The process has died: it gets no answer any more."""
        self.beaten_at = float("-inf")
        """When the last heartbeat began that was answered."""
        self.asking: Callable[[str], Any] = lambda verb: None
        """What is to be remembered of the process as it asks."""
        self.heard: Callable[[str, Any, tuple[Any, ...], Any], None] = lambda verb, remembered, args, answer: None
        """Told of each answer, just before the process gets it, with what was remembered."""
        self._world = world
        self._store = store
        self._chance = chance
        self._frozen: asyncio.Event | None = None
        self._troubles = 0  # calls under way that are slow, or will fail
        self._trouble_at = float("-inf")

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        if verb not in VERBS:
            raise AttributeError(verb)
        return partial(self._ask, verb)

    # -- the process

    def freeze(self) -> None:
        """Its answers wait."""
        self._frozen = asyncio.Event()

    def thaw(self) -> None:
        """They come now."""
        if self._frozen is not None:
            self._frozen.set()
            self._frozen = None
        self.in_trouble()

    def in_trouble(self) -> None:
        """Something is not as it should be, now."""
        self._trouble_at = self._world.loop.time()

    @property
    def trouble_at(self) -> float:
        """Until when it was in trouble."""
        return self._world.loop.time() if self._troubles or self._frozen is not None else self._trouble_at

    async def _awake(self) -> None:
        while self._frozen is not None:
            await self._frozen.wait()
        if self.gone:
            await self._world.loop.create_future()

    # -- calls

    async def _ask(self, verb: str, *args: Any, **kwargs: Any) -> Any:
        await self._awake()
        self._world.counts["statements"] += 1
        luck, remembered = self._luck(verb), self.asking(verb)
        if luck is None:
            answer = await self._reach(verb, args, kwargs)
            self.heard(verb, remembered, args, answer)
            return answer
        reply: asyncio.Future[Any] = self._world.loop.create_future()
        self._world.begin(self._carry(luck, verb, args, kwargs, reply))
        answer = await reply
        self.heard(verb, remembered, args, answer)
        return answer

    def _luck(self, verb: str) -> Luck | None:
        world = self._world
        weather = world.weather
        luck = None if weather is None else weather.luck(verb, self._chance)
        if self.away:
            luck = Luck(0.0, 0.0, refused=True, lost=False)
        if luck is None and world.spread:
            luck = Luck(0.001, 0.001, refused=False, lost=False)  # nothing may go back and forth between two clocks without an end
        if luck is not None and luck.is_trouble:
            world.counts["lost answers" if luck.lost else "refusals" if luck.refused else "stalls"] += 1
            self.in_trouble()
        return luck

    async def _carry(self, luck: Luck, verb: str, args: tuple[Any, ...], kwargs: dict[str, Any], reply: asyncio.Future[Any]) -> None:
        answer, failure = None, None
        self._troubles += luck.is_trouble
        try:
            await asyncio.sleep(luck.before)
            if luck.refused:
                raise DatabaseUnavailable(f"{verb} has not reached the database")
            answer = await self._reach(verb, args, kwargs)
            await asyncio.sleep(luck.after)
            if luck.lost:
                raise DatabaseUnavailable(f"the answer to {verb} is lost")
        except Exception as error:  # noqa: BLE001  # it belongs to whoever has asked
            failure = error
        await self._awake()
        self._troubles -= luck.is_trouble
        if luck.is_trouble:
            self.in_trouble()
        if reply.done():
            return  # who has asked does not wait any more
        if failure is not None:
            self._world.note(f"{self.name}: {verb}: {failure}")
            reply.set_exception(failure)
        else:
            reply.set_result(answer)

    async def _reach(self, verb: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        answer = await getattr(self._store, verb)(*args, **kwargs)
        self._world.watch.saw(verb, args, kwargs, answer)
        return answer

    def beat(self, worker: str, running: int, parked: int, now: float) -> Beat | None:
        """See `Store.beat`."""
        self._world.counts["statements"] += 1
        luck = self._luck("beat")
        if self.deaf or (luck is not None and luck.refused):
            self.in_trouble()
            raise DatabaseUnavailable("the heartbeat has not reached the database")
        beat = self._store.beat(worker, running, parked, now)
        if beat is not None:
            self._world.watch.has_beaten(worker)
        if luck is not None and luck.lost:
            raise DatabaseUnavailable("the answer to the heartbeat is lost")
        if beat is not None:
            self.beaten_at = self._world.loop.time()
        return beat

    # -- hints

    def hint(self, hint: Hint) -> None:
        """See `Store.hint`."""
        self._store.hint(hint)

    def listen(self, told: Callable[[Hint], None]) -> Callable[[], None]:
        """See `Store.listen`. Hints of one turn come in one order, whatever the store's."""
        ears = _Ears(self._deliver, told)
        end = self._store.listen(ears.hear)

        def unlisten() -> None:
            end()
            ears.told = lambda hint: None

        return unlisten

    def _deliver(self, ears: _Ears, hint: Hint) -> None:
        weather, loop = self._world.weather, self._world.loop
        if self.gone or self._frozen is not None:
            return
        draw = self._chance.random()
        if weather is None or draw >= weather.hints_lost + weather.hints_late:
            ears.told(hint)
        elif draw >= weather.hints_lost:
            loop.call_later(self._chance.uniform(0.0, 5.0), self._deliver_late, ears, hint)

    def _deliver_late(self, ears: _Ears, hint: Hint) -> None:
        if not self.gone and self._frozen is None:
            ears.told(hint)


class _Ears:
    """Gathers the hints of one turn of the loop."""

    def __init__(self, deliver: Callable[[_Ears, Hint], None], told: Callable[[Hint], None]) -> None:
        self.told = told
        self._deliver = deliver
        self._hints: set[Hint] = set()

    def hear(self, hint: Hint) -> None:
        if not self._hints:
            asyncio.get_running_loop().call_soon(self._flush)
        self._hints.add(hint)

    def _flush(self) -> None:
        hints, self._hints = self._hints, set()
        for hint in Hint:
            if hint in hints:
                self._deliver(self, hint)
