"""The results of a matrix as Markdown tables and as a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from bench.science import statistics
from bench.science.statistics import Mean
from bench.science.trainings import Result
from cloudseg.data.labels import CLASSES

Results = Mapping[str, Sequence[Result]]
"""Name of a run -> its results, one per seed."""


def markdown(results: Results, compare: Sequence[tuple[str, str]]) -> str:
    """Two tables: scores after each stage, and paired differences of the last stages."""
    lines = [
        "| run | stage | seeds | tuned Dice | over images | over seeds | untuned | "
        f"{' | '.join(CLASSES)} | images seen | minutes |",
        "|---" * (9 + len(CLASSES)) + "|",
    ]
    for name, each in results.items():
        stages = list(each[0].dice)
        for position, stage in enumerate(stages):
            mean, last = statistics.score(each, position), position == len(stages) - 1
            untuned = np.mean([result.untuned[stage] for result in each])
            classes = [f"{np.mean([result.per_class[stage][c] for result in each]):.3f}" for c in CLASSES]
            effort = (
                [f"{each[0].images_seen:,}", f"{np.mean([r.seconds for r in each]) / 60:.0f}"] if last else ["", ""]
            )
            cells = [name, stage, str(len(each)), *_mean(mean), f"{untuned:.4f}", *classes, *effort]
            lines.append(f"| {' | '.join(cells)} |")
    pairs = [(a, b) for a, b in compare if a in results and b in results and len(results[a]) == len(results[b])]
    if pairs:
        lines += ["", "| comparison | seeds | difference | over images | over seeds |", "|---|---|---|---|---|"]
        for first, second in pairs:
            mean = statistics.difference(results[first], results[second])
            lines.append(f"| {first} - {second} | {len(results[first])} | {' | '.join(_mean(mean, '+'))} |")
    return "\n".join(lines)


def draw(results: Results, path: Path) -> None:
    """Draw the tuned Dice after each stage, with its interval over images."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = [
        (f"{name}, {stage}", statistics.score(each, i))
        for name, each in results.items()
        for i, stage in enumerate(each[0].dice)
    ]
    figure, axes = plt.subplots(figsize=(7, 0.3 * len(rows) + 1), layout="constrained")
    for row, (_, mean) in enumerate(rows):
        axes.plot(mean.images, (row, row), color="tab:blue")
        axes.plot(mean.seeds, (row, row), color="tab:blue", linewidth=4, alpha=0.4)
        axes.plot(mean.value, row, "o", color="tab:blue")
    axes.set_yticks(range(len(rows)), [label for label, _ in rows])
    axes.invert_yaxis()
    axes.set_xlabel("tuned Dice; thin line: 95 % interval over images, thick line: range over seeds")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _mean(mean: Mean, sign: str = "") -> list[str]:
    return [
        f"{mean.value:{sign}.4f}",
        f"{mean.images[0]:{sign}.4f} to {mean.images[1]:{sign}.4f}",
        f"{mean.seeds[0]:{sign}.4f} to {mean.seeds[1]:{sign}.4f}",
    ]
