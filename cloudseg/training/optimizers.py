"""Keras optimizers by name, and what training needs of them: state, loss scaling, averaged weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from cloudseg.core.recipes import Stage


def build(stage: Stage, variables: list[tf.Variable], mixed: bool) -> tf.keras.optimizers.Optimizer:
    """Build the optimizer of a stage with slots for `variables`.

    With `mixed` it scales the loss, so that small gradients do not underflow in float16, and skips steps whose
    gradients overflow.
    """
    options = {
        "global_clipnorm": stage.clip or None,
        "use_ema": stage.ema > 0,
        "ema_momentum": stage.ema,
        "jit_compile": False,  # XLA does not compile every layer
    }
    if stage.optimizer == "sgd":
        optimizer = tf.keras.optimizers.SGD(stage.lr, momentum=stage.momentum, **options)
    elif stage.optimizer == "adamw":
        optimizer = tf.keras.optimizers.AdamW(stage.lr, weight_decay=stage.weight_decay, **options)
    else:
        optimizer = tf.keras.optimizers.Adam(stage.lr, **options)
    if mixed:
        optimizer = tf.keras.mixed_precision.LossScaleOptimizer(optimizer)
    optimizer.build(variables)
    return optimizer


def state(optimizer: tf.keras.optimizers.Optimizer) -> list[tf.Variable]:
    """All variables of the optimizer's state, including the loss scale."""
    if scales(optimizer):
        scale = optimizer._loss_scale  # Keras's public property is the value, not the variable
        return [*optimizer.variables, scale.current_loss_scale, scale.counter]
    return list(optimizer.variables)


def scaled(optimizer: tf.keras.optimizers.Optimizer, loss: tf.Tensor) -> tf.Tensor:
    """Return the loss times the loss scale, if there is one. `apply` takes the gradients of this loss."""
    return optimizer.get_scaled_loss(loss) if scales(optimizer) else loss


def apply(
    optimizer: tf.keras.optimizers.Optimizer, gradients: list[tf.Tensor], variables: list[tf.Variable], rate: tf.Tensor
) -> None:
    """Do one step with gradients of a `scaled` loss, equal on all ranks, at learning rate `rate`.

    With a loss scale, a gradient that overflowed on any rank is infinite or NaN in the mean, so all ranks skip the step
    and halve their scale.
    """
    optimizer.learning_rate.assign(rate)
    if scales(optimizer):
        gradients = optimizer.get_unscaled_gradients(gradients)
    optimizer.apply_gradients(zip(gradients, variables, strict=True))


def overflowed_unscaled(optimizer: tf.keras.optimizers.Optimizer) -> bool:
    """Whether the last step was skipped with the loss scale at its minimum, 1."""
    # `counter` is Keras's number of finite steps since the last skipped one.
    return scales(optimizer) and float(optimizer.loss_scale) <= 1.0 and int(optimizer._loss_scale.counter) == 0


@contextlib.contextmanager
def averaged(optimizer: tf.keras.optimizers.Optimizer, variables: list[tf.Variable]) -> Iterator[None]:
    """Context in which `variables`, those of `build`, hold their moving averages, if the stage keeps averages."""
    inner = optimizer.inner_optimizer if scales(optimizer) else optimizer
    if not inner.use_ema:
        yield
        return
    trained = [variable.numpy() for variable in variables]
    for variable, average in zip(variables, inner._model_variables_moving_average, strict=True):
        variable.assign(average)
    try:
        yield
    finally:
        for variable, value in zip(variables, trained, strict=True):
            variable.assign(value)


def scales(optimizer: tf.keras.optimizers.Optimizer) -> bool:
    """Whether the optimizer scales the loss."""
    return isinstance(optimizer, tf.keras.mixed_precision.LossScaleOptimizer)
