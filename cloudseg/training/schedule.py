"""Learning rate as a pure function of the step."""

from __future__ import annotations

from cloudseg.training.stages import Stage


def learning_rate(stage: Stage, step: int, steps_per_epoch: int) -> float:
    """Learning rate of optimizer step `step` (0-based) of a stage of `stage.epochs * steps_per_epoch` steps.

    Linear warm-up over `warmup_steps`, constant until the end of epoch `hold`, then exponential decay that
    reaches `lr / decay` at the stage's last step.
    """
    if step < stage.warmup_steps:
        return stage.lr * (step + 1) / stage.warmup_steps
    held = stage.hold * steps_per_epoch
    last = stage.epochs * steps_per_epoch - 1
    if step < held or stage.decay == 1.0 or last <= held:
        return stage.lr
    return stage.lr * stage.decay ** -((step - held) / (last - held))
