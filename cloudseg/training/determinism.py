"""On CPUs the same sums in the same order, however busy the machine; GPUs lack deterministic kernels for some."""

from __future__ import annotations

import contextlib

import tensorflow as tf


def fix() -> None:
    """From now on, for all graphs of this process."""
    # Inside an operation.
    tf.config.experimental.enable_op_determinism()
    # And between operations: to save memory, graphs are rewritten so that where gradients meet, as at a skip
    # connection, each is added as soon as it is ready, and the last bit of the sum follows the clock.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def in_order() -> contextlib.AbstractContextManager[None]:
    """Within, on CPUs, graphs run operation by operation in one fixed order; `fix` comes first.

    By default an operation runs when a thread finds it ready, and a sum of three or more tensors, as of gradients that
    meet at a skip connection, begins with one that is needed nowhere else by then: its last bit follows the clock. Not
    for graphs with several collectives, which ranks may order differently and wait for each other for ever, nor with
    branches, as a loss scale has: they wait for the one thread there is, which waits for them.
    """
    if tf.config.list_physical_devices("GPU"):
        return contextlib.nullcontext()
    return tf.experimental.function_executor_type("SINGLE_THREADED_EXECUTOR")
