"""Of which shard a run is: 8 bits of its id say so, so that all of its rows can be on one of several databases. Knows none of them."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

SHARDS: Final = 256
"""Of how many shards an id can name one."""

_DIGITS: Final = slice(19, 23)
"""Of the text of an id: the two bits of the variant, the eight of the shard, and six more."""


def shard_of(run_id: str) -> int:
    """The shard that the id of a run names."""
    return int(run_id[_DIGITS], 16) >> 6 & 0xFF


def shard_of_key(workflow: str, key: str) -> int:
    """Of the runs that are started with an idempotency key: always the same, so that a second start looks where the first one was."""
    return blake2b(f"{workflow}\0{key}".encode(errors="surrogatepass"), digest_size=1).digest()[0]
