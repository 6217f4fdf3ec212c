"""Forks with an app open, and says what becomes of it on both sides: `python -m tests.faults.forker FOLDER KIND`.

The kinds: `open` goes on with an app that is open on a loop, `again` opens it again in the child, `sync` goes on with a SyncStepwell,
`reopen` opens that again, `closes` closes it, `blocks` waits for a handle of it, `anew` makes an app of the child's own, and `leave` leaves
the child without having touched the app.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from stepwell import Stepwell, SyncHandle, SyncStepwell
from tests.faults.flows import FLOWS, app_in, short, use
from tests.faults.processes import forked, say


def main(folder: str, kind: str) -> None:
    """Fork, and use the app in the parent afterwards."""
    if kind in ("sync", "reopen", "closes", "blocks"):
        url, namespace = use(Path(folder))
        with SyncStepwell(url, namespace=namespace, workflows=FLOWS) as app, app.worker():
            say("before", app.execute(short, 1))
            handle = app.start(short, 1)
            say("child ended", forked(told, partial(in_child, app, handle, kind)))
            say("after", app.execute(short, 2))
    else:
        asyncio.run(with_loop(Path(folder), kind))


async def with_loop(folder: Path, kind: str) -> None:
    async with app_in(folder) as app, app.worker():
        before = await app.execute(short, 1)
        say("before", before)
        say("child ended", forked(told, lambda: asyncio.new_event_loop().run_until_complete(child(folder, app, kind))))
        after = await app.execute(short, 2)
        say("after", after)


async def child(folder: Path, app: Stepwell, kind: str) -> Any:
    match kind:
        case "open":
            return await app.start(short, 3)
        case "again":
            await app.open()
        case "anew":
            async with app_in(folder) as own, own.worker():
                return await own.execute(short, 3)
    return "has left"


def in_child(app: SyncStepwell, handle: SyncHandle[int], kind: str) -> Any:
    match kind:
        case "sync":
            return app.start(short, 3)
        case "blocks":
            return handle.result()
        case "reopen":
            app.open()
        case _:
            app.close()
    return "has left"


def told(function: Callable[[], object]) -> None:
    """Say what comes of it."""
    try:
        say("child", function())
    except Exception as error:  # noqa: BLE001  # the test looks at it
        say("child", type(error).__name__, error)


if __name__ == "__main__":
    main(*sys.argv[1:])
