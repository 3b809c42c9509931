"""What the model of many GPUs (`cloudseg.performance.model`) says of the stages of a run."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from cloudseg.core import run
from cloudseg.core.config import Settings
from cloudseg.data.shards import MANIFEST, Manifest
from cloudseg.nets import cost_table, layer_cost
from cloudseg.nets.layer_cost import Layer
from cloudseg.performance import model
from cloudseg.performance.model import Machine, Step
from cloudseg.slurm.script import Job

IMAGES = 5546
"""Of the competition, of which a fold of five validates."""


@dataclasses.dataclass(frozen=True)
class Data:
    size: tuple[int, int]
    """Height and width."""
    training: int
    validation: int

    @classmethod
    def of(cls, settings: Settings, size: tuple[int, int], images: int) -> Data:
        """The run's, if they are there; else so many at `size`."""
        if not (Path(settings.data) / MANIFEST).exists():
            return cls.split(size, images)
        manifest = Manifest.load(settings.data)
        return cls(manifest.size, *(len(manifest.indices(settings.fold, training)) for training in (True, False)))

    @classmethod
    def split(cls, size: tuple[int, int], images: int) -> Data:
        """So many images, of which a fifth validates."""
        return cls(size, images - images // 5, images // 5)


@dataclasses.dataclass(frozen=True)
class StageModel:
    """A stage on GPUs of one kind."""

    layers: Sequence[Layer]
    batch: int
    """Images a rank and step."""
    epochs: int
    compressed: bool
    data: Data
    machine: Machine

    @cached_property
    def bytes_a_step(self) -> int:
        return sum(layer_cost.message(self.layers, self.compressed))

    def step(self, ranks: int) -> Step:
        return model.step(self.layers, self.batch, ranks, self.machine, compressed=self.compressed)

    def seconds(self, ranks: int) -> float:
        """Of the whole stage."""
        validating = layer_cost.forward(self.layers) / self.machine.flops
        return model.stage_seconds(self.step(ranks), validating, self.epochs, self.data.training, self.data.validation)


def stages(settings: Settings, data: Data, machine: Machine) -> dict[str, StageModel]:
    """By name, in their order. Raises UsageError for a network that is not in the table of layer costs."""
    return {
        name: StageModel(
            cost_table.layers(settings.network, data.size, settings.batchnorm, stage.encoder, stage.train_bn),
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
    """Of those of `jobs` that train; none where jobs have no GPUs, of which alone the model knows, or for a network of
    whose layers the costs are not known. `size` and number
    of `images` are of data that is yet to come."""
    training = {name: job for name, job in jobs.items() if name != run.EVALUATE}
    if not training or not all(job.resources.gpus_per_node for job in training.values()):
        return {}
    if settings.network not in cost_table.known():
        print(f"note: no prediction for {settings.network}, of whose layers the costs are not known", file=sys.stderr)
        return {}
    modelled = stages(settings, Data.of(settings, size, images), machine)
    return {
        name: dataclasses.replace(
            modelled[name], machine=dataclasses.replace(machine, per_node=job.resources.tasks_per_node)
        ).seconds(job.ranks)
        for name, job in training.items()
    }
