"""Training curves of a stage, and of all stages of a run."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, MaxNLocator

from cloudseg.core import atomic
from cloudseg.core.run import Run
from cloudseg.data.colours import COLOURS, hexadecimal
from cloudseg.data.labels import CLASSES


def draw(run: Run, stage: str) -> None:
    """Write curves.png of a stage and curves.png of the whole run."""
    histories = {name: pd.read_csv(run.history(name)) for name in run.settings.stages if run.history(name).exists()}
    save(figure({stage: histories[stage]}), run.stage(stage) / "curves.png")
    save(figure(histories), run.path / "curves.png")


def figure(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw loss, Dice and learning rate over the epochs of one or several stages, with lines between the stages."""
    table = pd.concat(histories, names=["stage"]).reset_index("stage")
    epochs = range(1, len(table) + 1)
    out = Figure(figsize=(9, 8))
    # A layout engine would draw the figure twice, while all ranks wait.
    out.subplots_adjust(left=0.12, right=0.82, bottom=0.07, top=0.95, hspace=0.08)
    loss, dice, rate = out.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1))
    loss.plot(epochs, table["loss"], color="black", label="training")
    loss.plot(epochs, table["val_loss"], color="black", linestyle="--", label="validation")
    loss.set(ylabel="loss", yscale="log")
    for axis_formatter in (loss.yaxis.set_major_formatter, loss.yaxis.set_minor_formatter):
        axis_formatter(LogFormatter(minor_thresholds=(2, 0.5)))
    for name in CLASSES:
        dice.plot(epochs, table[f"dice_{name.lower()}"], color=hexadecimal(COLOURS[name]), label=name)
    dice.plot(epochs, table["dice"], color="black", linewidth=2, label="mean")
    dice.plot(epochs, table["pooled_dice"], color="0.6", label="training,\nall pixels")
    dice.set(ylabel="validation Dice at 0.5", ylim=(0, 1))
    rate.plot(epochs, table["lr"], color="black", drawstyle="steps-mid")
    rate.set(ylabel="learning rate", yscale="log", xlabel="epoch")
    rate.xaxis.set_major_locator(MaxNLocator(integer=True))
    _borders((loss, dice, rate), histories)
    for axes in (loss, dice):
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    return out


def save(picture: Figure, path: Path) -> None:
    """Write a figure as PNG, atomically."""
    with io.BytesIO() as buffer:
        picture.savefig(buffer, format="png", dpi=120)
        atomic.write(path, buffer.getvalue())


def _borders(all_axes: tuple[Axes, ...], histories: Mapping[str, pd.DataFrame]) -> None:
    begin = 0
    for stage, history in histories.items():
        for axes in all_axes:
            axes.axvline(begin + 0.5, color="0.8", zorder=0)
        all_axes[0].annotate(stage, (begin + 0.6, 1.02), xycoords=("data", "axes fraction"))
        begin += len(history)
