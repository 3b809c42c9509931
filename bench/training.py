"""Training in a benchmark, with cloudseg's network, optimizer, step and order of samples."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from cloudseg.core.recipes import Stage
from cloudseg.data.sample_order import epoch_order, rank_share
from cloudseg.nets import freeze, losses, models
from cloudseg.training import optimizers
from cloudseg.training.comm import Comm
from cloudseg.training.step import Step

RATE = 1e-4


class Training:
    """A network with random weights for images of `size` (height, width), and Adam. `encoder` is the share of the
    encoder that trains."""

    def __init__(self, name: str, size: tuple[int, int], comm: Comm, encoder: float = 1.0) -> None:
        tf.keras.utils.set_random_seed(0)
        network = models.build(name, size, pretrained=False)
        freeze.freeze(network, encoder)
        self.model = network.model
        self.optimizer = optimizers.build(Stage(encoder, 1, RATE), self.model.trainable_variables, mixed=False)
        comm.broadcast([*self.model.variables, *optimizers.state(self.optimizer)])
        self._step = Step(network, self.optimizer, losses.bce_dice, comm)

    def step(self, images: tf.Tensor, masks: tf.Tensor) -> float:
        """Do one step; returns the loss, for which it waits, as training does."""
        return self._step(iter([(images, masks)]), RATE, number=0, stop=False).loss


def order(samples: int, steps: int, batch: int, comm: Comm) -> np.ndarray:
    """This rank's sample numbers for `steps` steps, over as many epochs as needed: int (steps, batch)."""
    rows = [epoch_order(np.arange(samples), 0, 0, batch * comm.size)]
    while sum(map(len, rows)) < steps:
        rows.append(epoch_order(np.arange(samples), 0, len(rows), batch * comm.size))
    return rank_share(np.concatenate(rows)[:steps], comm.rank, comm.size)
