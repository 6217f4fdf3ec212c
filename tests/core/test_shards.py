"""The shard of a run."""

from uuid import RFC_4122, UUID

from hypothesis import given
from hypothesis import strategies as st

from stepwell.core.children import child_id
from stepwell.core.shards import SHARDS, shard_of, shard_of_key
from stepwell.engine.clock import RunIds
from stepwell.testing.clock import MovedClock

SHARD = st.integers(0, SHARDS - 1)


@given(SHARD, st.integers())
def test_an_id_says_of_which_shard_it_was_made(shard: int, seed: int) -> None:
    assert shard_of(RunIds(MovedClock(seed)).new(shard)) == shard


@given(SHARD, st.integers(), st.text(max_size=5), st.integers(1, 5))
def test_a_child_is_of_its_parents_shard_and_so_are_its_children(shard: int, seed: int, key: str, attempt: int) -> None:
    parent = RunIds(MovedClock(seed)).new(shard)

    child = child_id(parent, 0, key, attempt, 1_800_000_000.0)
    grandchild = child_id(child, 0, key, attempt, 1_800_000_000.0)

    assert (shard_of(child), shard_of(grandchild)) == (shard, shard)
    assert (UUID(child).version, UUID(child).variant) == (7, RFC_4122)


def test_a_key_names_the_same_shard_in_every_process() -> None:
    assert [shard_of_key("pay", "order-1"), shard_of_key("pay", "order-2"), shard_of_key("ship", "order-1")] == [20, 152, 169]


def test_keys_are_spread_over_all_shards() -> None:
    assert {shard_of_key("pay", str(number)) for number in range(5_000)} == set(range(SHARDS))


def test_half_a_character_in_a_key_is_no_reason_to_fail_here() -> None:
    assert 0 <= shard_of_key("pay", "\ud800") < SHARDS
