"""Print the kinds of operations that one step of the demo's network runs, as TensorFlow has rewritten them."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context

from cloudseg.core.recipes import Stage
from cloudseg.nets import losses, models
from cloudseg.training import optimizers
from cloudseg.training.comm import Solo
from cloudseg.training.step import Step

SIZE = (128, 192)


def main() -> None:
    comm = Solo()
    network = models.build("unet-resnet18", SIZE, pretrained=False)
    stage = Stage(1.0, 1, 1e-3)
    optimizer = optimizers.build(stage, network.model.trainable_variables, mixed=False)
    step = Step(network, optimizer, losses.bce_dice, comm)
    batch = tf.constant(np.zeros((4, *SIZE, 3), np.uint8)), tf.constant(np.zeros((4, *SIZE), np.uint8))
    context.context().enable_graph_collection()
    step(iter([batch]), 1e-3, 0, stop=False)
    graphs = context.context().export_run_metadata().function_graphs
    print(*sorted({node.op for each in graphs for node in each.post_optimization_graph.node}))


if __name__ == "__main__":
    main()
