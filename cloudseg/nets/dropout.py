"""Dropout that is a pure function of given numbers, so that checkpoints need no random state."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

# Layers created from now on have a random generator whose state can be set. By default, Keras's dropout uses a counter
# inside the operation, which cannot be set.
tf.keras.backend.experimental.enable_tf_random_generator()


def seed(model: tf.keras.Model, *numbers: int) -> None:
    """Seed the dropout layers of `model` for the next forward pass with `numbers`, as seed, rank and step."""
    key = int(np.random.SeedSequence(numbers).generate_state(1, np.uint32)[0])
    for index, layer in enumerate(model.layers):
        generator = getattr(getattr(layer, "_random_generator", None), "_generator", None)
        if generator is not None:
            generator.state.assign([0, index, key])  # Philox: a counter of two numbers, and a key
