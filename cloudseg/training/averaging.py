"""Averages of weights: the mean of the last epochs of a stage, and the context in which variables hold an average."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import tensorflow as tf

from cloudseg.core.recipes import Stage


@contextlib.contextmanager
def holding(variables: Sequence[tf.Variable], values: Sequence[tf.Variable]) -> Iterator[None]:
    """Context in which `variables` hold `values`; afterwards they hold what they held before."""
    before = [variable.numpy() for variable in variables]
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    try:
        yield
    finally:
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)


class EpochMean:
    """Mean of all variables of `model` over the ends of the last `stage.swa` epochs: stochastic weight averaging,
    Izmailov et al. 2018 (UAI), algorithm 1.

    BatchNorm's moving statistics are averaged too. The paper recomputes them in another pass over the training images.
    The average needs no pass and no further state, and is near to them if the last epochs have a low learning rate.
    """

    def __init__(self, stage: Stage, model: tf.keras.Model) -> None:
        self._first = stage.epochs - stage.swa + 1
        self._model = model
        self.variables = [
            tf.Variable(tf.zeros(variable.shape, variable.dtype), trainable=False, name=variable.name.split(":")[0])
            for variable in model.variables
            if stage.swa
        ]
        """The mean so far, in the order of the model's variables, for checkpoints; empty without averaging."""

    def add(self, epoch: int) -> None:
        """Count the present variables of the model as those of the end of `epoch`, from 1.

        Epochs are to be added in order. Those before the last `stage.swa` do not count.
        """
        count = epoch - self._first + 1
        if count < 1:
            return
        for mean, variable in zip(self.variables, self._model.variables, strict=True):
            mean.assign_add((variable - mean) / float(count))

    def held(self) -> contextlib.AbstractContextManager[None]:
        """Context in which the model's variables hold the mean."""
        return holding(self._model.variables, self.variables)
