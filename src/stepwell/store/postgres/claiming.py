"""A claim in fewer trips to the server: what was chosen is taken, and comes back, by one statement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepwell.store.sql.claiming import Claims
from stepwell.store.sql.starting import as_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stepwell.store.sql.transaction import Transaction


class PostgresClaims(Claims):
    """See `sql.claiming`."""

    async def _take(self, transaction: Transaction, runs: Sequence[str], worker: str, now: float) -> Sequence[Sequence[Any]]:
        rows = await transaction.many("take", worker=worker, now=now, runs=as_json(runs))
        place = {run_id: number for number, run_id in enumerate(runs)}
        return sorted(rows, key=lambda row: place[row[0]])
