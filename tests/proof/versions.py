"""Histories that one CPython has made, gone on with by another, and under other hash seeds: `python -m tests.proof.versions`.

Each Python of this machine runs the programs of some seeds, to the end and to a crash in the middle, and writes down what was recorded
and seen. Each other one, and the same one under another PYTHONHASHSEED, loads that as the history of a claimed run and goes on to the
end: nothing may be run again, and it must see what the first one saw.

CPython itself has changed two things that no engine can level, and programs that can come to them are left out. When a task in
`wait_for` is canceled and what it waits for awaits something more as it cleans up, the timeout still cancels that in 3.12, and does not
in 3.11. And a TaskGroup that fails while it is being canceled preserves the count of cancellations since 3.13.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

from scripts.interpreters import ROOT, environment, interpreters
from stepwell.core.records import Attempt, Outcome
from tests.proof.lives import Case, Lives, Universe, Wrong, cases
from tests.proof.programs import Node, generate
from tests.proof.world import Trace

WISHED_FOR = ("3.11", "3.12", "3.13", "3.14")
HASH_SEEDS = ("0", "1", "4294967295")
CRASHES = 2
"""Crashed histories of each program, besides its whole one."""


# -- writing


_CANCELING = frozenset({"timeout", "wait_for", "wait_for_gather", "wait_for_map", "shield"})


def differs_by_version(block: tuple[Node, ...], *, inside: bool = False) -> bool:
    """Whether a program can come to what CPython has changed: cleaning up in `wait_for`, or a TaskGroup in what a timeout cancels."""
    for node in block:
        if inside and (node.kind in ("swallow", "group") or node.options.get("undo")):
            return True
        if any(differs_by_version(inner, inside=inside or node.kind in _CANCELING) for inner in node.blocks):
            return True
    return False


def transcripts(seeds: Iterable[int]) -> Iterator[dict[str, Any]]:
    """Of each program its whole history, and what was there when a crash came."""
    with Universe() as universe:
        for seed in seeds:
            program = generate(seed)
            if differs_by_version(program.body):
                continue
            whole = universe.lived(program, Case(seed))
            yield _transcript(seed, whole)
            for case in cases(seed, whole.store.commits, CRASHES):
                lives = Lives(universe.loop, program, Case(seed, case.crash_at, case.after))
                universe.complete(_first_life(lives))
                if not lives.row.status.ended and lives.row.generation < len(lives.world.chapters):
                    yield _transcript(seed, lives)


async def _first_life(lives: Lives) -> None:
    await lives.begin()
    await lives.live(lives.case.crash_at, lives.case.after)
    lives.leave()


def _transcript(seed: int, lives: Lives) -> dict[str, Any]:
    row, chapter = lives.row, lives.world.chapters[-1]
    return {
        "seed": seed,
        "argument": chapter.argument,
        "begun_at": chapter.begun_at,
        "outcomes": lives.history(),
        "attempts": list(row.attempts.values()),
        "status": row.status if row.status.ended else None,
        "output": row.output,
        "seen": chapter.traces[-1],
    }


# -- reading


class Inherited(Lives):
    """A run whose history was made elsewhere."""

    async def live_on_from(self, told: dict[str, Any]) -> None:
        now = self.clock.now()
        await asyncio.sleep(max(1.0, *(outcome[8] - now for outcome in told["outcomes"]), told["begun_at"] - now))  # it is later now
        await self.begin(told["argument"])
        row = self.row
        row.begun_at = told["begun_at"]
        outcomes = [Outcome(*fields)._replace(run=self.run_id, claim=0) for fields in told["outcomes"]]
        row.outcomes = {outcome.key: outcome for outcome in outcomes}
        row.numbers = {outcome.seq for outcome in outcomes}
        attempts = [Attempt(*fields)._replace(run=self.run_id, claim=0) for fields in told["attempts"]]
        row.attempts = {(attempt.key, attempt.attempt): attempt for attempt in attempts}
        self.world.begin_with(told["argument"], row)
        seen = Trace(tuple(what) for what in told["seen"])
        self.world.chapters[-1].traces.append(seen)
        await self.go_on(self.store.commits + self.chance.randint(1, 6) if told["status"] is None else None, self.chance.random() < 0.5)
        self.leave()
        if told["status"] is not None:
            self._check_nothing_new(told)

    def _check_nothing_new(self, told: dict[str, Any]) -> None:
        if self.world.effects:
            raise Wrong(f"{self.world.effects[0].key} was run, and the run had ended elsewhere")
        if (self.row.status, self.row.output) != (told["status"], told["output"]):
            raise Wrong(f"the run is {self.row.status} with {self.row.output}, and was {told['status']} with {told['output']} elsewhere")


def replay(told: Iterable[dict[str, Any]]) -> tuple[Counter[str], list[str]]:
    """Go on with each of these histories; how many, and what was wrong."""
    counts: Counter[str] = Counter()
    failures = []
    universe = Universe()
    for each in told:
        program = generate(each["seed"])
        lives = Inherited(universe.loop, program, Case(each["seed"], again=0.3))
        try:
            universe.complete(lives.live_on_from(each))
            lives.check()
        except Wrong as wrong:
            failures.append(f"seed {each['seed']}, {each['status'] or 'crashed'} with {len(each['outcomes'])} outcomes: {wrong}")
            universe.close()
            universe = Universe()
        counts["whole" if each["status"] else "crashed"] += 1
    universe.close()
    return counts, failures


def digest(seeds: Iterable[int]) -> str:
    """Equal for equal histories and traces."""
    return sha256("\n".join(json.dumps(each) for each in transcripts(seeds)).encode()).hexdigest()


# -- all pairs


def _run(python: Path, hash_seed: str, *arguments: str) -> str:
    variables = os.environ | {"PYTHONHASHSEED": hash_seed}
    command = [str(python), "-W", "ignore", "-m", "tests.proof.versions", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} has failed:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def compare(seeds: int) -> int:
    """Every Python here with every other, and with itself under another hash seed."""
    began = time.monotonic()
    pythons = {each.minor: environment(each) for each in interpreters()}
    missing = [version for version in WISHED_FOR if version not in pythons]
    print(f"present: {', '.join(pythons) or 'none'}; missing: {', '.join(missing) or 'none'}")
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        files = {version: Path(directory) / f"{version}.jsonl" for version in pythons}
        list(pool.map(lambda item: _run(item[1], HASH_SEEDS[0], "--write", str(files[item[0]]), "--seeds", str(seeds)), pythons.items()))
        pairs = [(writer, reader, hash_seed) for reader in pythons for hash_seed in HASH_SEEDS[1:] for writer in pythons]
        answers = list(pool.map(lambda pair: json.loads(_run(pythons[pair[1]], pair[2], "--read", str(files[pair[0]]))), pairs))
    print(f"{'made by':10}{'gone on by':12}{'hash seed':>12}{'whole':>10}{'crashed':>10}{'wrong':>8}")
    for (writer, reader, hash_seed), (counts, wrong) in zip(pairs, answers, strict=True):
        print(f"{writer:10}{reader:12}{hash_seed:>12}{counts['whole']:>10,}{counts['crashed']:>10,}{len(wrong):>8,}")
        failures += [f"made by {writer}, gone on by {reader}: {each}" for each in wrong]
    print(f"{time.monotonic() - began:.1f} s")
    for failure in failures[:10]:
        print(failure)
    return 1 if failures or not pythons else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.proof.versions", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many programs")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--write", type=Path, default=None, help="only write histories to this file")
    parser.add_argument("--read", type=Path, default=None, help="only go on with the histories of this file")
    parser.add_argument("--digest", action="store_true", help="only print a digest of all histories")
    options = parser.parse_args()
    seeds = range(options.start, options.start + options.seeds)
    if options.write is not None:
        with options.write.open("w") as file:
            file.writelines(json.dumps(each) + "\n" for each in transcripts(seeds))
    elif options.read is not None:
        with options.read.open() as file:
            print(json.dumps(replay(json.loads(line) for line in file)))
    elif options.digest:
        print(platform.python_version(), digest(seeds))
    else:
        return compare(options.seeds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
