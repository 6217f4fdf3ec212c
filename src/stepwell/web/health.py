"""Whether the database answers, for load balancers and whoever restarts what is ill. Open to everyone, so it tells nothing else."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from starlette.responses import JSONResponse

from stepwell.errors import StepwellError, TooSlow
from stepwell.web.opening import Opening, seen

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from stepwell.web.site import Site

log = logging.getLogger(__name__)

PATIENCE: Final = 1.0
"""Seconds in which the database has to answer."""

LATELY: Final = 10.0
"""Seconds for which it counts that it has answered: while many look at pages, the question waits behind theirs."""


class Health:
    """Asks the database whether it is there: once at a time, however many want to know.

    Args:
        ask: returns when it has answered.
    """

    def __init__(self, ask: Callable[[], Awaitable[object]]) -> None:
        self._ask = ask
        self._asking: asyncio.Task[None] | None = None
        self._answered = -math.inf
        """When, by the clock of the loop."""

    async def check(self) -> None:
        """Raises StepwellError: it is away. TimeoutError: it has answered neither within `PATIENCE` nor lately."""
        loop = asyncio.get_running_loop()
        if self._asking is None or self._asking.done() or self._asking.get_loop() is not loop:
            self._asking = loop.create_task(self._answer(), name="stepwell-web-health")
            self._asking.add_done_callback(seen)
        try:
            async with asyncio.timeout(PATIENCE):
                await asyncio.shield(self._asking)
        except (TimeoutError, TooSlow):
            if not 0 <= loop.time() - self._answered < LATELY:
                raise

    async def _answer(self) -> None:
        await self._ask()
        self._answered = asyncio.get_running_loop().time()


def health_of(site: Site, opening: Opening) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint."""

    async def ask() -> None:
        await opening.opened()
        await site.app.overview.pulse()

    health = Health(ask)

    async def answer(_: Request) -> Response:
        try:
            await health.check()
        except (StepwellError, TimeoutError) as error:
            log.warning("the database does not answer within %g s: %r", PATIENCE, error)
            return JSONResponse({"status": "unavailable"}, 503, {"retry-after": "1"})
        return JSONResponse({"status": "ok"})

    return answer
