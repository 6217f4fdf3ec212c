"""`python -m tests.proof`: the proof at length.

It makes programs of consecutive seeds, crashes each at every commit, and prints what it saw. The first program that goes wrong is
shrunk, and printed with the case that shows it.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from tests.proof.programs import generate, indented
from tests.proof.proving import Report, minimal, prove


def main() -> int:
    options = _options()
    began = time.monotonic()
    seeds = range(options.start, options.start + options.seeds)
    chunks = [seeds[place : place + 10] for place in range(0, len(seeds), 10)]
    report = Report()
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        for part in pool.map(prove, chunks, [options.most] * len(chunks), [options.mail] * len(chunks), [options.books] * len(chunks)):
            report.add(part)
            if report.failures:
                pool.shutdown(cancel_futures=True)
                break
    seconds = time.monotonic() - began
    print(
        f"CPython {platform.python_version()}, PYTHONHASHSEED={os.environ.get('PYTHONHASHSEED', 'random')}, {options.processes} processes"
    )
    print(", ".join(f"{count:,} {what}" for what, count in report.counts.items()))
    print(f"{seconds:.1f} s, {report.counts['programs'] / seconds * 60:,.0f} programs a minute, {len(report.failures)} wrong")
    for seed, case, message in report.failures[:1]:
        program = generate(seed, mail=options.mail, books=options.books)
        print(f"\nseed {seed}, {case}:\n{message}\n\n{indented(program)}")
        small, small_case, why = minimal(program, case)
        print(f"shrunk; {small_case}:\n{why}\n\n{indented(small)}")
    return 1 if report.failures else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.proof", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2_000, help="how many programs")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--most", type=int, default=None, help="crashes a program at most; all of them if left out")
    parser.add_argument("--mail", action="store_true", help="programs that wait for signals and children, too")
    parser.add_argument("--books", action="store_true", help="programs with transactions, too")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
