"""What is delivered to a body next, and when its code no longer fits what is recorded: the rules of `stepwell.core.history`, one by one."""

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.core.history import Diverged, Finding, History, Withdrawn, taken_back
from stepwell.core.naming import BODY
from stepwell.core.records import Kind, Outcome, Tried

STARTED = 1_000.0


class Asked:
    """A request that keeps what it is given."""

    def __init__(self, kind: Kind = Kind.FUNCTION) -> None:
        self.kind = kind
        self.got: list[Outcome] = []

    def deliver(self, outcome: Outcome) -> None:
        self.got.append(outcome)


def outcome(key: str, seq: int, **changed: Any) -> Outcome:
    known = {"run": "r", "claim": 1, "asked": 0, "kind": Kind.FUNCTION, "ok": True, "value": "1", "at": STARTED + seq, "mark": 0}
    return Outcome(**{"key": key, "seq": seq, "attempt": 1, "started_at": STARTED, "python": 311, **known, **changed})


def history(*outcomes: Outcome, tried: dict[str, Tried] | None = None) -> History:
    return History(outcomes, tried or {}, STARTED)


def admit(history: History, key: str, now: float = STARTED, **changed: Any) -> Outcome:
    known = {"asked": history.delivered, "kind": Kind.FUNCTION, "ok": True, "value": "1", "mark": 0, "attempt": 1, "started_at": now}
    return history.admit("r", 1, key, now=now, python=311, **{**known, **changed})


def ask(history: History, *keys: str, kind: Kind = Kind.FUNCTION) -> list[Asked]:
    requests = [Asked(kind) for _ in keys]
    for key, request in zip(keys, requests, strict=True):
        history.meet(key, request)
    return requests


def deliver_all(history: History) -> list[str]:
    """The keys of what was delivered, the body being quiescent all the while."""
    keys = []
    while (met := history.next()) is not None:
        request, given = met
        request.deliver(given)
        keys.append(given.key)
    return keys


def divergence(history: History) -> Finding:
    with pytest.raises(Diverged) as caught:
        deliver_all(history)
    return caught.value.finding


# -- numbers and time


def test_the_first_outcome_of_a_run_has_number_one() -> None:
    assert [admit(history(), "a").seq, history().delivered, history().last_seq] == [1, 0, 0]


def test_numbers_go_on_after_the_highest_that_is_recorded() -> None:
    past = history(outcome("a", 3), outcome("b", 7))

    assert [admit(past, "c").seq, admit(past, "d").seq] == [8, 9]


def test_a_number_that_was_retracted_is_not_given_again() -> None:
    past = history()
    ask(past, "a", "b")
    refused = admit(past, "a")

    past.retract(refused.seq)

    assert admit(past, "a").seq == 2


@given(st.lists(st.sampled_from(["admit", "retract first", "retract last"])), st.sets(st.integers(1, 50)))
def test_no_number_is_given_twice(acts: list[str], recorded: set[int]) -> None:
    past = history(*(outcome(f"k{seq}", seq) for seq in recorded))
    taken: list[int] = []
    given_out = sorted(recorded)
    for act in acts:
        if act == "admit":
            seq = admit(past, f"n{len(given_out)}").seq
            taken.append(seq)
            given_out.append(seq)
        elif taken:
            past.retract(taken.pop(0 if act == "retract first" else -1))

    assert given_out == sorted(set(given_out))


def test_time_does_not_go_back_with_a_clock_that_does() -> None:
    past = history(outcome("a", 1, at=STARTED + 50))

    times = [admit(past, key, now).at for key, now in [("b", STARTED + 10), ("c", STARTED + 60), ("d", STARTED + 20)]]

    assert times == [STARTED + 50, STARTED + 60, STARTED + 60]


def test_the_time_before_the_first_outcome_is_the_runs_start() -> None:
    past = history()

    assert past.last_at == STARTED
    assert admit(past, "a", STARTED - 5).at == STARTED


@given(st.lists(st.floats(0, 1e10)))
def test_times_of_outcomes_are_in_the_order_of_their_numbers(clock: list[float]) -> None:
    past = history()

    times = [admit(past, f"k{n}", now).at for n, now in enumerate(clock)]

    assert times == sorted(times)
    assert all(at >= STARTED for at in times)


def test_an_outcome_is_what_it_was_admitted_with() -> None:
    admitted = history().admit("r", 4, "pay", 2, Kind.FUNCTION, False, "{}", STARTED + 0.1, 77, 3, STARTED + 0.05, 313)

    assert admitted == Outcome("r", 4, "pay", 1, 2, Kind.FUNCTION, False, "{}", STARTED + 0.1, 77, 3, STARTED + 0.05, 313)


# -- the gate


def test_outcomes_are_delivered_in_the_order_of_their_numbers_one_at_a_time() -> None:
    past = history(outcome("a", 2), outcome("b", 1))
    first, second = ask(past, "a", "b")

    request, given = past.next() or (None, None)

    assert (request, given) == (second, outcome("b", 1))
    assert (first.got, past.delivered, past.waiting) == ([], 1, True)


@given(st.permutations(range(1, 9)), st.permutations(range(1, 9)))
def test_the_order_of_delivery_is_that_of_the_numbers_whatever_the_order_given_or_asked(given_in: list[int], asked_in: list[int]) -> None:
    past = history(*(outcome(f"k{seq}", seq) for seq in given_in))
    ask(past, *(f"k{seq}" for seq in asked_in))

    assert deliver_all(past) == [f"k{seq}" for seq in range(1, 9)]


@given(st.sets(st.integers(1, 1_000_000), min_size=1))
def test_gaps_between_numbers_do_not_matter(numbers: set[int]) -> None:
    past = history(*(outcome(f"k{seq}", seq) for seq in numbers))
    ask(past, *(f"k{seq}" for seq in numbers))

    assert deliver_all(past) == [f"k{seq}" for seq in sorted(numbers)]
    assert past.delivered == max(numbers)


def test_an_outcome_is_not_delivered_before_it_is_durable() -> None:
    past = history()
    ask(past, "a")
    admit(past, "a")

    before = past.next()
    past.durable = 1

    assert before is None
    assert deliver_all(past) == ["a"]


def test_an_outcome_waits_for_all_smaller_numbers() -> None:
    past = history()
    ask(past, "a", "b", "c")
    for key in ("b", "c", "a"):
        admit(past, key)
    past.durable = 2

    assert deliver_all(past) == ["b", "c"]
    assert past.waiting


def test_recorded_outcomes_go_before_live_ones() -> None:
    past = history(outcome("a", 1), outcome("b", 2))
    ask(past, "c", "b", "a")
    past.durable = admit(past, "c").seq

    assert deliver_all(past) == ["a", "b", "c"]


def test_what_was_retracted_is_not_delivered_and_what_came_after_it_is() -> None:
    past = history()
    ask(past, "a", "b")
    refused, _ = admit(past, "a"), admit(past, "b")

    past.retract(refused.seq)
    past.durable = 2

    assert deliver_all(past) == ["b"]


# -- what is written apart


def written(history: History, key: str, number: tuple[int, float]) -> Outcome:
    """The outcome of a transaction that has this number."""
    seq, at = number
    return outcome(key, seq, at=at)


def test_a_reserved_number_is_the_next_and_its_time_does_not_go_back() -> None:
    past = history(outcome("a", 1, at=STARTED + 9))

    first, second, third = past.reserve(STARTED + 3), admit(past, "b", STARTED + 4), past.reserve(STARTED + 20)

    assert (first, (second.seq, second.at), third) == ((2, STARTED + 9), (3, STARTED + 9), (4, STARTED + 20))


def test_what_is_written_apart_is_delivered_though_nothing_else_was_written_since() -> None:
    past = history()
    ask(past, "a")
    number = past.reserve(STARTED)

    past.recorded(written(past, "a", number))

    assert not past.writing
    assert deliver_all(past) == ["a"]


def test_what_is_written_apart_waits_for_smaller_numbers() -> None:
    past = history()
    ask(past, "a", "b")
    first = admit(past, "a")
    past.recorded(written(past, "b", past.reserve(STARTED)))

    before = deliver_all(past)
    past.durable = first.seq

    assert (before, deliver_all(past)) == ([], ["a", "b"])


def test_greater_numbers_wait_until_it_is_known_whether_a_reserved_one_is_written() -> None:
    past = history()
    ask(past, "a", "b", "c")
    number = past.reserve(STARTED)
    past.durable = admit(past, "b").seq
    later = past.reserve(STARTED)

    before = deliver_all(past)
    past.recorded(written(past, "c", later))
    still = deliver_all(past)
    past.recorded(written(past, "a", number))

    assert (before, still, deliver_all(past)) == ([], [], ["a", "b", "c"])


def test_a_number_that_was_freed_holds_nothing_up_and_is_not_given_again() -> None:
    past = history()
    ask(past, "b")
    seq, _ = past.reserve(STARTED)
    past.durable = admit(past, "b").seq

    past.free(seq)

    assert deliver_all(past) == ["b"]
    assert past.reserve(STARTED)[0] == 3


def test_an_outcome_is_on_its_way_from_when_it_has_a_number_until_it_is_written_or_void() -> None:
    past = history(outcome("x", 1))
    ask(past, "x", "a", "b")

    seen = [past.writing]
    seq, _ = past.reserve(STARTED)
    seen.append(past.writing)
    past.free(seq)
    seen.append(past.writing)
    live = admit(past, "a")
    seen.append(past.writing)
    past.durable = live.seq
    seen.append(past.writing)

    assert seen == [False, True, False, True, False]


@given(st.lists(st.sampled_from(["admit", "reserve", "write", "written apart", "void"]), max_size=40))
def test_whatever_is_written_in_whatever_order_is_delivered_in_order_and_durable(acts: list[str]) -> None:
    past, admitted, reserved, durable, delivered = history(), list[Outcome](), list[tuple[int, float]](), set[int](), list[int]()
    void: set[int] = set()
    for number, act in enumerate(acts, 1):
        key = f"k{number}"
        if act == "admit":
            ask(past, key)
            admitted.append(admit(past, key))
        elif act == "reserve":
            reserved.append(past.reserve(STARTED))
        elif act == "write" and admitted:
            past.durable = admitted.pop(0).seq
            durable.add(past.durable)
        elif act == "written apart" and reserved:
            ask(past, key)
            given = written(past, key, reserved.pop(number % len(reserved)))
            past.recorded(given)
            durable.add(given.seq)
        elif act == "void" and reserved:
            seq, _ = reserved.pop(number % len(reserved))
            past.free(seq)
            void.add(seq)
        while (met := past.next()) is not None:
            delivered.append(met[1].seq)
            assert set(range(1, met[1].seq)) <= durable | void
    assert delivered == sorted(set(delivered))
    assert set(delivered) <= durable
    pending = {outcome.seq for outcome in admitted} | {seq for seq, _ in reserved}
    assert set(delivered) == {seq for seq in durable if all(seq < other for other in pending)}
    assert past.writing == bool(pending)


def test_an_empty_history_has_nothing_to_deliver() -> None:
    past = history()

    assert past.next() is None
    assert not past.waiting
    past.caught_up()
    past.ended()


# -- what the body asks for, and no longer wants


def test_what_the_body_has_canceled_is_passed_over_and_counts_as_asked_for() -> None:
    past = history(outcome("a", 1), outcome("b", 2))
    canceled, other = ask(past, "a", "b")

    past.withdraw("a")

    assert deliver_all(past) == ["a", "b"]
    assert (canceled.got, len(other.got), past.delivered) == ([], 1, 2)


def test_a_request_that_was_canceled_after_delivery_stays_delivered() -> None:
    past = history(outcome("a", 1))
    ask(past, "a")
    deliver_all(past)

    past.withdraw("a")

    assert past.request("a") is None


def test_a_request_awaits_until_it_is_delivered_or_canceled() -> None:
    past = history(outcome("a", 1))
    first, second, third = ask(past, "a", "b", "c")
    past.withdraw("b")
    deliver_all(past)

    assert [past.awaits("a", first), past.awaits("b", second), past.awaits("c", third)] == [False, False, True]
    assert [past.request(key) for key in ("a", "b", "c", "d")] == [None, None, third, None]


def test_canceling_twice_changes_nothing() -> None:
    past = history(outcome("a", 1))
    ask(past, "a")

    past.withdraw("a")
    past.withdraw("a")

    met = past.next()
    assert met is not None
    assert isinstance(met[0], Withdrawn)


def test_earlier_attempts_of_a_step_are_known_and_of_others_there_are_none() -> None:
    past = history(tried={"a": Tried(3, 2, 9.0, evidence=True)})

    assert (past.tried("a"), past.tried("b")) == (Tried(3, 2, 9.0, evidence=True), Tried(0, 0, 0.0))


def test_what_is_disposed_of_holds_no_requests() -> None:
    past = history()
    ask(past, "a")

    past.dispose()

    assert past.request("a") is None


# -- changed code


def test_a_recorded_outcome_that_the_code_does_not_ask_for_is_a_divergence() -> None:
    past = history(outcome("charge", 1))
    ask(past, "pay")

    finding = divergence(past)

    assert finding.what == "step 'charge' is recorded, and the code does not ask for it"
    assert (finding.key, finding.asked_instead, finding.python) == ("charge", ("step 'pay'",), 311)


def test_it_is_found_also_when_the_body_waits_for_nothing_or_for_a_new_timer_only() -> None:
    waiting_for_a_timer = history(outcome("charge", 1))
    ask(waiting_for_a_timer, "~timer", kind=Kind.TIMER)

    assert divergence(history(outcome("charge", 1))).key == "charge"
    assert divergence(waiting_for_a_timer).asked_instead == ("timer '~timer'",)


def test_it_is_found_before_anything_later_is_delivered() -> None:
    past = history(outcome("a", 1), outcome("gone", 2), outcome("b", 3))
    first, last = ask(past, "a", "b")

    divergence(past)

    assert (len(first.got), last.got) == (1, [])


@pytest.mark.parametrize("withdrawn", [False, True])
def test_a_name_that_has_changed_its_kind_is_a_divergence(withdrawn: bool) -> None:
    past = history(outcome("nap", 1))
    ask(past, "nap", kind=Kind.SLEEP)
    if withdrawn:
        past.withdraw("nap")

    assert divergence(past).what == "step 'nap' is recorded, and the code asks for a sleep of that name"


def test_a_key_recorded_twice_is_a_divergence() -> None:
    past = history(outcome("a", 1), outcome("a", 2))
    ask(past, "a")

    assert divergence(past).what == "step 'a' is recorded a second time"


def test_an_explanation_names_the_neighbours() -> None:
    past = history(*(outcome(key, seq) for seq, key in enumerate(["a", "b", "c", "gone", "d", "e", "f"], 1)))
    ask(past, "a", "b", "c", "new", "newer", "old")
    past.withdraw("old")

    finding = divergence(past)

    assert finding.before == ("step 'b'", "step 'c'")
    assert finding.after == ("step 'd'", "step 'e'")
    assert finding.asked_instead == ("step 'new'", "step 'newer'")


def test_what_is_on_its_way_to_the_database_is_no_neighbour() -> None:
    past = history(outcome("gone", 1))
    ask(past, "live")
    admit(past, "live")

    finding = divergence(past)

    assert (finding.after, finding.asked_instead) == ((), ())


def test_of_much_that_is_asked_for_instead_five_are_named() -> None:
    past = history(outcome("gone", 1))
    ask(past, *(f"new:{n}" for n in range(9)))

    assert len(divergence(past).asked_instead) == 5


@given(st.data())
def test_code_that_asks_as_it_did_never_diverges(data: st.DataObject) -> None:
    """Whatever the body asks for when, replay delivers the same in the same order, as long as it asks for the same then."""
    live, recorded, asked_at = history(), list[Outcome](), dict[int, list[str]]()
    waiting: list[str] = []
    for turn in range(data.draw(st.integers(1, 12))):
        new = [f"k{turn}.{n}" for n in range(data.draw(st.integers(0 if waiting else 1, 3)))]
        asked_at[live.delivered] = new
        ask(live, *new)
        waiting += new
        recorded.append(admit(live, waiting.pop(data.draw(st.integers(0, len(waiting) - 1)))))
        live.durable = live.last_seq
        deliver_all(live)

    replay = history(*recorded)
    delivered = []
    ask(replay, *asked_at[0])
    while (met := replay.next()) is not None:
        delivered.append(met[1].key)
        ask(replay, *asked_at.get(replay.delivered, []))

    assert delivered == [each.key for each in recorded]
    replay.caught_up()
    replay.ended()


# -- attempts are evidence too


def test_a_step_that_was_tried_must_be_asked_for_when_the_gate_is_first_empty() -> None:
    past = history(outcome("a", 1), tried={"charge": Tried(2, 2, 0.0, evidence=True)})
    ask(past, "a", "pay")
    deliver_all(past)

    with pytest.raises(Diverged) as caught:
        past.caught_up()

    assert caught.value.finding.what == "step 'charge' was tried 2 times, and the code does not ask for it"
    assert (caught.value.finding.before, caught.value.finding.asked_instead) == (("step 'a'",), ("step 'pay'",))


def test_a_step_that_was_tried_and_is_asked_for_as_something_else_is_a_divergence() -> None:
    past = history(tried={"charge": Tried(1, 1, 0.0, evidence=True)})
    ask(past, "charge", kind=Kind.SLEEP)

    with pytest.raises(Diverged, match="step 'charge' was tried once, and the code asks for a sleep of that name"):
        past.caught_up()


@pytest.mark.parametrize("withdrawn", [False, True])
def test_a_step_that_was_tried_and_is_asked_for_is_none(withdrawn: bool) -> None:
    past = history(tried={"charge": Tried(1, 1, 0.0, evidence=True)})
    ask(past, "charge")
    if withdrawn:
        past.withdraw("charge")

    past.caught_up()


def test_attempts_that_were_taken_back_and_those_of_the_body_are_no_evidence() -> None:
    past = history(tried={"charge": Tried(1, 0, 0.0, evidence=False), BODY: Tried(2, 2, 0.0, evidence=True)})

    past.caught_up()


# -- the end


def test_a_body_may_return_with_outcomes_left_that_it_asked_for() -> None:
    past = history(outcome("a", 1), outcome("left", 2), outcome("canceled", 3))
    ask(past, "a", "left", "canceled")
    past.withdraw("canceled")
    past.next()

    past.ended()


def test_a_body_that_returns_before_it_has_asked_for_all_that_is_recorded_diverges() -> None:
    past = history(outcome("a", 1), outcome("left", 2), outcome("gone", 3), outcome("later", 4))
    ask(past, "a", "left")
    past.next()

    with pytest.raises(Diverged) as caught:
        past.ended()

    finding = caught.value.finding
    assert finding.what == "step 'gone' is recorded, and the code returns without asking for it"
    assert (finding.before, finding.after) == (("step 'a'",), ("step 'later'",))


def test_a_body_that_returns_having_asked_for_another_kind_diverges() -> None:
    past = history(outcome("nap", 1))
    ask(past, "nap", kind=Kind.SLEEP)

    with pytest.raises(Diverged, match="the code asks for a sleep of that name"):
        past.ended()


def test_a_body_that_returns_on_replay_without_asking_for_a_step_that_was_tried_diverges() -> None:
    past = history(tried={"charge": Tried(1, 1, 0.0, evidence=True)})

    with pytest.raises(Diverged, match="tried once"):
        past.ended()


def test_what_is_on_its_way_to_the_database_does_not_matter_at_the_end() -> None:
    past = history()
    ask(past, "a")
    admit(past, "a")

    past.ended()


# -- steps of one name that have changed places


def replayed(recorded: Iterable[tuple[str, int]], asked: Iterable[tuple[str, int]]) -> History:
    """A run whose steps were recorded with these marks, and are all asked for at once with those."""
    past = history(*(outcome(key, seq, mark=mark) for seq, (key, mark) in enumerate(recorded, 1)))
    for key, mark in asked:
        past.meet(key, Asked(), mark)
    return past


A, B, C, D = 11, 22, 33, 44


@pytest.mark.parametrize(
    ("recorded", "asked"),
    [
        pytest.param([("s", A), ("s:1", B)], [("s", B), ("s:1", A)], id="swapped"),
        pytest.param([("s", A), ("s:1", B), ("s:2", C)], [("s", C), ("s:1", B), ("s:2", A)], id="reversed"),
        pytest.param([("s", A), ("s:1", B)], [("s", D), ("s:1", A), ("s:2", B)], id="inserted at the front"),
        pytest.param([("s", A)], [("s", D), ("s:1", A)], id="inserted at the front of one"),
        pytest.param([("s", A), ("s:1", B)], [("s", B)], id="the first removed"),
        pytest.param([("@0/s", A), ("@1/s", B)], [("@0/s", D), ("@1/s", A), ("@2/s", B)], id="a branch before the others"),
        pytest.param([("s", A)], [("s:1", A), ("s", D)], id="asked for in another order"),
    ],
)
def test_steps_that_have_changed_places_are_found(recorded: list[tuple[str, int]], asked: list[tuple[str, int]]) -> None:
    finding = divergence(replayed(recorded, asked))

    assert "have changed places" in finding.what


@pytest.mark.parametrize(
    ("recorded", "asked"),
    [
        pytest.param([("s", A), ("s:1", B)], [("s", A), ("s:1", B)], id="as before"),
        pytest.param([("s", A), ("s:1", A), ("s:2", A)], [("s", A), ("s:1", A), ("s:2", A), ("s:3", A)], id="repeated equal arguments"),
        pytest.param([("s", A), ("s:1", A)], [("s", B), ("s:1", B), ("s:2", B)], id="repeated equal arguments, corrected"),
        pytest.param([("s", A), ("s:1", B)], [("s", A), ("s:1", B), ("s:2", A), ("s:3", B)], id="a loop that goes on"),
        pytest.param([("s", A)], [("s", A), ("s:1", B)], id="appended"),
        pytest.param([("s", 0), ("s:1", 0)], [("s", A), ("s:1", B)], id="recorded without a mark"),
        pytest.param([("s", A), ("s:1", B)], [("s", 0), ("s:1", 0)], id="asked for without a mark"),
    ],
)
def test_there_is_no_false_alarm(recorded: list[tuple[str, int]], asked: list[tuple[str, int]]) -> None:
    past = replayed(recorded, asked)

    assert len(deliver_all(past)) == len(recorded)


def test_corrected_arguments_are_let_through_and_reported() -> None:
    past = replayed([("s", A), ("s:1", B)], [("s", D), ("s:1", B)])

    assert deliver_all(past) == ["s", "s:1"]
    assert past.changed_arguments == ["s"]


def test_arguments_that_did_not_change_are_not_reported() -> None:
    past = replayed([("s", A)], [("s", A), ("s:1", B)])

    deliver_all(past)

    assert past.changed_arguments == []


def test_a_swap_is_found_at_the_end_of_the_body_too() -> None:
    past = replayed([("s", A), ("s:1", B)], [("s", B), ("s:1", A)])

    with pytest.raises(Diverged, match="have changed places"):
        past.ended()


def test_a_swap_whose_second_step_comes_after_the_replay_is_found_and_explained() -> None:
    past = replayed([("before", C), ("s", A)], [("before", C), ("s", B)])
    deliver_all(past)
    past.caught_up()
    past.live()

    past.meet("s:1", Asked(), A)

    finding = divergence(past)
    assert finding.what == "step 's:1' and step 's' have changed places: what was recorded for the one is now asked for by the other"
    assert finding.before == ("step 'before'", "step 's'")


def test_new_steps_after_a_replay_without_changes_are_not_compared_with_it() -> None:
    past = replayed([("s", A)], [("s", A)])
    deliver_all(past)
    past.live()

    past.meet("s:1", Asked(), A)

    assert past.next() is None


@given(st.lists(st.integers(1, 3), max_size=8), st.lists(st.integers(1, 3), max_size=8))
def test_unchanged_code_is_never_accused(recorded: list[int], further: list[int]) -> None:
    marks = recorded + further
    past = replayed([(f"s:{n}", mark) for n, mark in enumerate(recorded)], [(f"s:{n}", mark) for n, mark in enumerate(marks)])

    assert len(deliver_all(past)) == len(recorded)
    assert past.changed_arguments == []


@given(st.permutations(range(1, 6)), st.integers(1, 5))
def test_any_other_order_of_different_arguments_is_found(order: list[int], count: int) -> None:
    """As far as what moved is recorded, or is where something recorded was."""
    recorded = list(range(1, 6))[:count]
    past = replayed([(f"s:{n}", mark) for n, mark in enumerate(recorded)], [(f"s:{n}", mark) for n, mark in enumerate(order)])

    if order[:count] == recorded:
        deliver_all(past)
    else:
        assert "have changed places" in divergence(past).what


# -- taking outcomes back


def test_taking_back_an_outcome_takes_back_what_was_asked_for_in_its_knowledge_and_keeps_the_rest() -> None:
    before, beside = outcome("a", 1), outcome("beside", 4, asked=1)
    failed, undo, after_beside = outcome("charge", 2, asked=1), outcome("undo", 3, asked=2), outcome("tell", 5, asked=4)

    kept, first = taken_back([before, failed, undo, beside, after_beside], ["charge"])

    assert (kept, first) == ([before, beside], 2)


def test_taking_back_several_goes_by_the_first_of_them() -> None:
    kept, first = taken_back([outcome("a", 1), outcome("b", 2), outcome("c", 3, asked=1), outcome("d", 4)], ["b", "a"])

    assert (kept, first) == ([outcome("d", 4)], 1)


@pytest.mark.parametrize("keys", [[], ["unknown"]])
def test_taking_back_nothing_keeps_all_and_every_attempt(keys: list[str]) -> None:
    outcomes = [outcome("a", 1), outcome("b", 5, asked=1)]

    assert taken_back(outcomes, keys) == (outcomes, 6)
    assert taken_back([], keys) == ([], 1)


@st.composite
def histories(draw: st.DrawFn) -> list[Outcome]:
    """Each was asked for when an earlier one, or none, had been delivered last."""
    numbers = sorted(draw(st.sets(st.integers(1, 60), max_size=15)))
    return [outcome(f"k{seq}", seq, asked=draw(st.sampled_from([0, *numbers[:place]]))) for place, seq in enumerate(numbers)]


@given(histories(), st.data())
def test_what_stays_is_a_history_that_the_code_can_have_led_to(recorded: list[Outcome], data: st.DataObject) -> None:
    keys = data.draw(st.lists(st.sampled_from([each.key for each in recorded]))) if recorded else []

    kept, first = taken_back(recorded, keys)

    stays = {each.seq for each in kept}
    assert not {each.key for each in kept} & set(keys)
    for each in kept:  # all that the body knew when it asked for this is still there
        assert {other.seq for other in recorded if other.seq <= each.asked} <= stays
    for each in recorded:  # and nothing went without a reason
        assert each.seq in stays or each.key in keys or each.asked >= first
    assert taken_back(kept, keys) == (kept, max(stays, default=0) + 1)
