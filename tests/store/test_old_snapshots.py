"""While somebody holds an old snapshot, what was claimed since stays in the index: claims begin where the last one ended."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import psycopg

from stepwell.store.postgres.connection import PLANS, Session, connection_parameters
from stepwell.store.postgres.store import PostgresStore
from stepwell.store.sql.choosing import MARKED
from stepwell.store.sql.claiming import Claims
from stepwell.store.sql.starting import Lanes
from tests.postgres.shared import fresh_database
from tests.store.making import ALICE, LANE, NOW, new_run, new_worker, serves
from tests.store.planned import STATEMENTS, nodes

AT_ONCE: Final = 100
CLAIMS: Final = 60


class Counting(Session):
    """A session that notes how many pages a choice looks at."""

    pages = 0

    async def many(self, name: str, /, **parameters: Any) -> Sequence[Sequence[Any]]:
        """See `Transaction.many`."""
        if name in ("prospect", "heads", "ready"):
            ((plan,),) = await self.query(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {self.part(name)}", parameters)
            self.pages += next(nodes(plan[0]["Plan"])).pages
        return await super().many(name, **parameters)


def _pages(*, marks: bool, seconds: float = 0.0) -> list[int]:
    """That each claim of many looks at, with so much time between them, while a snapshot from before the first one is held."""

    async def claim_all(url: str) -> list[int]:
        await _fill(url)
        parameters = connection_parameters(url, PLANS)
        async with (
            await psycopg.AsyncConnection.connect(**parameters, autocommit=True) as holder,
            await psycopg.AsyncConnection.connect(**parameters, autocommit=True, prepare_threshold=None) as connection,
        ):
            await holder.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            await holder.execute("SELECT FROM stepwell.lanes")
            claims = Claims(Lanes(), marks=marks)
            return [await _claim(connection, claims, NOW + number * seconds) for number in range(CLAIMS)]

    with fresh_database() as url:
        return asyncio.run(claim_all(url))


async def _fill(url: str) -> None:
    store = PostgresStore(url)
    await store.open()
    await store.register(new_worker(ALICE))
    await store.enqueue([new_run(number, created_at=NOW) for number in range(1, AT_ONCE * (CLAIMS + 1) + 1)])
    await store.close()


async def _claim(connection: psycopg.AsyncConnection[tuple[Any, ...]], claims: Claims, now: float) -> int:
    async with connection.transaction():
        session = Counting(connection, STATEMENTS, prepare=False)
        claimed = await claims.claim(session, ALICE, _SERVES, AT_ONCE, now, True)
    for remember in session.committed:
        remember()
    assert len(claimed) == AT_ONCE
    return session.pages


_SERVES: Final = serves(LANE)


def test_a_claim_looks_at_no_more_pages_after_many_others_under_an_old_snapshot() -> None:
    pages = _pages(marks=True)

    assert sum(pages[-10:]) <= 2 * sum(pages[1:11])


def test_claims_that_look_from_the_start_again_now_and_then_stay_within_twice_the_pages() -> None:
    pages = _pages(marks=True, seconds=MARKED / 10)

    assert sum(pages[-20:]) <= 2 * sum(pages[1:21])


def test_without_marks_each_claim_walks_over_all_that_were_claimed_before() -> None:
    pages = _pages(marks=False)

    assert sum(pages[-10:]) > 2 * sum(pages[1:11])
