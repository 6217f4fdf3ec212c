"""`python -m benchmarks`: measures, prints a table, writes JSON."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks.figures import FIGURES, Figure, close


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--repeat", type=int, default=5, help="windows of each figure; the median counts")
    parser.add_argument("--only", default="", help="figures whose name contains this")
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results.json")
    options = parser.parse_args()
    print(f"CPython {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}")
    print(f"median of {options.repeat} windows, and (least - most); no-op async steps whose results go through pydantic")
    try:
        rows = _all_measured(options.only.lower(), options.repeat)
    finally:
        close()
    options.json.write_text(json.dumps({"python": platform.python_version(), "cores": os.cpu_count(), "figures": rows}, indent=2) + "\n")
    return 0


def _all_measured(only: str, repeat: int) -> list[dict[str, Any]]:
    rows = []
    for where, figures in FIGURES.items():
        wanted = [figure for figure in figures if only in figure.name.lower()]
        if wanted:
            print(f"\n{where}:")
        for loop in _loops():
            for figure in wanted:
                if not (figure.once and loop != "asyncio"):
                    rows.append(_measured(figure, loop, repeat))
                    print(_line(rows[-1]), flush=True)
    return rows


def _loops() -> list[str]:
    try:
        import uvloop  # noqa: F401, PLC0415  # only whether it is there
    except ImportError:
        return ["asyncio"]
    return ["asyncio", "uvloop"]


def _measured(figure: Figure, loop: str, repeat: int) -> dict[str, Any]:
    ours, theirs = [], []
    for _ in range(1 if figure.once else repeat):  # side by side: the machine's mood is the same for both
        ours.append(_run(figure.measure, loop))
        if figure.plain is not None:
            theirs.append(_run(figure.plain, loop))
    row: dict[str, Any] = {
        "name": figure.name,
        "loop": loop,
        "unit": figure.unit,
        "median": statistics.median(ours),
        "least": min(ours),
        "most": max(ours),
    }
    if theirs:
        row["plain asyncio"] = statistics.median(theirs)
    if figure.target is not None:
        row["target"] = figure.target
        row["reached"] = row["median"] >= figure.target if figure.more_is_better else row["median"] <= figure.target
    return row


def _run(measure: Any, loop: str) -> float:
    factory = None
    if loop == "uvloop":
        import uvloop  # noqa: PLC0415  # where it is there

        factory = uvloop.new_event_loop
    gc.collect()  # what earlier figures have left is not this one's to carry
    gc.freeze()
    with asyncio.Runner(loop_factory=factory) as runner:
        result: float = runner.run(measure())
    return result


def _line(row: dict[str, Any]) -> str:
    digits = ",.2f" if row["median"] < 100 else ",.0f"
    text = (
        f"{row['name']:<33}{row['loop']:<9}{row['median']:>12{digits}} {row['unit']:<17}({row['least']:{digits}} - {row['most']:{digits}})"
    )
    if "plain asyncio" in row:
        text += f"  plain asyncio {row['plain asyncio']:{digits}}, ratio {row['median'] / row['plain asyncio']:.2f}"
    if "target" in row:
        text += f"  target {row['target']:{digits}}: {'reached' if row['reached'] else 'MISSED'}"
    return text


if __name__ == "__main__":
    sys.exit(main())
