"""Figure of throughput and efficiency over the number of GPUs, with one line per stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

Curve = Sequence[tuple[int, float, float]]
"""Points (GPUs, images per second, efficiency)."""


def draw(curves: Mapping[str, Curve], title: str) -> Figure:
    """The figure; `curves`: stage -> points, sorted by number of GPUs."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    speed, efficiency = figure.subplots(1, 2)
    for stage, curve in curves.items():
        gpus, rates, shares = zip(*curve, strict=True)
        speed.loglog(gpus, rates, marker="o", label=stage)
        efficiency.semilogx(gpus, [100 * share for share in shares], marker="o", label=stage)
    ideal = max(curve[0][1] / curve[0][0] for curve in curves.values())
    ends = [min(curve[0][0] for curve in curves.values()), max(curve[-1][0] for curve in curves.values())]
    speed.loglog(ends, [ideal * number for number in ends], color="0.7", linestyle="--", label="no communication")
    speed.set(xlabel="GPUs", ylabel="images/s")
    efficiency.set(xlabel="GPUs", ylabel="parallel efficiency (%)", ylim=(0, 105))
    for axes in (speed, efficiency):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(title)
    return figure
