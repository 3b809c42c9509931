"""Keras optimizers by name, and what training needs of them: state, loss scaling, averaged weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from cloudseg.core.recipes import Stage
from cloudseg.training import averaging


def build(
    stage: Stage, variables: list[tf.Variable], mixed: bool, encoder: Sequence[tf.Variable] = ()
) -> tf.keras.optimizers.Optimizer:
    """Build the optimizer of a stage with slots for `variables`.

    Those of them that are in `encoder` learn at `stage.encoder_lr` times the learning rate. With `mixed` it scales the
    loss, so that small gradients do not underflow in float16, and skips steps whose gradients overflow.
    """
    options: dict[str, Any] = {
        "global_clipnorm": stage.clip or None,
        "use_ema": stage.ema > 0,
        "ema_momentum": stage.ema,
        "jit_compile": False,  # XLA does not compile every layer
    }
    kind = {"sgd": tf.keras.optimizers.SGD, "adamw": tf.keras.optimizers.AdamW, "adam": tf.keras.optimizers.Adam}[
        stage.optimizer
    ]
    if stage.optimizer == "sgd":
        options["momentum"] = stage.momentum
    if stage.optimizer == "adamw":
        options["weight_decay"] = stage.weight_decay
    if stage.encoder_lr == 1.0:
        optimizer = kind(stage.lr, **options)
    else:
        optimizer = type(kind.__name__, (_SlowEncoder, kind), {})(stage.lr, **options)
        optimizer.slow_down(encoder, stage.encoder_lr)
    if stage.decay_on == "kernels":
        optimizer.exclude_from_weight_decay([variable for variable in variables if not is_kernel(variable)])
    if mixed:
        optimizer = tf.keras.mixed_precision.LossScaleOptimizer(optimizer)
    optimizer.build(variables)
    return optimizer


class _SlowEncoder(tf.keras.optimizers.Optimizer):
    """Mixin for a Keras optimizer in which some variables learn at a share of the learning rate.

    Keras 2.15 reads `learning_rate` for each variable anew, in `update_step` and in `_apply_weight_decay`. All else,
    such as clipping by the norm of all gradients, is Keras's, and so are the variables of the state.
    """

    _slow: frozenset[Any] = frozenset()
    """Keras's keys of the variables that learn at `_share` of the learning rate."""
    _share = 1.0
    _updating_slow = False

    def slow_down(self, variables: Sequence[tf.Variable], share: float) -> None:
        """From the next step on, `variables` learn at `share` of the learning rate."""
        self._slow, self._share = frozenset(map(self._var_key, variables)), share

    @tf.keras.optimizers.Optimizer.learning_rate.getter  # keeps the setter
    def learning_rate(self) -> Any:
        """Keras's variable; while a slow variable is updated, its share of it."""
        rate = super().learning_rate
        return rate * self._share if self._updating_slow else rate

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        with self._rate_of(variable):
            super().update_step(gradient, variable)

    def _apply_weight_decay(self, variables: Sequence[tf.Variable]) -> None:
        for variable in variables:
            with self._rate_of(variable):
                super()._apply_weight_decay([variable])

    @contextlib.contextmanager
    def _rate_of(self, variable: tf.Variable) -> Iterator[None]:
        """Context in which `learning_rate` is that of `variable`."""
        self._updating_slow = self._var_key(variable) in self._slow
        try:
            yield
        finally:
            self._updating_slow = False


def is_kernel(variable: tf.Variable) -> bool:
    """Whether a variable is a kernel, not a bias or BatchNorm's scale or shift, which have one dimension."""
    return variable.shape.rank > 1


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
    with averaging.holding(variables, inner._model_variables_moving_average):
        yield


def scales(optimizer: tf.keras.optimizers.Optimizer) -> bool:
    """Whether the optimizer scales the loss."""
    return isinstance(optimizer, tf.keras.mixed_precision.LossScaleOptimizer)
