"""The text format of Prometheus, version 0.0.4. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Final

from stepwell.engine.counters import Histogram

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Exposition:
    """Figures, as they are told."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def gauge(self, name: str, said: str, samples: Iterable[tuple[Mapping[str, str], float]]) -> None:
        """What goes up and down, once for each set of labels."""
        self._begin(name, said, "gauge")
        self._lines += [f"{name}{_labels(labels)} {value!r}" for labels, value in samples]

    def counter(self, name: str, said: str, value: float) -> None:
        """What only grows."""
        self._begin(name, said, "counter")
        self._lines.append(f"{name} {value!r}")

    def histogram(self, name: str, said: str, histogram: Histogram) -> None:
        """How many values lay below which bound."""
        self._begin(name, said, "histogram")
        *below, count = accumulate(histogram.counts)
        self._lines += [f'{name}_bucket{{le="{float(bound)!r}"}} {number}' for bound, number in zip(histogram.bounds, below, strict=True)]
        self._lines += [f'{name}_bucket{{le="+Inf"}} {count}', f"{name}_sum {histogram.total!r}", f"{name}_count {count}"]

    def text(self) -> str:
        """All of them."""
        return "".join(f"{line}\n" for line in self._lines)

    def _begin(self, name: str, said: str, kind: str) -> None:
        self._lines += [f"# HELP {name} {_escaped(said)}", f"# TYPE {name} {kind}"]


def _labels(labels: Mapping[str, str]) -> str:
    pairs = ",".join(f'{name}="{_quoted(value)}"' for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', '\\"')
