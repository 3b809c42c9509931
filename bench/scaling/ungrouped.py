"""Baseline: cloudseg's step without message groups, to show the cost of groups with fixed content.

Every gradient is a message, and Horovod fuses the messages that are ready, as it does by default.
"""

from __future__ import annotations

import os

import tensorflow as tf

from bench.contender import Measure
from bench.scaling import ours
from bench.scaling.job import Job
from cloudseg.training.comm import Comm


class Ungrouped:
    """The communicator `ranks` with a `mean` that sends each tensor as a message of its own."""

    ordered = False

    def __init__(self, ranks: Comm) -> None:
        import horovod.tensorflow as hvd

        self._ranks, self._hvd = ranks, hvd

    def mean(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        return [self._hvd.allreduce(tensor, op=self._hvd.Average, name=f"mean.{i}") for i, tensor in enumerate(tensors)]

    def __getattr__(self, name: str) -> object:
        return getattr(self._ranks, name)


def contender(job: Job) -> Measure:
    os.environ |= {"HOROVOD_DISABLE_GROUP_FUSION": "0", "HOROVOD_FUSION_THRESHOLD": str(128 << 20)}
    return ours.measure_of(job, Ungrouped(ours.connect(job)))  # type: ignore[arg-type]
