"""Makes sums on CPUs independent of timing. On GPUs, TensorFlow lacks deterministic kernels for some operations."""

from __future__ import annotations

import contextlib

import tensorflow as tf


def fix() -> None:
    """Make operations deterministic in all graphs that this process builds from now on."""
    # Within an operation.
    tf.config.experimental.enable_op_determinism()
    # Between operations: to save memory, TensorFlow rewrites graphs so that the gradients that meet at a skip
    # connection are added as soon as each is ready. The last bit of the sum then depends on timing.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def in_order() -> contextlib.AbstractContextManager[None]:
    """Context in which graphs on CPUs run operation by operation in a fixed order. Call `fix` first.

    By default an operation runs as soon as a thread finds it ready. A sum of three or more tensors, as of the gradients
    at a skip connection, starts with the one that is free first, so its last bit depends on timing.

    Not usable for graphs with several collectives, which ranks may order differently, nor with branches (a loss scale
    has one), which need a second thread: both deadlock.
    """
    if tf.config.list_physical_devices("GPU"):
        return contextlib.nullcontext()
    return tf.experimental.function_executor_type("SINGLE_THREADED_EXECUTOR")
