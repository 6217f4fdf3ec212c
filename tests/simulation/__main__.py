"""`python -m tests.simulation`: many simulations, and what they saw; with `--seed`, one of them, and all that happens in it."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from tests.simulation.simulating import Report, simulate
from tests.simulation.tables import STORES
from tests.simulation.world import Universe, Wrong

_AT_ONCE = 10


def main() -> int:
    options = _options()
    stores = STORES if options.store == "both" else (options.store,)
    if options.seed is not None:
        return max(_replay(options.seed, store) for store in stores)
    began = time.monotonic()
    report = _report(range(options.start, options.start + options.seeds), stores, options.processes)
    seconds = time.monotonic() - began
    print(f"CPython {platform.python_version()}, {options.processes} processes, {', '.join(stores)}")
    print(", ".join(f"{count:,} {what}" for what, count in report.counts.most_common()))
    print(f"{seconds:.1f} s, {options.seeds / seconds:.1f} seeds a second, {len(report.failures)} wrong")
    for failure in report.failures:
        print(failure.partition("\n")[0])
    if report.failures:
        print("see one of them with `python -m tests.simulation --seed … --store …`")
    return 1 if report.failures else 0


def _report(seeds: range, stores: tuple[str, ...], processes: int) -> Report:
    """Each seed in one of the stores, in turns."""
    report = Report()
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        parts = [
            pool.submit(simulate, seeds[place : place + _AT_ONCE * len(stores)][turn :: len(stores)], store)
            for place in range(0, len(seeds), _AT_ONCE * len(stores))
            for turn, store in enumerate(stores)
        ]
        for part in parts:
            report.add(part.result())
    return report


def _replay(seed: int, store: str) -> int:
    with Universe() as universe:
        try:
            done = universe.run(seed, store, trace=True)
        except Wrong as wrong:
            print(wrong)
            return 1
    print("\n".join(done.trace))
    print(f"seed {seed}, {store}: {', '.join(f'{count:,} {what}' for what, count in done.counts.most_common())}")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000, help="how many simulations")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, default=None, help="only this one, with a trace")
    parser.add_argument("--store", choices=(*STORES, "both"), default="both")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
