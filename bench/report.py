"""Results of a benchmark, figures with their spread and ratios of pairs, as a table and as JSON. Pure."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any

Pair = tuple[float, float]
"""(ours, baseline), measured consecutively."""


@dataclasses.dataclass(frozen=True)
class Figure:
    """Median and range of a contender's measurements, and the peak memory of all its processes together."""

    median: float
    min: float
    max: float
    unit: str
    peak_mib: float | None = None


@dataclasses.dataclass(frozen=True)
class Ratio:
    """Median and range of ours / baseline, over `pairs` pairs."""

    median: float
    min: float
    max: float
    pairs: int


def figure(values: Sequence[float], unit: str, peak_mib: float | None = None) -> Figure:
    return Figure(*_spread(values), unit, None if peak_mib is None else round(peak_mib, 1))


def ratio(pairs: Sequence[Pair], times: float = 1.0) -> Ratio:
    """Ratio of ours / (baseline * times) over pairs."""
    return Ratio(*_spread([ours / (baseline * times) for ours, baseline in pairs]), len(pairs))


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    return statistics.median(values), min(values), max(values)


@dataclasses.dataclass
class Report:
    """Results of a benchmark; `notes` explain the numbers."""

    figures: dict[str, Figure] = dataclasses.field(default_factory=dict)
    ratios: dict[str, Ratio] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)

    def content(self, benchmark: str, machine: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
        """Content of the JSON file."""
        return {"benchmark": benchmark, "machine": machine, "settings": settings, **dataclasses.asdict(self)}

    def table(self) -> str:
        rows = [("", "median", "min..max", "unit", "peak MiB")]
        for name, f in self.figures.items():
            peak = "" if f.peak_mib is None else f"{f.peak_mib:.0f}"
            rows.append((name, number(f.median), f"{number(f.min)}..{number(f.max)}", f.unit, peak))
        if self.ratios:
            rows += [("",) * 5, ("ratio", "median", "min..max", "pairs", "")]
        for name, r in self.ratios.items():
            rows.append((name, number(r.median), f"{number(r.min)}..{number(r.max)}", str(r.pairs), ""))
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        lines = [
            f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]:<{widths[3]}}  "
            f"{row[4]:>{widths[4]}}".rstrip()
            for row in rows
        ]
        return "\n".join([*lines, *([""] if self.notes else []), *(f"- {note}" for note in self.notes)])


def number(value: float) -> str:
    """Format with three significant digits, or all digits before the decimal point."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
