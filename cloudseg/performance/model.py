"""Performance model of a training step on many GPUs, from the costs of layers and the bandwidth of links. Pure.

Compute time is FLOPs over the sustained FLOP/s of a GPU. A ring allreduce of S bytes over n ranks takes
2 (n-1)/n S/B + 2 (n-1) L with bandwidth B (bytes per second) and latency L (seconds) (Thakur et al. 2005, Patarasuk and
Yuan 2009); over several nodes it is one ring inside each node and one between nodes (hierarchical allreduce of Horovod
and NCCL). A message is sent when the gradients of its layers are computed and the message before is complete; the part
after the end of backpropagation is exposed communication. Input, host and stragglers are not modelled, so the predicted
throughput is an upper bound.
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
"""Sustained FLOP/s of a V100: 412 and 1,270 images/s of ResNet-50 v1.5, 24.6 GFLOPs per image forward and backward
(NVIDIA DeepLearningExamples, TensorFlow, DGX-1 of 16 GB, XLA). Its U-Net without BatchNorm has 16 and 54 TFLOP/s."""
PAYS = 1.5
"""Minimum speed-up of a stage for which doubling the number of GPUs is worthwhile."""


@dataclasses.dataclass(frozen=True)
class Link:
    """Bandwidth and latency of a link."""

    bytes_per_s: float
    latency_s: float


@dataclasses.dataclass(frozen=True)
class Machine:
    """GPUs, nodes and links."""

    flops: float
    """Sustained FLOP/s of one GPU."""
    per_node: int
    """GPUs per node."""
    inside: Link
    """Link between GPUs of a node."""
    between: Link
    """Link between nodes."""


@dataclasses.dataclass(frozen=True)
class Step:
    """Predicted durations of one training step."""

    ranks: int
    images: int
    """Images of all ranks per step."""
    compute_s: float
    communication_s: float
    """Seconds of all messages."""
    waiting_s: float
    """Exposed communication: seconds of messages after the end of backpropagation."""

    @property
    def images_per_s(self) -> float:
        """Throughput of all ranks."""
        return self.images / (self.compute_s + self.waiting_s)

    @property
    def efficiency(self) -> float:
        """Parallel efficiency: throughput relative to the same ranks without communication, 0 to 1."""
        return self.compute_s / (self.compute_s + self.waiting_s)


def ring(ranks: int, size: float, link: Link) -> float:
    """Seconds of a ring allreduce of `size` bytes."""
    return 2 * (ranks - 1) / ranks * size / link.bytes_per_s + 2 * (ranks - 1) * link.latency_s


def allreduce(ranks: int, size: float, machine: Machine) -> float:
    """Seconds of a hierarchical allreduce of `size` bytes, on the smallest number of nodes that hold the ranks."""
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
    """Predicted durations of a step with `batch` images per rank.

    Gradients are sent in messages of `bucket_bytes` (inf for one message), as float16 if `compressed`.
    """
    forward, backward = layer_cost.forward(layers) * batch, [flops * batch for flops in layer_cost.backward(layers)]
    sizes, total = layer_cost.message(layers, compressed), sum(backward)
    network_free = communication = 0.0
    for bucket in buckets.split(sizes, bucket_bytes):
        # Backpropagation computes the gradients of a layer after those of all later layers.
        ready = sum(backward[bucket.start :]) / machine.flops
        seconds = allreduce(ranks, sum(sizes[bucket]), machine) if ranks > 1 else 0.0
        network_free, communication = max(network_free, ready) + seconds, communication + seconds
    compute, backward_end = (forward + total) / machine.flops, total / machine.flops
    return Step(ranks, batch * ranks, compute, communication, max(0.0, network_free - backward_end))


def stage_seconds(one: Step, validating_s: float, epochs: int, training: int, validation: int) -> float:
    """Seconds of a stage from the start of its job.

    `training`, `validation`: numbers of images; an epoch has whole steps only. `validating_s`: seconds of a rank for
    one validation image.
    """
    steps = -(-training // one.images)
    images_per_rank = -(-validation // one.ranks)
    return estimate.START_S + epochs * (steps * (one.compute_s + one.waiting_s) + images_per_rank * validating_s)


def largest_worthwhile(seconds: Mapping[int, float]) -> int:
    """The number of GPUs from which the next larger number is less than PAYS times as fast; `seconds` by number."""
    numbers = sorted(seconds)
    for smaller, larger in itertools.pairwise(numbers):
        if seconds[smaller] < PAYS * seconds[larger]:
            return smaller
    return numbers[-1]
