"""`python -m benchmarks`: measures, prints a table, writes JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks.measures import FIGURES, Figure


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--repeat", type=int, default=5, help="windows of each figure; the median counts")
    parser.add_argument("--only", default="", help="figures whose name contains this")
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results.json")
    options = parser.parse_args()
    print(f"CPython {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}; a store that does nothing")
    print(f"median of {options.repeat} windows, and (least - most); no-op async steps whose results go through pydantic")
    rows = [
        row for loop in _loops() for figure in FIGURES if options.only in figure[0] for row in [_measured(figure, loop, options.repeat)]
    ]
    for row in rows:
        print(_line(row))
    options.json.write_text(json.dumps({"python": platform.python_version(), "cores": os.cpu_count(), "figures": rows}, indent=2) + "\n")
    return 0


def _loops() -> list[str]:
    try:
        import uvloop  # noqa: F401, PLC0415  # only whether it is there
    except ImportError:
        return ["asyncio"]
    return ["asyncio", "uvloop"]


def _measured(figure: Figure, loop: str, repeat: int) -> dict[str, Any]:
    name, unit, measure, plain, target, more = figure
    ours, theirs = [], []
    for _ in range(repeat):  # side by side: the machine's mood is the same for both
        ours.append(_run(measure, loop))
        if plain is not None:
            theirs.append(_run(plain, loop))
    row: dict[str, Any] = {
        "name": name,
        "loop": loop,
        "unit": unit,
        "median": statistics.median(ours),
        "least": min(ours),
        "most": max(ours),
    }
    if theirs:
        row["plain asyncio"] = statistics.median(theirs)
    if target is not None:
        row["target"] = target
        row["reached"] = row["median"] >= target if more else row["median"] <= target
    return row


def _run(measure: Any, loop: str) -> float:
    factory = None
    if loop == "uvloop":
        import uvloop  # noqa: PLC0415  # where it is there

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        result: float = runner.run(measure())
    return result


def _line(row: dict[str, Any]) -> str:
    digits = ",.2f" if row["median"] < 100 else ",.0f"
    text = (
        f"{row['name']:<30}{row['loop']:<9}{row['median']:>12{digits}} {row['unit']:<17}({row['least']:{digits}} - {row['most']:{digits}})"
    )
    if "plain asyncio" in row:
        text += f"  plain asyncio {row['plain asyncio']:{digits}}, ratio {row['median'] / row['plain asyncio']:.2f}"
    if "target" in row:
        text += f"  target {row['target']:{digits}}: {'reached' if row['reached'] else 'MISSED'}"
    return text


if __name__ == "__main__":
    sys.exit(main())
