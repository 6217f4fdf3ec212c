"""Apps that are served, and clients of theirs. What is served is a real app on SQLite, in one process with whoever asks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from httpx import ASGITransport, AsyncClient, Response
from pydantic import BaseModel
from starlette.applications import Starlette

from stepwell import Retry, Schedule, Step, Stepwell, workflow
from stepwell.testing.clock import MovedClock
from stepwell.web import create_app


class Order(BaseModel):
    item: str
    count: int = 1
    card_token: str = "4242"


async def _charge(count: int) -> int:
    if count > 5:
        raise ValueError("no funds")
    return count


@workflow(name="order", retry=Retry.never(), schedules=[Schedule("*/5 * * * *", input={"item": "lamp"})])
async def order(input: Order, step: Step, logger: Any) -> str:
    logger.info("ordered", item=input.item)
    await step.run("charge", _charge, input.count)
    if input.item == "late":
        await step.sleep("a while", "30 days")
    if input.item == "asked":
        await step.wait_for_signal("yes")
    return input.item


@dataclass
class Served:
    app: Stepwell
    asgi: Starlette
    client: AsyncClient

    async def get(self, path: str, **options: Any) -> Any:
        return _answer(await self.client.get(f"/api{path}", **options), 200)

    async def post(self, path: str, json: object = None, *, status: int = 200) -> Any:
        return _answer(await self.client.post(f"/api{path}", json=json), status)

    async def work(self) -> None:
        """Let a worker do what is due."""
        await self.app.worker().run_until_idle()


@asynccontextmanager
async def served(
    *, tokens: dict[str, str] | None = None, token: str | None = None, clock: MovedClock | None = None, **options: Any
) -> AsyncIterator[Served]:
    app = Stepwell("sqlite://", workflows=[order], namespace="stepwell", timezone="UTC", retention={}, clock=clock)
    asgi = create_app(app, tokens=tokens or {}, **options)
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    async with app, AsyncClient(transport=ASGITransport(app=asgi), base_url="http://test", headers=headers) as client:
        yield Served(app, asgi, client)


def _answer(response: Response, status: int) -> Any:
    assert response.status_code == status, response.text
    return response.json() if response.content else None


def problem(response: Response, status: int) -> dict[str, Any]:
    """What a refusal tells."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    told: dict[str, Any] = response.json()
    assert told["status"] == status
    return told
