"""Optimizers by name, from Keras, with what training needs of them: their state, loss scaling, averaged weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from cloudseg.core.recipes import Stage


def build(stage: Stage, variables: list[tf.Variable], mixed: bool) -> tf.keras.optimizers.Optimizer:
    """The optimizer of a stage with slots for `variables`. With `mixed` it scales the loss, so that small gradients
    do not vanish in float16, and leaves out steps whose gradients overflow."""
    more = {
        "global_clipnorm": stage.clip or None,
        "use_ema": stage.ema > 0,
        "ema_momentum": stage.ema,
        "jit_compile": False,  # not every layer of ours compiles
    }
    if stage.optimizer == "sgd":
        optimizer = tf.keras.optimizers.SGD(stage.lr, momentum=stage.momentum, **more)
    elif stage.optimizer == "adamw":
        optimizer = tf.keras.optimizers.AdamW(stage.lr, weight_decay=stage.weight_decay, **more)
    else:
        optimizer = tf.keras.optimizers.Adam(stage.lr, **more)
    if mixed:
        optimizer = tf.keras.mixed_precision.LossScaleOptimizer(optimizer)
    optimizer.build(variables)
    return optimizer


def state(optimizer: tf.keras.optimizers.Optimizer) -> list[tf.Variable]:
    """All variables that decide what the optimizer does next, the loss scale's included."""
    if scales(optimizer):
        scale = optimizer._loss_scale  # Keras gives its value only, not the variable
        return [*optimizer.variables, scale.current_loss_scale, scale.counter]
    return list(optimizer.variables)


def scaled(optimizer: tf.keras.optimizers.Optimizer, loss: tf.Tensor) -> tf.Tensor:
    """The loss whose gradients `apply` takes."""
    return optimizer.get_scaled_loss(loss) if scales(optimizer) else loss


def apply(
    optimizer: tf.keras.optimizers.Optimizer, gradients: list[tf.Tensor], variables: list[tf.Variable], rate: tf.Tensor
) -> None:
    """One step with gradients of a `scaled` loss, equal on all ranks.

    With a loss scale, what overflowed on any rank is infinite or no number in the mean, so all ranks leave the step out
    and halve their scale alike.
    """
    optimizer.learning_rate.assign(rate)
    if scales(optimizer):
        gradients = optimizer.get_unscaled_gradients(gradients)
    optimizer.apply_gradients(zip(gradients, variables, strict=True))


def overflowed_unscaled(optimizer: tf.keras.optimizers.Optimizer) -> bool:
    """Whether the last step was left out with the loss scale down to 1, where halving it ends."""
    # Keras counts the finite steps since the last that was not; `iterations` counts them all.
    return scales(optimizer) and float(optimizer.loss_scale) <= 1.0 and int(optimizer._loss_scale.counter) == 0


@contextlib.contextmanager
def averaged(optimizer: tf.keras.optimizers.Optimizer, variables: list[tf.Variable]) -> Iterator[None]:
    """Within, `variables` (those it was built for) hold their running averages, if the stage keeps them."""
    inner = optimizer.inner_optimizer if scales(optimizer) else optimizer
    if not inner.use_ema:
        yield
        return
    own = [variable.numpy() for variable in variables]
    for variable, average in zip(variables, inner._model_variables_moving_average, strict=True):
        variable.assign(average)
    try:
        yield
    finally:
        for variable, value in zip(variables, own, strict=True):
            variable.assign(value)


def scales(optimizer: tf.keras.optimizers.Optimizer) -> bool:
    """Whether it scales the loss."""
    return isinstance(optimizer, tf.keras.mixed_precision.LossScaleOptimizer)
