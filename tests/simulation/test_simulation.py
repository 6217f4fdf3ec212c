"""Nothing is lost, done twice or done too late, whatever goes wrong: `python -m tests.simulation` tries as long as you like."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from scripts.interpreters import ROOT
from tests.simulation.simulating import simulate
from tests.simulation.world import Universe

pytestmark = pytest.mark.proof

CHUNKS = 4
SEEDS = {"memory": 60, "sqlite": 40}


@pytest.mark.parametrize("chunk", range(CHUNKS))
@pytest.mark.parametrize("store", SEEDS)
def test_whatever_goes_wrong_every_run_ends_as_its_record_says_and_nothing_recorded_is_done_again(store: str, chunk: int) -> None:
    report = simulate(range(chunk, SEEDS[store], CHUNKS), store)

    assert report.failures == []
    assert report.counts["simulations"] == SEEDS[store] // CHUNKS
    assert report.counts["steps"] > 10 * report.counts["simulations"]
    assert {"crash", "freeze", "lost answers", "refusals", "stalls"} <= set(report.counts)


@pytest.mark.parametrize("store", SEEDS)
def test_a_seed_always_does_the_same(store: str) -> None:
    with Universe() as universe:
        first = [universe.run(seed, store, trace=True).trace for seed in range(5)]
    with Universe() as universe:
        second = [universe.run(seed, store, trace=True).trace for seed in reversed(range(5))][::-1]

    assert first == second


@pytest.mark.parametrize("store", SEEDS)
def test_a_seed_does_the_same_however_this_process_hashes_strings(store: str) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "tests.simulation", "--seed", "3", "--store", store]

    traces = set()
    for hash_seed in ("0", "1"):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        traces.add(done.stdout)

    assert len(traces) == 1
