"""What is executed: a handful of kinds of workflows, and the steps that they share, which take time and fail by chance."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import stepwell
from stepwell import ContinueAsNew, Retry, Step, StepFailed, SyncStep, Workflow, workflow
from stepwell.core import definition
from stepwell.engine.requests import StepRequest
from tests.proof.world import model
from tests.simulation.ledger import RETRY_DELAY

if TYPE_CHECKING:
    from tests.simulation.world import World

THRICE = Retry(3, f"{RETRY_DELAY * 1000:.0f}ms", 1.0, jitter=0.0)
ONCE = Retry.never()
BODY = Retry(2, "300ms", jitter=0.0)
TRANSACTIONS = frozenset({"book", "flaky", "in time"})
"""The names of those steps of `bookkeeping` that write to the database."""
ATTEMPTS = {"flaky": 3}
"""How often steps that may fail are tried, by their names."""


class Steps:
    """The functions of all steps. One for each process of Python: `world` is set for each simulation."""

    world: World

    async def work(self, x: int) -> int:
        return await self._execute(x, self._chance.choice((0.0, 0.01, 0.05, 0.3)))

    async def long(self, x: int) -> int:
        return await self._execute(x, self._chance.uniform(2.0, 15.0))

    async def flaky(self, x: int) -> int:
        return await self._execute(x, self._chance.choice((0.0, 0.05)), fails=0.4)

    async def near(self, x: int) -> int:
        """Ends at about the time of the timeout around it."""
        return await self._execute(x, 0.5 + self._chance.choice((-0.1, -0.001, 0.0, 0.001, 2.0)))

    async def bad(self, x: int) -> int:
        """Fails, until an operator has tried it again."""
        return await self._execute(x, 0.02, fails=0.0 if x in self.world.mended else 1.0)

    def book(self, connection: Any, x: int) -> int:
        """Writes to the database."""
        self._book(connection)
        return model(x)

    def flaky_book(self, connection: Any, x: int) -> int:
        """Fails now and then, when it has written."""
        self._book(connection)
        if self._chance.random() < 0.4:
            raise ConnectionError(f"not booked: {x}")
        return model(x)

    def _book(self, connection: Any) -> None:
        """It happens in the database, when it happens: its process may not know of it."""
        request = definition.body.get()
        assert isinstance(request, StepRequest)
        entry = self.world.ledger.booked(request, self.world.process_of(request.run.host))  # type: ignore[attr-defined]
        self.world.tables.book(connection, entry)

    @property
    def _chance(self) -> random.Random:
        return self.world.chance

    async def _execute(self, x: int, seconds: float, *, fails: float = 0.0) -> int:
        request = definition.body.get()
        assert isinstance(request, StepRequest)
        process = self.world.process_of(request.run.host)  # type: ignore[attr-defined]
        effect = self.world.ledger.begin(request, process)
        await process.sleep(seconds)
        ok = self._chance.random() >= fails
        self.world.ledger.end(effect, process, ok=ok)
        if not ok:
            raise ConnectionError(f"no answer to {x}")
        return model(x)


STEPS = Steps()
FLAKY_BOOK = stepwell.step("flaky", retry=THRICE)(STEPS.flaky_book)


@workflow(name="sequence", version="v1", retry=BODY)
async def sequence_v1(step: Step, x: int) -> int:
    total = 0
    for name in "abc":
        total += await step.run(name, STEPS.work, x + total)
    return total


@workflow(name="sequence", version="v2", retry=BODY)
async def sequence_v2(step: Step, x: int) -> int:
    total = await step.run("a", STEPS.work, x)
    await step.sleep("rest", "200ms")
    return total + await step.define("flaky", STEPS.flaky, retry=THRICE).run(x)


@workflow(retry=BODY)
async def gathered(step: Step, x: int) -> int:
    async def branch(y: int) -> int:
        await asyncio.sleep(0.1 * (y % 3))
        return await step.run("first", STEPS.work, y) + await step.run("second", STEPS.work, y + 1)

    return sum(await asyncio.gather(*(branch(x + place) for place in range(3))))


@workflow(retry=BODY)
async def mapped(step: Step, x: int) -> int:
    return sum(await step.map("item", STEPS.work, [x + place for place in range(5)], concurrency=2))


@workflow(retry=BODY, queue="slow")
async def sleeper(step: Step, x: int) -> int:
    before = await step.run("before", STEPS.work, x)
    await step.sleep("nap", "300ms" if x % 2 else "7s")
    return before + await step.run("after", STEPS.work, x + 1)


@workflow(retry=BODY)
async def persistent(step: Step, x: int) -> int:
    total = 0
    for place in range(3):
        try:
            total += await step.define("flaky", STEPS.flaky, retry=THRICE).run(x + place)
        except StepFailed:
            total += 5
    return total


@workflow(retry=BODY)
async def racing(step: Step, x: int) -> int:
    total = 0
    for place in range(2):
        try:
            async with asyncio.timeout(0.5):
                total += await step.run("near", STEPS.near, x + place)
        except TimeoutError:
            total += await step.run("instead", STEPS.work, x)
    return total


@workflow(retry=BODY)
async def renewing(step: Step, x: int) -> int:
    value = await step.run("a", STEPS.work, x)
    await step.sleep("pause", "100ms")
    if x % 3:
        raise ContinueAsNew(x - 1)
    return value + await step.run("b", STEPS.work, x)


@workflow(retry=BODY)
def plain(step: SyncStep, x: int) -> int:
    total = step.run("a", STEPS.work, x)
    step.sleep("nap", "50ms" if x % 2 else "4s")
    return total + step.run("b", STEPS.work, x + total)


@workflow(retry=BODY, priority=5)
async def lasting(step: Step, x: int) -> int:
    total = await step.run("long", STEPS.long, x)
    return total + await step.run("short", STEPS.work, x)


@workflow(retry=BODY)
async def failing(step: Step, x: int) -> int:
    first, second = await asyncio.gather(step.run("first", STEPS.work, x), step.run("second", STEPS.work, x + 1))
    return first + second + await step.define("bad", STEPS.bad, retry=ONCE).run(x)


@workflow(retry=BODY)
async def bookkeeping(step: Step, x: int) -> int:
    first, second = await asyncio.gather(step.transaction("book", STEPS.book, x), step.run("work", STEPS.work, x))
    total = first + second
    try:
        total += await step.transaction("flaky", FLAKY_BOOK, x)
    except StepFailed:
        total += 5
    try:
        async with asyncio.timeout(0.3):
            total += await step.transaction("in time", STEPS.book, total)
    except TimeoutError:
        total += 7
    if x % 4 == 0:
        total += await step.define("bad", STEPS.bad, retry=ONCE).run(x)
    return total + await step.transaction("book", STEPS.book, total)


ALL: tuple[Workflow[Any, Any], ...] = (
    sequence_v1,
    sequence_v2,
    gathered,
    mapped,
    sleeper,
    persistent,
    racing,
    renewing,
    plain,
    lasting,
    failing,
    bookkeeping,
)
OLD = tuple(each for each in ALL if each.version != "v2")
"""What an older release has."""
