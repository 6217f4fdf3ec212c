"""Whose turn it is: what has just come does not wait for a whole round, and nobody is passed over for ever."""

from hypothesis import given
from hypothesis import strategies as st

from stepwell.store.turns import Turns

HEAD = 0
MANY = range(10, 50)


def claim(turns: Turns[int], waiting: dict[int, str], limit: int) -> list[int]:
    """The lanes from which a claim of so many takes, when there is enough in each."""
    served = turns.order(HEAD, waiting, limit)[:limit]
    turns.served(HEAD, served)
    return served


def as_old(ids: str = "1") -> dict[int, str]:
    """Many lanes to which the same moment brought something."""
    return dict.fromkeys(MANY, ids)


def test_lanes_are_served_in_a_round() -> None:
    turns = Turns[int]()

    assert [claim(turns, {1: "a", 2: "b", 3: "c"}, 3) for _ in range(2)] == [[1, 2, 3]] * 2


def test_those_to_which_something_came_last_go_ahead_and_the_round_goes_on_where_it_was() -> None:
    turns = Turns[int]()

    first, second = claim(turns, as_old() | {45: "2", 47: "3"}, 8), claim(turns, as_old(), 8)

    assert first == [47, 45, 10, 11, 12, 13, 14, 15]
    assert second[2:] == [16, 17, 18, 19, 20, 21]


def test_a_lane_whose_turn_it_is_anyway_does_not_use_up_the_place_of_one_that_goes_ahead() -> None:
    turns = Turns[int]()

    assert claim(turns, as_old() | {10: "9", 30: "8"}, 4) == [30, 10, 11, 12]


def test_where_there_is_room_for_one_only_every_fourth_goes_ahead() -> None:
    turns = Turns[int]()

    served = [claim(turns, as_old() | {49: "2"}, 1)[0] for _ in range(12)]

    assert served == [10, 11, 12, 49, 13, 14, 15, 49, 16, 17, 18, 49]


def test_nothing_goes_ahead_of_a_short_round() -> None:
    turns = Turns[int]()
    few = {1: "a", 2: "b", 3: "c", 4: "d"}

    assert [claim(turns, few, 1) for _ in range(8)] == [[1], [2], [3], [4]] * 2


@given(st.lists(st.dictionaries(st.integers(2, 400), st.text("ab"), max_size=60), min_size=1, max_size=20), st.integers(1, 9))
def test_every_lane_that_waits_has_its_turn_whatever_comes_to_others(coming: list[dict[int, str]], limit: int) -> None:
    turns = Turns[int]()

    served = {lane for number in range(700) for lane in claim(turns, {1: "", **coming[number % len(coming)]}, limit)}

    assert 1 in served
