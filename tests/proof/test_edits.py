"""Code that was changed while runs were under way is found before it does anything twice."""

from __future__ import annotations

import pytest

from tests.proof.edits import EDITS, try_edits

pytestmark = pytest.mark.proof

RIGHTLY = {
    "a step put first": {"found"},
    "a sleep put first": {"found"},
    "a step appended": {"let through"},
    "an early return": {"found", "let through"},
    "another argument": {"let through"},
    "another function": {"let through"},
}
"""What becomes of some kinds wherever they are made, and something is recorded."""


@pytest.mark.parametrize("kind", EDITS)
def test_an_edit_is_found_before_any_effect_is_repeated_or_rightly_let_through(kind: str) -> None:
    tally = try_edits(range(12), [kind], most=16)

    assert tally.failures == []
    counts = tally.total
    assert counts["found"] + counts["let through"] > 20
    assert all(counts[each] > 0 for each in RIGHTLY.get(kind, ()))
