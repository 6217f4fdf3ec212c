"""What becomes of slots that are due: which make runs, which wait, and what is said of the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stepwell.core.cron import Cron
from stepwell.core.options import CatchUp, Overlap
from stepwell.core.records import Cursor, NewSlot
from stepwell.core.slots import AT_ONCE, COUNTED, LATE, Plan, planned, skipped_while_paused

NOON = 1_800_014_400.0
"""15 January 2027, 12:00 UTC: a slot of every schedule here."""

MINUTES = Cron("* * * * *", "UTC")
SECONDS = Cron("* * * * * *", "UTC")
YEARS = Cron("0 0 1 1 *", "UTC")

LAST = 253_339_228_800.0
"""1 January 9998, 00:00 UTC: the last slot of `YEARS`."""

OVERLAPS: tuple[Overlap, ...] = get_args(Overlap)
CATCH_UPS: tuple[CatchUp, ...] = get_args(CatchUp)
RUN = "the-last-run"


def plan(
    now: float,
    overlap: Overlap = "allow",
    catch_up: CatchUp = "latest",
    *,
    slots: Cron = MINUTES,
    next_at: float | None = NOON,
    waiting_at: float | None = None,
    going: bool = False,
) -> Plan | None:
    cursor = Cursor("report", "each", "d1", next_at, waiting_at, last_run=RUN if going else None, going=going)
    return planned(slots, overlap, catch_up, cursor, now)


def some(found: Plan | None) -> Plan:
    assert found is not None
    return found


def said(found: Plan | None) -> list[tuple[float, float, int | None, str]]:
    """The records: from when, until when, how many, and what became of them."""
    return [(each.slot, each.until, each.count, each.outcome) for each in some(found).records]


def minutes(first: int, last: int) -> tuple[float, ...]:
    """Slots after noon, both ends in."""
    return tuple(NOON + 60.0 * place for place in range(first, last + 1))


# -- in time


@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize("catch_up", CATCH_UPS)
@pytest.mark.parametrize("next_at", [NOON, None])
def test_before_its_slot_there_is_nothing_to_do(overlap: Overlap, catch_up: CatchUp, next_at: float | None) -> None:
    assert plan(NOON - 0.001, overlap, catch_up, next_at=next_at) is None


@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize("catch_up", CATCH_UPS)
@pytest.mark.parametrize("late", [0.0, 0.5, LATE - 0.001])
def test_a_slot_late_by_under_ten_seconds_fires_whatever_the_policies(overlap: Overlap, catch_up: CatchUp, late: float) -> None:
    assert plan(NOON + late, overlap, catch_up) == Plan((NOON,), (), NOON + 60.0, None)


@pytest.mark.parametrize("catch_up", CATCH_UPS)
def test_slots_of_a_second_s_schedule_that_are_late_by_under_ten_seconds_all_fire(catch_up: CatchUp) -> None:
    found = plan(NOON + 7.5, catch_up=catch_up, slots=SECONDS)

    assert found == Plan(tuple(NOON + place for place in range(8)), (), NOON + 8.0, None)


# -- missed


def test_a_slot_late_by_ten_seconds_fires_unless_the_policy_is_none() -> None:
    for catch_up in ("latest", "all"):
        assert plan(NOON + LATE, catch_up=catch_up) == Plan((NOON,), (), NOON + 60.0, None)

    found = plan(NOON + LATE, catch_up="none")

    assert (some(found).start, some(found).next_at) == ((), NOON + 60.0)
    assert said(found) == [(NOON, NOON, 1, "missed")]
    assert 'catch_up is "none"' in str(some(found).records[0].reason)


def test_latest_makes_up_for_the_newest_slot_and_says_that_the_others_were_missed() -> None:
    found = plan(NOON + 4 * 60 + 30, catch_up="latest")

    assert (some(found).start, some(found).next_at) == (minutes(4, 4), NOON + 300.0)
    assert said(found) == [(NOON, NOON + 180.0, 4, "missed")]
    assert "the newest slot only" in str(some(found).records[0].reason)


def test_latest_makes_up_for_none_when_one_is_due_that_is_not_late() -> None:
    found = plan(NOON + 4 * 60 + 5, catch_up="latest")

    assert some(found).start == minutes(4, 4)
    assert said(found) == [(NOON, NOON + 180.0, 4, "missed")]


def test_none_makes_up_for_none_and_fires_those_that_are_not_late() -> None:
    late = plan(NOON + 4 * 60 + 30, catch_up="none")
    in_time = plan(NOON + 4 * 60 + 5, catch_up="none")

    assert (some(late).start, some(late).next_at, said(late)) == ((), NOON + 300.0, [(NOON, NOON + 240.0, 5, "missed")])
    assert (some(in_time).start, said(in_time)) == (minutes(4, 4), [(NOON, NOON + 180.0, 4, "missed")])


def test_all_makes_up_for_every_slot_in_order_a_hundred_at_once() -> None:
    found = plan(NOON + 250 * 60, catch_up="all")
    assert (some(found).start, some(found).next_at, some(found).records) == (minutes(0, AT_ONCE - 1), NOON + AT_ONCE * 60.0, ())

    second = plan(NOON + 250 * 60, catch_up="all", next_at=some(found).next_at)
    third = plan(NOON + 250 * 60, catch_up="all", next_at=some(second).next_at)

    assert some(second).start == minutes(AT_ONCE, 2 * AT_ONCE - 1)
    assert (some(third).start, some(third).next_at) == (minutes(2 * AT_ONCE, 250), NOON + 251 * 60.0)


@pytest.mark.parametrize(("missed", "count"), [(COUNTED, COUNTED), (COUNTED + 1, None), (30_000_000, None)])
def test_more_than_a_thousand_missed_slots_are_not_counted(missed: int, count: int | None) -> None:
    now = NOON + missed - 1 + LATE
    found = plan(now, catch_up="none", slots=SECONDS)

    assert said(found) == [(NOON, NOON + missed - 1, count, "missed")]
    assert some(found).start == tuple(NOON + missed + place for place in range(10))


@pytest.mark.parametrize("catch_up", CATCH_UPS)
def test_of_a_year_of_seconds_only_a_handful_is_done_at_once(catch_up: CatchUp) -> None:
    found = some(plan(NOON + 31_536_000, catch_up=catch_up, slots=SECONDS))

    assert len(found.start) == (AT_ONCE if catch_up == "all" else 10)
    assert len(found.records) == (catch_up != "all")


def test_a_cursor_that_stands_on_no_slot_fires_all_the_same() -> None:
    """As where another release of the zones' rules has moved the slots."""
    assert plan(NOON + 35.0, next_at=NOON + 20.0) == Plan((NOON + 20.0,), (), NOON + 60.0, None)


# -- the end of the calendar


@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize("catch_up", CATCH_UPS)
def test_after_the_last_slot_there_is_none(overlap: Overlap, catch_up: CatchUp) -> None:
    assert plan(LAST, overlap, catch_up, slots=YEARS, next_at=LAST) == Plan((LAST,), (), None, None)
    assert plan(LAST + 1e6, overlap, catch_up, slots=YEARS, next_at=None) is None


def test_the_last_slot_can_be_missed_too() -> None:
    late = LAST + 3_600.0

    assert plan(late, catch_up="latest", slots=YEARS, next_at=LAST) == Plan((LAST,), (), None, None)
    assert said(plan(late, catch_up="none", slots=YEARS, next_at=LAST)) == [(LAST, LAST, 1, "missed")]


# -- overlap


def test_allow_lets_runs_go_side_by_side() -> None:
    assert plan(NOON, "allow", going=True) == Plan((NOON,), (), NOON + 60.0, None)


def test_skip_passes_over_a_slot_while_the_last_run_is_going_and_says_which_run_that_is() -> None:
    found = plan(NOON, "skip", going=True)

    assert (some(found).start, some(found).next_at) == ((), NOON + 60.0)
    assert said(found) == [(NOON, NOON, 1, "skipped")]
    assert RUN in str(some(found).records[0].reason)


def test_skip_begins_the_first_of_several_and_passes_over_the_others() -> None:
    found = plan(NOON + 3 * 60, "skip", "all")

    assert some(found).start == (NOON,)
    assert said(found) == [(NOON + 60.0, NOON + 180.0, 3, "skipped")]


def test_skip_passes_over_several_at_once() -> None:
    found = plan(NOON + 3 * 60, "skip", "all", going=True)

    assert some(found).start == ()
    assert said(found) == [(NOON, NOON + 180.0, 4, "skipped")]


def test_cancel_lets_the_new_run_take_the_place_of_the_last() -> None:
    assert plan(NOON, "cancel", going=True) == Plan((NOON,), (), NOON + 60.0, None, RUN)
    assert plan(NOON, "cancel") == Plan((NOON,), (), NOON + 60.0, None, None)


def test_cancel_begins_the_last_of_several_only() -> None:
    found = plan(NOON + 3 * 60, "cancel", "all", going=True)

    assert (some(found).start, some(found).cancel) == (minutes(3, 3), RUN)
    assert said(found) == [(NOON, NOON + 120.0, 3, "skipped")]


def test_of_more_than_a_hundred_slots_cancel_begins_none_but_the_last() -> None:
    first = plan(NOON + 150 * 60, "cancel", "all", going=True)
    second = plan(NOON + 150 * 60, "cancel", "all", going=True, next_at=some(first).next_at)

    assert (some(first).start, some(first).cancel, said(first)) == ((), None, [(NOON, minutes(99, 99)[0], 100, "skipped")])
    assert (some(second).start, some(second).cancel) == (minutes(150, 150), RUN)


def test_nothing_is_canceled_for_slots_that_were_missed() -> None:
    found = plan(NOON + 30, "cancel", "none", going=True)

    assert (some(found).start, some(found).cancel, said(found)) == ((), None, [(NOON, NOON, 1, "missed")])


def test_wait_lets_one_slot_wait_for_the_end_of_the_last_run() -> None:
    assert plan(NOON, "wait", going=True) == Plan((), (), NOON + 60.0, NOON)


def test_wait_passes_over_slots_while_one_waits_already() -> None:
    found = plan(NOON, "wait", waiting_at=NOON - 60.0, going=True)

    assert (some(found).start, some(found).waiting_at, some(found).next_at) == ((), NOON - 60.0, NOON + 60.0)
    assert said(found) == [(NOON, NOON, 1, "skipped")]
    assert "waits already" in str(some(found).records[0].reason)


@pytest.mark.parametrize(("going", "start"), [(False, minutes(0, 0)), (True, ())])
def test_of_several_slots_wait_begins_one_if_none_is_going_and_lets_one_wait(going: bool, start: tuple[float, ...]) -> None:
    found = some(plan(NOON + 3 * 60, "wait", "all", going=going))
    left = minutes(len(start), 3)

    assert (found.start, found.waiting_at) == (start, left[0])
    assert said(found) == [(left[1], left[-1], len(left) - 1, "skipped")]


@pytest.mark.parametrize(("overlap", "passed"), [("skip", 10), ("cancel", 9)])
def test_a_slot_that_has_waited_and_is_passed_over_has_a_record_of_its_own(overlap: Overlap, passed: int) -> None:
    """A release after the one by which it waited says what else is to be done; those after it were missed meanwhile."""
    found = plan(NOON + 30, overlap, slots=SECONDS, waiting_at=NOON - 1, going=True)

    assert said(found) == [
        (NOON, NOON + 20, 21, "missed"),
        (NOON - 1, NOON - 1, 1, "skipped"),
        (NOON + 21, NOON + 20 + passed, passed, "skipped"),
    ]


def test_a_slot_that_waits_begins_when_the_last_run_has_ended_before_the_next_slot_is_due() -> None:
    found = plan(NOON - 30.0, "wait", waiting_at=NOON - 60.0)

    assert found == Plan((NOON - 60.0,), (), NOON, None)


def test_a_slot_that_waits_goes_on_waiting_while_the_last_run_is_going() -> None:
    assert plan(NOON - 30.0, "wait", waiting_at=NOON - 60.0, going=True) is None


def test_a_slot_that_waits_begins_before_one_that_is_due_which_waits_then() -> None:
    assert plan(NOON, "wait", waiting_at=NOON - 60.0) == Plan((NOON - 60.0,), (), NOON + 60.0, NOON)


def test_a_slot_that_waited_through_an_outage_begins_and_is_not_missed() -> None:
    found = plan(NOON + 3_630.0, "wait", "none", waiting_at=NOON - 60.0)

    assert some(found).start == (NOON - 60.0,)
    assert said(found) == [(NOON, NOON + 3_600.0, 61, "missed")]


def test_the_last_slot_of_all_can_wait() -> None:
    assert plan(LAST + 60.0, "wait", slots=YEARS, next_at=None, waiting_at=LAST) == Plan((LAST,), (), None, None)


# -- another release has changed the overlap while a slot waits


@pytest.mark.parametrize("going", [True, False])
def test_a_slot_that_waits_begins_at_once_when_a_release_allows_overlap(going: bool) -> None:
    assert plan(NOON - 30.0, "allow", waiting_at=NOON - 60.0, going=going) == Plan((NOON - 60.0,), (), NOON, None)


def test_a_slot_that_waits_is_skipped_when_a_release_skips_overlap() -> None:
    found = plan(NOON - 30.0, "skip", waiting_at=NOON - 60.0, going=True)

    assert (some(found).start, some(found).next_at, some(found).waiting_at) == ((), NOON, None)
    assert said(found) == [(NOON - 60.0, NOON - 60.0, 1, "skipped")]


def test_a_slot_that_waits_takes_the_place_of_the_run_when_a_release_cancels_on_overlap() -> None:
    assert plan(NOON - 30.0, "cancel", waiting_at=NOON - 60.0, going=True) == Plan((NOON - 60.0,), (), NOON, None, RUN)


def test_a_slot_that_waits_makes_room_for_a_newer_one_when_a_release_cancels_on_overlap() -> None:
    found = plan(NOON, "cancel", waiting_at=NOON - 60.0, going=True)

    assert (some(found).start, some(found).cancel) == ((NOON,), RUN)
    assert said(found) == [(NOON - 60.0, NOON - 60.0, 1, "skipped")]


# -- resumed


def test_a_schedule_that_is_resumed_before_its_slot_goes_on_where_it_stands() -> None:
    assert skipped_while_paused(MINUTES, NOON, NOON - 1.0) == (NOON, None)
    assert skipped_while_paused(YEARS, None, NOON) == (None, None)


@pytest.mark.parametrize(("now", "last", "count"), [(NOON, NOON, 1), (NOON + 150.0, NOON + 120.0, 3)])
def test_slots_of_the_time_in_which_a_schedule_was_paused_are_skipped_with_a_record(now: float, last: float, count: int) -> None:
    expected = NewSlot(NOON, last, count, "skipped", "the schedule was paused")

    assert skipped_while_paused(MINUTES, NOON, now) == (last + 60.0, expected)


def test_a_schedule_that_was_paused_over_its_last_slot_has_none_any_more() -> None:
    next_at, skipped = skipped_while_paused(YEARS, LAST, LAST + 60.0)

    assert next_at is None
    assert skipped is not None
    assert skipped.until == LAST


# -- any course of time, against an account of each slot by itself


@dataclass
class Told:
    """What `planned` has made of each slot, as one who writes it down sees it."""

    started: list[float] = field(default_factory=list)
    records: list[NewSlot] = field(default_factory=list)
    canceled: list[str] = field(default_factory=list)

    def fates(self, every: int) -> dict[float, str]:
        """What became of each slot. A slot that was told of twice is an error."""
        fates = dict.fromkeys(self.started, "started")
        assert len(fates) == len(self.started)
        for record in self.records:
            slots = [record.slot + place * every for place in range(int(record.until - record.slot) // every + 1)]
            assert slots[-1] == record.until
            assert record.count == (len(slots) if len(slots) <= COUNTED else None)
            assert record.reason
            assert not fates.keys() & set(slots)
            fates |= dict.fromkeys(slots, record.outcome)
        return fates


class Account:
    """The same, one slot after the other, as the words of the specification say it. It knows nothing of cursors and plans."""

    def __init__(self, overlap: Overlap, catch_up: CatchUp) -> None:
        self.overlap = overlap
        self.catch_up = catch_up
        self.fates: dict[float, str] = {}
        self.waiting: float | None = None

    def look(self, due: list[float], now: float, going: bool) -> None:
        """A worker is there, at this time, and these are the slots that nobody has seen yet."""
        late = [slot for slot in due if now - slot >= 10]
        chosen = [slot for slot in due if now - slot < 10]
        if self.catch_up == "all":
            chosen = due
        elif self.catch_up == "latest" and not chosen:
            chosen = late[-1:]
        self.fates |= dict.fromkeys((slot for slot in due if slot not in chosen), "missed")
        if self.waiting is not None and not (going and self.overlap == "wait"):
            chosen, self.waiting = [self.waiting, *chosen], None
        if self.overlap == "cancel":
            chosen, passed = chosen[-1:], chosen[:-1]
            self.fates |= dict.fromkeys(passed, "skipped")
            going = False
        for slot in chosen:
            self._begin(slot, going=going)
            going = True

    def _begin(self, slot: float, *, going: bool) -> None:
        if not going or self.overlap in ("allow", "cancel"):
            self.fates[slot] = "started"
        elif self.overlap == "wait" and self.waiting is None:
            self.waiting = slot
            self.fates[slot] = "waiting"
        else:
            self.fates[slot] = "skipped"


LOOKS = st.lists(
    st.tuples(
        st.one_of(st.floats(0.0, 3.0), st.floats(0.0, 120.0), st.sampled_from([9.999, 10.0, 60.0, 3_600.0])),
        st.booleans(),
    ),
    min_size=1,
    max_size=25,
)
"""How long after the last look each comes, and whether the last run has ended by then."""


@settings(max_examples=250)
@example(every=5, overlap="cancel", catch_up="all", looks=[(3_600.0, False), (10.0, True)])
@example(every=1, overlap="wait", catch_up="all", looks=[(1.0, False), (3_600.0, False), (0.5, True), (0.5, True)])
@example(every=1, overlap="allow", catch_up="latest", looks=[(1_500.0, False), (3_600.0, False)])
@given(
    every=st.sampled_from([1, 2, 5, 15, 60, 300]),
    overlap=st.sampled_from(OVERLAPS),
    catch_up=st.sampled_from(CATCH_UPS),
    looks=LOOKS,
)
def test_every_slot_is_accounted_for_once_and_as_one_who_goes_from_slot_to_slot_would_have_it(
    every: int, overlap: Overlap, catch_up: CatchUp, looks: list[tuple[float, bool]]
) -> None:
    cron = Cron(f"*/{every} * * * * *" if every < 60 else f"*/{every // 60} * * * *", "UTC")
    told, account = Told(), Account(overlap, catch_up)
    cursor = Cursor("report", "each", "d1", NOON)
    now = NOON - 1.0
    for passed, has_ended in looks:
        now += passed
        cursor = cursor._replace(going=cursor.going and not has_ended)
        account.look(list(_unseen(account, every, now)), now, cursor.going)
        cursor = _looked(cron, cursor, overlap, catch_up, now, told)

        fates = told.fates(every) | ({} if cursor.waiting_at is None else {cursor.waiting_at: "waiting"})
        assert fates == account.fates
        assert told.started == sorted(told.started)
        assert cursor.waiting_at == account.waiting


def _unseen(account: Account, every: int, now: float) -> Iterator[float]:
    """Slots that have come since the last look."""
    slot = NOON + every * len(account.fates)
    while slot <= now:
        yield slot
        slot += every


def _looked(cron: Cron, cursor: Cursor, overlap: Overlap, catch_up: CatchUp, now: float, told: Told) -> Cursor:
    """Do what is planned until there is nothing more to do: how the cursor stands then. At one look, each run is begun before the next."""
    for _ in range(200):
        found = planned(cron, overlap, catch_up, cursor, now)
        if found is None:
            return cursor
        assert all(slot <= now for slot in found.start)
        assert all(record.until <= now for record in found.records)
        assert len(found.start) <= AT_ONCE + 1
        assert cursor.next_at is not None
        assert found.next_at is not None
        assert found.next_at >= cursor.next_at
        assert (found.next_at > cursor.next_at) or (cursor.waiting_at is not None and found.waiting_at is None)
        assert found.cancel is None or (found.cancel == cursor.last_run and cursor.going and found.start)
        told.started += found.start
        told.records += found.records
        last = f"run of {found.start[-1]}" if found.start else cursor.last_run
        cursor = cursor._replace(next_at=found.next_at, waiting_at=found.waiting_at, last_run=last, going=cursor.going or bool(found.start))
    raise AssertionError("it never comes to an end")
