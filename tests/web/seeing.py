"""Looks at pages as a browser does, without one: an app with runs, and a client of somebody who has signed in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import unescape
from pathlib import Path
from typing import Any, Final

from httpx import ASGITransport, AsyncClient, Response
from starlette.applications import Starlette
from starlette.routing import Mount

from stepwell import Retry, RunFailed, Schedule, Step, Stepwell, Workflow, workflow
from stepwell.web import create_app

TOKENS: Final = {"v" * 16: "viewer", "o" * 16: "operator", "a" * 16: "admin"}
VIEWER, OPERATOR, ADMIN = TOKENS

EVIL: Final = "<script>alert(1)</script>"
ODD: Final = f"a/b {EVIL} 100%25 ünï?#&"
"""A name that means something else wherever it is not written as it should be."""


@workflow(
    name="send_mail",
    version="v2",
    queue="mail",
    timeout="1h",
    retry=Retry.never(),
    schedules=[
        Schedule("every_morning", "0 9 * * *", input={"to": "ada", "password": "hunter2"}, timezone="Asia/Seoul"),
        Schedule("*/5 * * * *", input={"to": "bob"}),
    ],
)
async def send_mail(input: dict[str, str], step: Step) -> str:
    return await step.run("send", _send, input["to"])


@workflow(name=ODD, schedules=[Schedule(ODD, "0 0 1 * *", input=EVIL)])
async def odd(input: str, step: Step) -> str:
    return input


def _send(to: str) -> str:
    if to == "nobody":
        raise ValueError(f"there is no {EVIL}")
    return to


def app_in(folder: Path, *workflows: Workflow[Any, Any]) -> Stepwell:
    """An app on a file of SQLite."""
    return Stepwell(f"sqlite:///{folder / 'pages.db'}", workflows=workflows, namespace="stepwell", timezone="UTC", retention={})


@asynccontextmanager
async def with_runs(folder: Path) -> AsyncIterator[Stepwell]:
    """One on which runs have ended in all ways, some wait for code that nobody has, and a schedule was triggered. Its worker has left."""
    app = app_in(folder, send_mail, odd)
    async with app:
        async with app.worker(name="early", grace="0s"):
            await app.execute(send_mail, {"to": "ada"})
            await app.execute(odd, EVIL)
            try:
                await app.execute(send_mail, {"to": "nobody"})
            except RunFailed:
                await (await app.schedules.trigger("send_mail", "every_morning", actor="ada")).result()
        await app.start("send_mail", {"to": "old"}, version="v1")
        await app.start("nobody_has_it", EVIL)
        yield app


@asynccontextmanager
async def seen(app: Stepwell, *, token: str | None = ADMIN, prefix: str = "", **options: Any) -> AsyncIterator[AsyncClient]:
    """The client of somebody with this token, or of one without."""
    pages = create_app(app, tokens=TOKENS, **options)
    asgi = Starlette(routes=[Mount(prefix, pages)]) if prefix else pages
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    async with AsyncClient(transport=ASGITransport(asgi), base_url="http://testserver", headers=headers) as client:
        yield client


def text_of(answer: Response) -> str:
    """What a person reads."""
    assert answer.status_code == 200, answer.text
    shown = answer.text.partition("</header>")[2].partition("</main>")[0]
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", shown)).split())


def links_of(answer: Response) -> list[str]:
    """Where it leads: links, forms, files."""
    return [unescape(found) for found in re.findall(r'(?:href|action|src|data-chart|data-events)="([^"]*)"', answer.text)]


class Counting:
    """A store that counts what it is asked for, by verb."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.asked: Counter[str] = Counter()

    def __getattr__(self, verb: str) -> Any:
        self.asked[verb] += 1
        return getattr(self._store, verb)
