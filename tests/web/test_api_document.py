"""What the OpenAPI document says is so: asked by a program that makes requests of it, right ones and wrong ones."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, assume, settings
from starlette.applications import Starlette

from stepwell import Stepwell
from stepwell.web import create_app
from stepwell.web.api.openapi import document
from stepwell.web.api.operations import OPERATIONS
from tests.web.apis import order

_CONFIG = schemathesis.config.SchemathesisConfig.from_dict({
    "generation": {"mode": "all", "database": "none"},
    "phases": {"coverage": {"enabled": True}, "fuzzing": {"enabled": True}, "stateful": {"enabled": False}},
    # What has the right form may still make no sense: a duration without a unit, a cursor of another list, a run that there is not.
    "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", "400", "404", "409", "413"]}},
})  # fmt: skip

_FIXED = {f"/api{operation.path}" for operation in OPERATIONS if "{" not in operation.path}

schema = schemathesis.openapi.from_dict(document(OPERATIONS, ""), config=_CONFIG)


@pytest.fixture(scope="module")
def base_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of an app on a file of SQLite, with runs in it, served from a thread."""
    folder = tmp_path_factory.mktemp("api")
    server = uvicorn.Server(uvicorn.Config(_seeded(folder), port=0, log_config=None, lifespan="on"))
    began = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(server, began)))
    thread.start()
    assert began.wait(50)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(50)


def _seeded(folder: Path) -> Starlette:
    app = Stepwell(f"sqlite:///{folder / 'api.db'}", workflows=[order], namespace="stepwell", timezone="UTC", retention={})

    async def seed() -> None:
        async with app:
            await app.start_many(
                "order", [{"item": item, "count": count} for item in ("lamp", "late") for count in range(8)], tags=["seed"]
            )
            await app.worker().run_until_idle()

    asyncio.run(seed())
    return create_app(app, tokens={})


async def _serve(server: uvicorn.Server, began: threading.Event) -> None:
    serving = asyncio.get_running_loop().create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    began.set()
    await serving


@schema.parametrize()
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_operation_does_what_the_document_says(case: schemathesis.Case[Any], base_url: str) -> None:
    # A run that is called as another address ends is told of nowhere: that address goes first, as OpenAPI has it, too.
    assume("{" not in case.path or case.formatted_path not in _FIXED)
    case.call_and_validate(base_url=base_url)
