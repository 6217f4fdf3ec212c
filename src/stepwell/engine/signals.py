"""SIGTERM and SIGINT, as long as a worker runs in the foreground: the first lets it stop, the second lets it leave at once."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def on_signals(first: Callable[[], None], second: Callable[[], None]) -> Iterator[None]:
    """Call `first` from the running loop at the first signal, and `second` at each further one.

    What handled them before does so again afterwards. In any thread but the main one signals are none of our business.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop, count = asyncio.get_running_loop(), 0

    def received(number: int) -> None:
        nonlocal count
        count += 1
        log.info("%s: %s", signal.Signals(number).name, "stopping" if count == 1 else "leaving now")
        (first if count == 1 else second)()

    before = {number: _handle(loop, number, received) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            _restore(loop, number, handler)


def _handle(loop: asyncio.AbstractEventLoop, number: int, received: Callable[[int], None]) -> Any:
    before = signal.getsignal(number)
    try:
        loop.add_signal_handler(number, received, number)
    except NotImplementedError:  # loops on Windows have no such thing
        signal.signal(number, lambda number, _: loop.call_soon_threadsafe(received, number))
    return before


def _restore(loop: asyncio.AbstractEventLoop, number: int, before: Any) -> None:
    with suppress(NotImplementedError):
        loop.remove_signal_handler(number)
    if before is not None:  # None: it was set by no Python code, and cannot be set by any
        signal.signal(number, before)
