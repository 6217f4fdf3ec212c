"""What is started must fit the workflow, and its result is typed by it."""

from __future__ import annotations

from typing import assert_type

from pydantic import BaseModel

from stepwell import Handle, Step, workflow
from stepwell.testing import TestApp


class Welcome(BaseModel):
    email: str


@workflow
async def greet(input: Welcome, step: Step) -> dict[str, bool]:
    return {}


@workflow
async def tidy(step: Step) -> int:
    return 1


async def start(app: TestApp) -> None:
    handle = await app.start(greet, Welcome(email="a@b.c"))
    assert_type(handle, Handle[dict[str, bool]])
    assert_type(await handle.result(), dict[str, bool])

    assert_type(await (await app.start(tidy)).result(timeout=5), int)


async def start_wrongly(app: TestApp) -> None:
    await app.start(greet, "a@b.c")  # type: ignore[misc]
    await app.start(tidy, Welcome(email="a@b.c"))  # type: ignore[misc]
    wrong: int = await (await app.start(greet, Welcome(email="a@b.c"))).result()  # type: ignore[assignment]
    print(wrong)
