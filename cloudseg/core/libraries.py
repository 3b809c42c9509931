"""Environment variables of TensorFlow and segmentation_models, to be set before their first import."""

from __future__ import annotations

import os

VARIABLES = {
    "TF_CPP_MIN_LOG_LEVEL": "2",  # warnings and errors of the program, without notes on the machine
    "SM_FRAMEWORK": "tf.keras",
    # TensorFlow's own choice depends on the CPU. Without oneDNN, the sums of a convolution depend on the number of
    # threads, so that one rank and two would predict differently, and a training step takes 1.3 to 1.4 times as long.
    "TF_ENABLE_ONEDNN_OPTS": "1",
}


def set_variables() -> None:
    """Set the variables that the environment does not set."""
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)
