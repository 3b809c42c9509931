"""Dropout whose choices are a function of numbers that are given, so that nothing of it has to be saved."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

# Layers that are made from now on draw from a generator of their own, whose state can be set; by Keras's default they
# draw from a counter deep inside the operation.
tf.keras.backend.experimental.enable_tf_random_generator()


def seed(model: tf.keras.Model, *numbers: int) -> None:
    """Let the next pass through `model` drop what these numbers decide, as seed, rank and step."""
    key = int(np.random.SeedSequence(numbers).generate_state(1, np.uint32)[0])
    for index, layer in enumerate(model.layers):
        generator = getattr(getattr(layer, "_random_generator", None), "_generator", None)
        if generator is not None:
            generator.state.assign([0, index, key])  # of Philox: a counter of two numbers, and the key
