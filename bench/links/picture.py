"""Predicted and measured seconds of a step, a group of points a stage and number of nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure


@dataclass(frozen=True)
class Point:
    stage: str
    nodes: int
    gigabits: float
    """A second, of each link."""
    predicted: float
    """Seconds, as `took`."""
    took: float


def draw(points: Sequence[Point], title: str) -> Figure:
    """Seconds of a step over the number of nodes: a line as predicted and dots as measured for each link, a panel a
    stage."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    stages = list(dict.fromkeys(point.stage for point in points))
    for panel, stage in zip(figure.subplots(1, len(stages), squeeze=False)[0], stages, strict=True):
        for number, gigabits in enumerate(sorted({point.gigabits for point in points})):
            own = [point for point in points if (point.stage, point.gigabits) == (stage, gigabits)]
            nodes, colour = [point.nodes for point in own], f"C{number}"
            panel.plot(nodes, [point.predicted for point in own], color=colour, label=f"{gigabits:g} Gb/s, predicted")
            panel.plot(nodes, [point.took for point in own], "o", color=colour, label="measured")
        panel.set(xlabel="nodes", ylabel="seconds a step", yscale="log", title=stage, xticks=sorted({*nodes}))
        panel.grid(alpha=0.3, which="both")
        panel.legend()
    figure.suptitle(title)
    return figure
