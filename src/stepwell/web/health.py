"""Whether the database answers, for load balancers and whoever restarts what is ill. Open to everyone, so it tells nothing else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from starlette.responses import JSONResponse

from stepwell.errors import StepwellError
from stepwell.web.opening import Opening

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from stepwell.web.site import Site

log = logging.getLogger(__name__)

PATIENCE: Final = 1.0
"""Seconds in which the database has to answer."""


def health_of(site: Site, opening: Opening) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint."""

    async def health(_: Request) -> Response:
        try:
            async with asyncio.timeout(PATIENCE):
                await opening.opened()
                await site.app.overview.pulse()
        except (StepwellError, TimeoutError) as error:
            log.warning("the database does not answer within %g s: %r", PATIENCE, error)
            return JSONResponse({"status": "unavailable"}, 503, {"retry-after": "1"})
        return JSONResponse({"status": "ok"})

    return health
