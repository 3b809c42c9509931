"""Learning-rate schedules and early stopping, as pure functions: no state to save, the same on every rank."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cloudseg.core.recipes import Stage

ONE_CYCLE_UP = 0.3
"""Share of the steps of a one-cycle schedule in which the rate rises, as in fast.ai's version of Smith and Topin
2017."""
ONE_CYCLE_START = 25.0
"""Peak rate divided by the first rate of a one-cycle schedule, as there."""
MIN_IMPROVEMENT = 1e-4
"""Decrease of the validation loss that counts as an improvement, as in Keras's ReduceLROnPlateau."""


def learning_rate(stage: Stage, step: int, steps_per_epoch: int, ranks: int = 1, cuts: int = 0) -> float:
    """Learning rate of optimizer step `step`, from 0, of a stage of `stage.epochs * steps_per_epoch` steps.

    The schedules are: linear warm-up over `warmup_steps`, constant until the end of epoch `hold_epochs`, then an
    exponential or cosine decay to `lr / decay` at the stage's last step; one-cycle; or, for "plateau", `lr` times
    `factor` to the power `cuts`. With `scale_lr`, `lr` is multiplied by `ranks`.
    """
    peak = stage.lr * (ranks if stage.scale_lr else 1)
    last = stage.epochs * steps_per_epoch - 1
    if stage.schedule == "one-cycle":
        top = max(1, round(ONE_CYCLE_UP * last))
        if step <= top:
            return _cosine(peak / ONE_CYCLE_START, peak, step / top)
        return _cosine(peak, peak / stage.decay, (step - top) / max(1, last - top))
    if step < stage.warmup_steps:
        return peak * (step + 1) / stage.warmup_steps
    if stage.schedule == "plateau":
        return peak * stage.factor**cuts
    decay_start = max(stage.hold_epochs * steps_per_epoch, stage.warmup_steps)
    if step < decay_start or stage.decay == 1.0 or last <= decay_start:
        return peak
    part = (step - decay_start) / (last - decay_start)
    return _cosine(peak, peak / stage.decay, part) if stage.schedule == "cosine" else peak * stage.decay**-part


def cuts(stage: Stage, losses: Sequence[float]) -> int:
    """Number of times that a "plateau" schedule has lowered the rate after epochs with these validation losses."""
    best, waited, count = math.inf, 0, 0
    for loss in losses:
        if loss < best - MIN_IMPROVEMENT:
            best, waited = loss, 0
        else:
            waited += 1
        if waited >= stage.patience:
            waited, count = 0, count + 1
    return count if stage.schedule == "plateau" else 0


def stops_early(stage: Stage, dices: Sequence[float]) -> bool:
    """Whether early stopping ends a stage after epochs with these validation Dice scores."""
    if not stage.early_stop or not dices:
        return False
    return len(dices) - 1 - dices.index(max(dices)) >= stage.early_stop


def _cosine(begin: float, end: float, part: float) -> float:
    return end + (begin - end) * (1 + math.cos(math.pi * part)) / 2
