"""Pictures of a run."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from cloudseg import atomic
from cloudseg.data.colours import COLOURS, hexadecimal
from cloudseg.data.labels import CLASSES
from cloudseg.run import Run
from cloudseg.training.stages import STAGES


def curves(run: Run) -> Path:
    """Loss and Dice over all epochs of the chain, with the borders of its stages, as evaluate/curves.png."""
    histories = {stage: pd.read_csv(run.history(stage)) for stage in STAGES if run.history(stage).exists()}
    table = pd.concat(histories, names=["stage"]).reset_index("stage")
    epochs = range(1, len(table) + 1)

    figure = Figure(figsize=(9, 6), layout="constrained")
    loss, dice = figure.subplots(2, 1, sharex=True)
    loss.plot(epochs, table["loss"], color="black", label="training")
    loss.plot(epochs, table["val_loss"], color="black", linestyle="--", label="validation")
    loss.set(ylabel="loss", yscale="log")
    for name in CLASSES:
        dice.plot(epochs, table[f"dice_{name.lower()}"], color=hexadecimal(COLOURS[name]), label=name)
    dice.plot(epochs, table["dice"], color="black", linewidth=2, label="mean")
    dice.set(ylabel="validation Dice at 0.5", xlabel="epoch", ylim=(0, 1))
    begin = 0
    for stage, history in histories.items():
        for axes in (loss, dice):
            axes.axvline(begin + 0.5, color="0.8", zorder=0)
        loss.annotate(stage, (begin + 0.6, 1.02), xycoords=("data", "axes fraction"))
        begin += len(history)
    for axes in (loss, dice):
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)

    path = run.evaluation / "curves.png"
    with io.BytesIO() as buffer:
        figure.savefig(buffer, format="png", dpi=120)
        atomic.write(path, buffer.getvalue())
    return path
