"""Predicted stages: which images and which sizes count."""

from __future__ import annotations

from cloudseg.core.config import Settings, resolve
from cloudseg.performance import stage_time
from cloudseg.performance.model import Link, Machine
from cloudseg.performance.stage_time import Data, StageModel

MACHINE = Machine(1e12, 4, Link(1e10, 0.0), Link(1e9, 0.0))


def settings(**more: object) -> Settings:
    return resolve([("test", {"data": "/DATA", "network": "unet-resnet18", **more})])


def full(data: Data, **more: object) -> StageModel:
    return stage_time.stages(settings(**more), data, MACHINE)["full"]


def test_a_stage_on_fewer_images_takes_as_long_as_on_a_smaller_data_set():
    large, small = Data((64, 96), 4000, 1000), Data((64, 96), 400, 1000)
    assert full(large, train_images=400).seconds(2) == full(small).seconds(2) < full(large).seconds(2)
