"""Learning rates, and when to lower them or to stop, as pure functions: nothing to save, the same on every rank."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cloudseg.core.recipes import Stage

ONE_CYCLE_UP = 0.3
ONE_CYCLE_START = 25.0
"""Of one-cycle: the part of the steps that goes up, and the peak over the first rate, as in fast.ai's version of Smith
and Topin 2017."""
LEAST_IMPROVEMENT = 1e-4
"""Of the validation loss, as in Keras's ReduceLROnPlateau."""


def learning_rate(stage: Stage, step: int, steps_per_epoch: int, ranks: int = 1, cuts: int = 0) -> float:
    """Learning rate of optimizer step `step` (0-based) of a stage of `stage.epochs * steps_per_epoch` steps.

    Linear warm-up over `warmup_steps`, constant until the end of epoch `hold_epochs`, then down to `lr / decay` at the
    stage's last step, exponentially or along a cosine; or one-cycle; or `lr` times `factor` for each of `cuts`.
    `ranks` multiplies `lr` if the stage says so.
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
    held = max(stage.hold_epochs * steps_per_epoch, stage.warmup_steps)
    if step < held or stage.decay == 1.0 or last <= held:
        return peak
    part = (step - held) / (last - held)
    return _cosine(peak, peak / stage.decay, part) if stage.schedule == "cosine" else peak * stage.decay**-part


def cuts(stage: Stage, losses: Sequence[float]) -> int:
    """How often a "plateau" schedule has lowered the rate after epochs with these validation losses."""
    best, waited, count = math.inf, 0, 0
    for loss in losses:
        if loss < best - LEAST_IMPROVEMENT:
            best, waited = loss, 0
        else:
            waited += 1
        if waited >= stage.patience:
            waited, count = 0, count + 1
    return count if stage.schedule == "plateau" else 0


def stops_early(stage: Stage, dices: Sequence[float]) -> bool:
    """Whether a stage ends after epochs with these validation Dices, before all its epochs are done."""
    if not stage.early_stop or not dices:
        return False
    return len(dices) - 1 - dices.index(max(dices)) >= stage.early_stop


def _cosine(begin: float, end: float, part: float) -> float:
    return end + (begin - end) * (1 + math.cos(math.pi * part)) / 2
