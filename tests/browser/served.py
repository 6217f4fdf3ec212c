"""Pages served for real: an app on an event loop in a thread, with uvicorn before it, and a worker in a process of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Self, TypeVar

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from stepwell import Stepwell
from stepwell.web import create_app
from tests.browser import flows
from tests.cli.harness import Command
from tests.postgres.places import free_port

T = TypeVar("T")

WITHIN: Final = 60.0
"""Seconds in which a call is answered, and a server is there, on a busy machine."""


class Door:
    """A server of pages on a port of its own, which can be shut and opened again."""

    def __init__(self, site: Site, **options: Any) -> None:
        self.site = site
        self.port = free_port()
        self.pages = create_app(site.app, tokens={}, **options)
        self._application: Any = self.pages
        self._server: uvicorn.Server | None = None
        self._ended: threading.Event = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def streams(self) -> int:
        """How many browsers listen for changes."""
        return int(self.pages.state.site.live.streams)

    def has_streams(self, count: int) -> None:
        """Wait until so many browsers listen: a stream that was left is noticed a moment later."""

        async def look() -> None:
            async with asyncio.timeout(WITHIN):
                while self.streams != count:
                    await asyncio.sleep(0.02)

        self.site.do(look())

    def under(self, prefix: str) -> None:
        """Have the pages under a prefix from the next `open` on."""
        self._application = Starlette(routes=[Mount(prefix, self.pages)])

    def open(self) -> None:
        """Answer."""
        config = uvicorn.Config(self._application, port=self.port, log_config=None, lifespan="off", timeout_graceful_shutdown=1, ws="none")
        self._server = server = uvicorn.Server(config)
        self._ended = ended = threading.Event()
        self.site.do(self._begin(server, ended))

    def shut(self) -> None:
        """Answer no more; streams are cut off."""
        if self._server is not None:
            self._server.should_exit = self._server.force_exit = True
            assert self._ended.wait(WITHIN)
            self._server = None

    async def _begin(self, server: uvicorn.Server, ended: threading.Event) -> None:
        async def serve() -> None:
            try:
                await server._serve()  # without its signals, which are for a main thread
            finally:
                for connection in list(server.server_state.connections):
                    connection.transport.abort()  # as when its process is gone
                ended.set()

        self.site.tasks.add(asyncio.create_task(serve()))
        async with asyncio.timeout(WITHIN):
            while not server.started:
                await asyncio.sleep(0.01)


class Site:
    """An app that is open in a thread, and its doors."""

    def __init__(self, database_url: str, namespace: str, workflows: Sequence[ModuleType] = (flows,)) -> None:
        self.database_url = database_url
        self.namespace = namespace
        self.app = Stepwell(database_url, namespace=namespace, workflows=workflows)
        self.tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="site")
        self._doors: list[Door] = []

    def do(self, work: Coroutine[Any, Any, T], within: float = WITHIN) -> T:
        """Have it done where the app is open."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(within)

    def door(self, *, prefix: str = "", **options: Any) -> Door:
        """Another server of the same app."""
        door = Door(self, **options)
        if prefix:
            door.under(prefix)
        door.open()
        self._doors.append(door)
        return door

    def start(self, workflow: str, input: Any = None, **options: Any) -> str:
        """Start a run; its id."""
        return self.do(self.app.start(workflow, input, **options)).run_id

    def status(self, run_id: str) -> str:
        return str(self.do(self.app.runs.get(run_id)).status)

    def becomes(self, run_id: str, status: str, within: float = WITHIN) -> None:
        """Wait until the run has this status."""

        async def look() -> None:
            async with asyncio.timeout(within):
                while (await self.app.runs.get(run_id)).status != status:
                    await asyncio.sleep(0.05)

        self.do(look(), within + 1)

    def __enter__(self) -> Self:
        self._thread.start()
        self.do(self.app.open())
        return self

    def __exit__(self, *_: object) -> None:
        for door in self._doors:
            door.shut()
        self.do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WITHIN)
        self._loop.close()

    async def _end(self) -> None:
        await asyncio.gather(*self.tasks)
        for door in self._doors:
            live = door.pages.state.site.live
            live.close()
            await live.closed()
        await self.app.close()


@contextmanager
def working(site: Site, name: str = "packer", code: Path = Path(flows.__file__)) -> Iterator[Command]:
    """A worker in a process of its own."""
    place = ("--database", site.database_url, "--namespace", site.namespace)
    with Command("worker", code.name, *place, "--name", name, cwd=code.parent) as worker:
        worker.says("is ready")
        yield worker
