"""Figure of predicted and measured seconds per step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure


@dataclass(frozen=True)
class Point:
    stage: str
    nodes: int
    gigabits: float
    """Gigabits per second of each link."""
    predicted: float
    """Predicted seconds per step."""
    took: float
    """Measured seconds per step."""


def draw(points: Sequence[Point], title: str) -> Figure:
    """Draw seconds per step over the number of nodes, one panel per stage: for each link, a line for predicted and dots
    for measured values."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    stages = list(dict.fromkeys(point.stage for point in points))
    for panel, stage in zip(figure.subplots(1, len(stages), squeeze=False)[0], stages, strict=True):
        for number, gigabits in enumerate(sorted({point.gigabits for point in points})):
            selected = [point for point in points if (point.stage, point.gigabits) == (stage, gigabits)]
            nodes, colour = [point.nodes for point in selected], f"C{number}"
            panel.plot(
                nodes, [point.predicted for point in selected], color=colour, label=f"{gigabits:g} Gb/s, predicted"
            )
            panel.plot(nodes, [point.took for point in selected], "o", color=colour, label="measured")
        panel.set(xlabel="nodes", ylabel="seconds per step", yscale="log", title=stage, xticks=sorted({*nodes}))
        panel.grid(alpha=0.3, which="both")
        panel.legend()
    figure.suptitle(title)
    return figure
