"""The heart of a worker: tells the database that it lives, and the worker whether its lease holds and which of the others are dead.

There are two forms, for one logic. `ThreadHeart` beats in a thread of its own, so that a blocked loop does not lose the lease.
`LoopHeart` beats from the loop, by the worker's clock, for clocks that are moved.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from stepwell.engine.blocked import LoopWatch
from stepwell.engine.clock import SystemClock, monotonic
from stepwell.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from stepwell.engine.clock import Alarm, Clock
    from stepwell.engine.service import Outage
    from stepwell.store.port import Beat, Peer, Store

BEATS: Final = 6
"""Beats in one lease: several may be lost before anybody takes the runs."""

AGAIN: Final = 1.0
"""Seconds until the next try when the database was away."""

_DOES: Final = "renew its lease"


class Load(NamedTuple):
    """What a worker says of itself with each beat."""

    worker: str
    running: int
    parked: int


class Bearer(Protocol):
    """The worker that a heart beats for."""

    def load(self) -> Load | None:
        """What to say; None: it is not registered, so there is nobody to beat for. From whatever thread."""

    def beaten(self, beat: Beat, dead: Mapping[str, int]) -> None:
        """It lives, and its lease holds. `dead`: the last beat of others that do not live."""

    def lapsed(self) -> None:
        """Its lease has run out: others may have taken its runs, for all it knows."""

    def lost(self, worker: str) -> None:
        """The database knows no worker of this id."""

    def failed(self, error: BaseException) -> None:
        """The heart has stopped by an error of the engine."""


class Heart(Protocol):
    """What keeps a worker registered."""

    def start(self) -> None:
        """Beat, now and from now on."""

    def renew(self) -> None:
        """The worker is registered anew: its lease begins again, before the first beat under its new id."""

    def stop(self) -> None:
        """Beat no more. Twice changes nothing."""

    async def stopped(self, limit: float) -> None:
        """Wait until the last beat has come back, for so many seconds at most."""


class Silences:
    """How long other workers have not been heard of, by our own time: clocks of machines do not agree."""

    def __init__(self) -> None:
        self._heard: dict[str, tuple[int, float]] = {}

    def dead(self, peers: Mapping[str, Peer], now: float) -> dict[str, int]:
        """Those whose beat has not changed for a whole lease of theirs since we first saw it, or whose process is gone."""
        heard = self._heard
        self._heard = {
            name: heard[name] if name in heard and heard[name][0] == peer.beat else (peer.beat, now) for name, peer in peers.items()
        }
        return {name: peer.beat for name, peer in peers.items() if peer.gone or now - self._heard[name][1] >= peer.lease}


class Pulse:
    """What the beats of a worker mean for it. On its loop."""

    def __init__(self, bearer: Bearer, lease: float, later: Callable[[float, Callable[[], None]], Alarm]) -> None:
        self._bearer = bearer
        self._lease = lease
        self._later = later
        self._silences = Silences()
        self._last: float | None = None
        self._end: Alarm | None = None

    def beaten(self, worker: str, beat: Beat | None, began: float, now: float) -> bool:
        """A beat that began at `began` has its answer, by the time of this process. Whether the next one should come soon."""
        bearer = self._bearer
        load = bearer.load()
        if load is None or load.worker != worker:
            return False  # it has a new id since
        if beat is None:
            self.stop()
            bearer.lost(worker)
            return False
        # We may have stood still together with all others. Nobody is dead before they, too, had time to beat again.
        stood_still = self._last is not None and began - self._last > 2 * self._lease / BEATS
        self._last = began
        self.stop()
        self._end = self._later(max(0.0, self._lease - (now - began)), bearer.lapsed)
        dead = self._silences.dead(beat.peers, began)
        if stood_still:
            dead = {name: number for name, number in dead.items() if beat.peers[name].gone}
        bearer.beaten(beat, dead)
        return stood_still

    def start(self) -> None:
        """The lease begins with the registration."""
        self.stop()
        self._end = self._later(self._lease, self._bearer.lapsed)

    def stop(self) -> None:
        """Let the lease end unnoticed."""
        if self._end is not None:
            self._end.cancel()
            self._end = None


class LoopHeart:
    """Beats from plain callbacks of the loop, by the worker's clock."""

    def __init__(self, bearer: Bearer, store: Store, clock: Clock, lease: float, outage: Outage) -> None:
        self._bearer = bearer
        self._store = store
        self._clock = clock
        self._interval = lease / BEATS
        self._outage = outage
        self._loop = asyncio.get_running_loop()
        self._pulse = Pulse(bearer, lease, lambda seconds, callback: clock.call_at(clock.now() + seconds, callback))
        self._alarm: Alarm | None = None
        self._stopped = False

    def start(self) -> None:
        """See `Heart.start`."""
        self._pulse.start()
        self._loop.call_soon(self._beat)

    def renew(self) -> None:
        """See `Heart.renew`."""
        self._pulse.start()

    def stop(self) -> None:
        """See `Heart.stop`."""
        self._stopped = True
        self._pulse.stop()
        if self._alarm is not None:
            self._alarm.cancel()

    async def stopped(self, limit: float) -> None:
        """See `Heart.stopped`."""

    def _beat(self) -> None:
        try:
            self._beat_once()
        except Exception as error:  # noqa: BLE001  # it ends the worker: the event loop would only log it
            self._bearer.failed(error)

    def _beat_once(self) -> None:
        if self._stopped:
            return
        now, load, soon = self._clock.now(), self._bearer.load(), False
        delay = self._interval
        if load is not None:
            try:
                beat = self._store.beat(*load, now)
            except DatabaseUnavailable as error:
                self._outage.met(_DOES, error)
                delay = min(AGAIN, delay)
            else:
                self._outage.over(_DOES)
                soon = self._pulse.beaten(load.worker, beat, now, now)
        if soon:
            self._loop.call_soon(self._beat)
        elif not self._stopped:
            self._alarm = self._clock.call_at(now + delay, self._beat)


class ThreadHeart:
    """Beats in a daemon thread, and watches from there whether the worker's loop still answers."""

    def __init__(self, bearer: Bearer, store: Store, clock: Clock, lease: float, outage: Outage) -> None:
        self._bearer = bearer
        self._store = store
        self._clock = clock
        self._interval = lease / BEATS
        self._outage = outage
        self._loop = asyncio.get_running_loop()
        self._pulse = Pulse(bearer, lease, self._loop.call_later)
        self._watch = LoopWatch(self._loop, threading.get_ident())
        self._ending = threading.Event()
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._live, name="stepwell-heart", daemon=True)
        self._is_due_soon = False

    def start(self) -> None:
        """See `Heart.start`."""
        self._pulse.start()
        self._thread.start()

    def renew(self) -> None:
        """See `Heart.renew`."""
        self._pulse.start()

    def stop(self) -> None:
        """See `Heart.stop`."""
        self._ending.set()
        self._pulse.stop()

    async def stopped(self, limit: float) -> None:
        """See `Heart.stopped`."""
        if self._thread.is_alive():
            with suppress(TimeoutError):
                async with asyncio.timeout(limit):
                    await self._ended.wait()

    # -- in the thread

    def _live(self) -> None:
        try:
            self._beat_on()
        except Exception as error:  # noqa: BLE001  # it ends the worker, on whose loop it is told
            self._post(self._bearer.failed, error)
        self._post(self._ended.set)

    def _beat_on(self) -> None:
        tick = min(1.0, self._interval)
        due = monotonic()
        while not self._ending.is_set():
            now = monotonic()
            if now >= due or self._is_due_soon or self._has_clock_jumped():
                self._is_due_soon = False
                due = now + (self._interval if self._beat(now) else min(AGAIN, self._interval))
            if not self._watch.look(monotonic()):
                return
            self._ending.wait(max(0.0, min(due - monotonic(), tick)))

    def _has_clock_jumped(self) -> bool:
        """Until the database has told its time again, nobody here knows it: that is not to take until the next beat."""
        return isinstance(self._clock, SystemClock) and self._clock.has_jumped()

    def _beat(self, began: float) -> bool:
        """Whether the database answered."""
        load, before = self._bearer.load(), self._clock.now()
        if load is None:
            return False  # it is about to be registered
        try:
            beat = self._store.beat(*load, before)
        except DatabaseUnavailable as error:
            self._outage.met(_DOES, error)
            return False
        self._outage.over(_DOES)
        if beat is not None and beat.time is not None:
            self._follow(beat.time, before, self._clock.now())
        self._post(self._tell, load.worker, beat, began)
        return True

    def _follow(self, time: float, before: float, after: float) -> None:
        """The database's clock showed `time` at some moment between these two."""
        if isinstance(self._clock, SystemClock) and 0 <= after - before < AGAIN:
            self._clock.follow(self._clock.offset + time - (before + after) / 2)

    def _post(self, callback: Callable[..., None], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:  # the loop has been closed: nobody is left to beat for
            self._ending.set()

    # -- on the loop

    def _tell(self, worker: str, beat: Beat | None, began: float) -> None:
        if not self._ending.is_set():
            self._is_due_soon = self._pulse.beaten(worker, beat, began, monotonic())
