"""Table and figure of a learning-rate study."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cloudseg.training import curves


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Result of one learning rate."""

    lr: float
    history: Sequence[Mapping[str, str]]
    """One row per epoch, see `history.COLUMNS`."""
    note: str = ""
    """Why the stage is not finished; empty if it is."""

    def column(self, name: str) -> list[float]:
        return [float(row[name]) for row in self.history]


def table(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield the lines of a table: for each rate the best Dice, its epoch, and the validation loss of the last epoch."""
    yield f"{'learning rate':>13}  {'best dice':>9}  {'epoch':>5}  {'final val. loss':>15}"
    for outcome in _by_rate(outcomes):
        cells = ("-", "-", "-")
        if outcome.history:
            dice = outcome.column("dice")
            cells = (f"{max(dice):.4f}", f"{dice.index(max(dice)) + 1}", f"{outcome.column('val_loss')[-1]:.4f}")
        yield f"{outcome.lr:>13g}  {cells[0]:>9}  {cells[1]:>5}  {cells[2]:>15}  {outcome.note}".rstrip()


def draw(outcomes: Sequence[Outcome], stage: str, path: Path) -> None:
    curves.save(figure(outcomes, stage), path)


def figure(outcomes: Sequence[Outcome], stage: str) -> Figure:
    """Draw validation Dice (top) and loss (bottom) over the learning rate (left) and over the epoch (right).

    A rate whose stage is not finished has a hollow point. A rate without a finished epoch has a cross at the bottom.
    At least one rate must have a finished epoch.
    """
    out = Figure(figsize=(9, 6), layout="constrained")
    grid = out.subplots(2, 2, sharex="col", sharey="row")
    (dice_at_rate, dice), (loss_at_rate, loss) = grid
    shown = [outcome for outcome in _by_rate(outcomes) if outcome.history]
    for outcome, colour in zip(shown, _colours(len(shown)), strict=True):
        dices, losses = outcome.column("dice"), outcome.column("val_loss")
        epochs = range(1, len(dices) + 1)
        point = {"marker": "o", "color": colour, "fillstyle": "none" if outcome.note else "full"}
        dice_at_rate.plot(outcome.lr, max(dices), **point)
        loss_at_rate.plot(outcome.lr, losses[-1], **point)
        dice.plot(epochs, dices, color=colour, marker=".", label=f"{outcome.lr:g}{' *' if outcome.note else ''}")
        loss.plot(epochs, losses, color=colour, marker=".")
    rates = [outcome.lr for outcome in shown]
    dice_at_rate.plot(rates, [max(outcome.column("dice")) for outcome in shown], color="0.7", zorder=0)
    loss_at_rate.plot(rates, [outcome.column("val_loss")[-1] for outcome in shown], color="0.7", zorder=0)
    for axes in (dice_at_rate, loss_at_rate):
        _crosses(axes, [outcome.lr for outcome in outcomes if not outcome.history])
    dice_at_rate.set(ylabel="validation Dice at 0.5", title="best Dice, final loss")
    loss_at_rate.set(ylabel="validation loss", xlabel=f"learning rate of stage {stage}", xscale="log")
    if any(np.isfinite(outcome.column("val_loss")).any() for outcome in shown):
        loss.set(yscale="log")
    dice.set(title="every epoch")
    loss.set(xlabel="epoch")
    loss.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in grid.flat:
        axes.grid(color="0.9")
        axes.set_axisbelow(True)
    title = "learning rate" + ("\n(* not done)" if any(outcome.note for outcome in shown) else "")
    dice.legend(title=title, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    return out


def _by_rate(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return sorted(outcomes, key=lambda outcome: outcome.lr)


def _colours(count: int) -> np.ndarray:
    """Colours from dark to light, float (count, 4). The lightest ones are left out: they are invisible on white."""
    return matplotlib.colormaps["viridis"](np.linspace(0, 0.8, count))


def _crosses(axes: Axes, rates: Sequence[float]) -> None:
    axes.plot(rates, [0.03] * len(rates), "x", color="0.3", transform=axes.get_xaxis_transform())
