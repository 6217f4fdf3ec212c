"""The API's page for people."""

from __future__ import annotations

import re

from httpx import ASGITransport, AsyncClient
from starlette.applications import Starlette
from starlette.routing import Mount

from stepwell.web.api.operations import OPERATIONS
from tests.loops import on_a_loop
from tests.web.apis import served


@on_a_loop
async def test_it_lists_every_operation_with_what_it_takes_and_its_role() -> None:
    async with served() as site:
        text = (await site.client.get("/api")).text

    rows = re.findall(r"<b>([A-Z]+)</b></td>\s*<td class=\"mono\">/api([^<]*)</td>", text)
    assert rows == [(operation.method, operation.shown_path) for operation in OPERATIONS]
    assert all(operation.summary.replace("'", "&#39;") in text for operation in OPERATIONS)
    assert "finished_before" in text
    assert "<code>workflow</code>" not in text  # a field has a title that says what it is
    assert "style=" not in text
    assert not re.search(r"<script(?![^>]* src=)", text)


@on_a_loop
async def test_it_names_the_address_under_which_it_was_found() -> None:
    async with served() as site:
        host = Starlette(routes=[Mount("/ops", site.asgi)])
        async with AsyncClient(transport=ASGITransport(app=host), base_url="https://jobs.example.com") as client:
            text = (await client.get("/ops/api")).text

    assert "https://jobs.example.com/ops/api/runs" in text
    assert 'href="/ops/api/openapi.json"' in text


@on_a_loop
async def test_it_is_for_those_who_are_known() -> None:
    async with served(tokens={"v" * 16: "viewer"}) as site:
        refused = await site.client.get("/api")
        shown = await site.client.get("/api", headers={"authorization": f"Bearer {'v' * 16}"})

    assert (refused.status_code, shown.status_code) == (401, 200)
