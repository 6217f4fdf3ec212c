"""The proof notices each rule of the engine that is missing."""

from __future__ import annotations

import gc
import sys

import pytest

from tests.proof.mutations import MUTATIONS, Mutation, caught

pytestmark = pytest.mark.proof


@pytest.mark.filterwarnings("ignore")  # what an engine without a rule leaves behind
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.rule)
def test_without_a_rule_the_proof_fails(mutation: Mutation) -> None:
    if mutation.until is not None and sys.version_info >= mutation.until:
        pytest.skip("this Python does not need the rule")

    message = caught(mutation)
    gc.collect()  # bodies that were not left in order end here, and not in the middle of another test

    assert message is not None, f"nobody notices that this is not so: {mutation.rule}"
