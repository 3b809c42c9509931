"""Predicted durations of the stages of a run, from `cloudseg.performance.model`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from cloudseg.core import run
from cloudseg.core.config import Settings
from cloudseg.core.recipes import Stage
from cloudseg.data import image_size
from cloudseg.data.shards import MANIFEST, Manifest
from cloudseg.nets import cost_table, layer_cost
from cloudseg.nets.layer_cost import Layer
from cloudseg.performance import model
from cloudseg.performance.model import Machine, Step
from cloudseg.slurm.script import Job

IMAGES = 5546
"""Number of images of the competition; one of five folds is the validation fold."""


@dataclasses.dataclass(frozen=True)
class Data:
    """Size and number of images."""

    size: tuple[int, int]
    """Height and width in pixels."""
    training: int
    validation: int

    @classmethod
    def of(cls, settings: Settings, size: tuple[int, int], images: int) -> Data:
        """The data set of `settings` if it exists, else `images` images of `size`."""
        if not (Path(settings.data) / MANIFEST).exists():
            return cls.split(size, images)
        manifest = Manifest.load(settings.data)
        return cls(manifest.size, *(len(manifest.indices(settings.fold, training)) for training in (True, False)))

    @classmethod
    def split(cls, size: tuple[int, int], images: int) -> Data:
        """`images` images of `size`, of which a fifth are validation images."""
        return cls(size, images - images // 5, images // 5)


@dataclasses.dataclass(frozen=True)
class StageModel:
    """A stage on a machine."""

    layers: Sequence[Layer]
    """Layers with their costs for a training sample."""
    whole: Sequence[Layer]
    """The same layers with their costs for a whole image, as validation needs it."""
    batch: int
    """Images per rank and step."""
    epochs: int
    compressed: bool
    data: Data
    machine: Machine

    @cached_property
    def bytes_per_step(self) -> int:
        """Bytes of gradients per step."""
        return sum(layer_cost.message(self.layers, self.compressed))

    def step(self, ranks: int) -> Step:
        """Predicted durations of a step on `ranks` GPUs."""
        return model.step(self.layers, self.batch, ranks, self.machine, compressed=self.compressed)

    def seconds(self, ranks: int) -> float:
        """Predicted seconds of the stage on `ranks` GPUs."""
        validating = layer_cost.forward(self.whole) / self.machine.flops
        return model.stage_seconds(self.step(ranks), validating, self.epochs, self.data.training, self.data.validation)


def stages(settings: Settings, data: Data, machine: Machine) -> dict[str, StageModel]:
    """Stage -> model, in the order of the stages.

    Raises UsageError for a network without layer costs, or for crops that are larger than the images of `data`.
    """
    if settings.train_images:
        data = dataclasses.replace(data, training=min(settings.train_images, data.training))
    training_size = image_size.training_size(data.size, settings.crop)

    def layers(size: tuple[int, int], stage: Stage) -> list[Layer]:
        return cost_table.layers(settings.network, size, settings.batchnorm, stage.encoder, stage.train_bn)

    return {
        name: StageModel(
            layers(training_size, stage),
            layers(data.size, stage),
            settings.batch * stage.accumulate,
            stage.epochs,
            settings.compression == "fp16",
            data,
            machine,
        )
        for name, stage in ((name, settings.stage[name]) for name in settings.stages)
    }


def seconds(
    settings: Settings, jobs: Mapping[str, Job], machine: Machine, size: tuple[int, int], images: int
) -> dict[str, float]:
    """Stage -> predicted seconds, for the `jobs` (stage -> job) that train.

    {} if a job has no GPUs, which the model requires, or for a network without layer costs. `size` and `images`: size
    and number of images if the data set does not exist yet.
    """
    training = {name: job for name, job in jobs.items() if name != run.EVALUATE}
    if not training or not all(job.resources.gpus_per_node for job in training.values()):
        return {}
    if settings.network not in cost_table.known():
        name = settings.network
        print(
            f"note: no prediction for {name}: its layer costs are not known; to count them: make costs NETWORKS={name}",
            file=sys.stderr,
        )
        return {}
    modelled = stages(settings, Data.of(settings, size, images), machine)
    return {
        name: dataclasses.replace(
            modelled[name], machine=dataclasses.replace(machine, per_node=job.resources.tasks_per_node)
        ).seconds(job.ranks)
        for name, job in training.items()
    }
