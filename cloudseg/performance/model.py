"""What more GPUs bring: a model of a training step from what its layers cost and what the links give. Pure.

Compute is flops over what a GPU does in practice. An allreduce of S bytes over n ranks in a ring takes
2 (n-1)/n S/B + 2 (n-1) L on links of B bytes a second and L seconds (Thakur et al. 2005, Patarasuk and Yuan 2009); over
nodes it is one ring inside each node and one between them (Horovod's and NCCL's hierarchical way). Messages leave when
the gradients of their layers are there, one after the other, and what of them lasts longer than backpropagation is
waited for. Nothing else costs: no feed, no host, no stragglers, so it says what is possible at most.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

from cloudseg.monitor import estimate
from cloudseg.nets import layer_cost
from cloudseg.nets.layer_cost import Layer
from cloudseg.training import buckets

FLOPS = {"float32": 10.1e12, "mixed": 31.2e12}
"""A second, of a V100 in practice: 412 and 1,270 images/s of ResNet-50 v1.5, 24.6 Gflop an image forward and back
(NVIDIA DeepLearningExamples, TensorFlow, DGX-1 of 16 GB, XLA). Its U-Net without BatchNorm reaches 16 and 54 there."""
PAYS = 1.5
"""So much faster a stage must be for a doubling of its GPUs to pay."""


@dataclasses.dataclass(frozen=True)
class Link:
    bytes_per_s: float
    latency_s: float


@dataclasses.dataclass(frozen=True)
class Machine:
    flops: float
    """A second of one GPU, in practice."""
    per_node: int
    inside: Link
    """Between the GPUs of a node."""
    between: Link
    """A node's, to others."""


@dataclasses.dataclass(frozen=True)
class Step:
    ranks: int
    images: int
    compute_s: float
    communication_s: float
    """Of all messages."""
    waiting_s: float
    """Of these, what is left when backpropagation is over."""

    @property
    def images_per_s(self) -> float:
        return self.images / (self.compute_s + self.waiting_s)

    @property
    def efficiency(self) -> float:
        """Over as many ranks that do not talk."""
        return self.compute_s / (self.compute_s + self.waiting_s)


def ring(ranks: int, size: float, link: Link) -> float:
    """Seconds of an allreduce of `size` bytes."""
    return 2 * (ranks - 1) / ranks * size / link.bytes_per_s + 2 * (ranks - 1) * link.latency_s


def allreduce(ranks: int, size: float, machine: Machine) -> float:
    """Seconds, over as few nodes as hold the ranks."""
    nodes = -(-ranks // machine.per_node)
    return ring(min(ranks, machine.per_node), size, machine.inside) + ring(nodes, size, machine.between)


def step(
    layers: Sequence[Layer],
    batch: int,
    ranks: int,
    machine: Machine,
    bucket_bytes: float = buckets.LIMIT,
    compressed: bool = False,
) -> Step:
    """One of `batch` images a rank, whose gradients travel in messages of `bucket_bytes`, inf for all in one."""
    forward, backward = layer_cost.forward(layers) * batch, [flops * batch for flops in layer_cost.backward(layers)]
    sizes, total = layer_cost.message(layers, compressed), sum(backward)
    free = talking = 0.0
    for bucket in buckets.split(sizes, bucket_bytes):
        # The gradients of a layer are there when those of all layers after it are.
        ready = sum(backward[bucket.start :]) / machine.flops
        seconds = allreduce(ranks, sum(sizes[bucket]), machine) if ranks > 1 else 0.0
        free, talking = max(free, ready) + seconds, talking + seconds
    compute, done = (forward + total) / machine.flops, total / machine.flops
    return Step(ranks, batch * ranks, compute, talking, max(0.0, free - done))


def stage_seconds(one: Step, validating_s: float, epochs: int, training: int, validation: int) -> float:
    """Of a stage, from the start of its job: of each epoch whole steps of `training` images, and `validation` images,
    for each of which a rank takes `validating_s`."""
    steps = -(-training // one.images)
    share = -(-validation // one.ranks)
    return estimate.START_S + epochs * (steps * (one.compute_s + one.waiting_s) + share * validating_s)


def largest_worthwhile(seconds: Mapping[int, float]) -> int:
    """The number of GPUs beyond which doubling does not pay; `seconds` by number, each twice the one before."""
    numbers = sorted(seconds)
    for few, many in itertools.pairwise(numbers):
        if seconds[few] < PAYS * seconds[many]:
            return few
    return numbers[-1]
