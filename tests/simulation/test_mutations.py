"""The simulation misses each rule that is switched off."""

from __future__ import annotations

import gc

import pytest

from tests.proof.mutations import Mutation, caught
from tests.simulation.mutations import MUTATIONS

pytestmark = pytest.mark.proof


@pytest.mark.filterwarnings("ignore")  # what an engine without a rule leaves behind
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.rule)
def test_without_a_rule_a_simulation_goes_wrong(mutation: Mutation) -> None:
    message = caught(mutation)
    gc.collect()  # bodies that were not left in order end here, and not in the middle of another test

    assert message is not None, f"nobody notices that this is not so: {mutation.rule}"
    assert message.startswith("seed ")
