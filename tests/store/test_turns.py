"""Whose turn it is: nobody is passed over for ever, and the idle do not wait for a whole round."""

from hypothesis import given
from hypothesis import strategies as st

from stepwell.store.turns import Turns

HEAD = 0
LANES = range(1, 41)


def claim(turns: Turns[int], waiting: set[int], limit: int) -> list[int]:
    """The lanes that a claim takes from, when there is enough in each."""
    turns.look(HEAD, dict.fromkeys(range(1_000)), waiting)
    served = turns.order(HEAD, waiting, limit)[:limit]
    turns.served(HEAD, served)
    return served


def test_lanes_are_served_in_a_round() -> None:
    turns = Turns[int]()

    assert [claim(turns, {1, 2, 3}, 3) for _ in range(2)] == [[1, 2, 3]] * 2


def test_the_round_goes_on_where_it_was_when_a_lane_has_gone_ahead() -> None:
    turns = Turns[int]()
    many = set(range(10, 20))
    seen = [claim(turns, many, 2), claim(turns, many, 2), claim(turns, many | {5}, 2), claim(turns, many, 2)]

    assert seen == [[10, 11], [12, 13], [5, 14], [15, 16]]


def test_the_newest_go_ahead_first() -> None:
    turns = Turns[int]()
    claim(turns, set(LANES), 4)
    claim(turns, {*LANES, 50}, 1)

    assert claim(turns, {*LANES, 50, 60}, 4)[0] == 60


def test_a_lane_goes_ahead_again_only_when_it_was_seen_empty() -> None:
    turns = Turns[int]()
    claim(turns, set(LANES), 4)
    busy = {*LANES, 50}

    assert [50 in claim(turns, busy, 4) for _ in range(4)] == [True, False, False, False]
    claim(turns, set(LANES), 4)
    assert 50 in claim(turns, busy, 4)


def test_what_waits_for_others_is_not_new_to_those_who_ask_for_other_lanes() -> None:
    turns = Turns[int]()
    claim(turns, set(LANES), 4)
    turns.look(HEAD, {100: None}, {100})

    assert claim(turns, set(LANES), 4)[0] not in (1, 2, 3, 4)


@given(st.lists(st.sets(st.integers(100, 400), max_size=60), min_size=60, max_size=60), st.integers(1, 9))
def test_every_lane_that_waits_has_its_turn_whatever_comes_to_others(coming: list[set[int]], limit: int) -> None:
    turns = Turns[int]()
    waiting = {1}
    for count in range(1, 4_000):
        waiting |= coming[count % len(coming)] if count < len(coming) else set()
        served = claim(turns, waiting, limit)
        if 1 in served:
            return
        waiting -= set(served) if count % 2 else set()
    raise AssertionError("it was passed over for ever")
