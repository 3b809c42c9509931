"""Predicted stages: which images and which sizes count."""

from __future__ import annotations

import pytest

from cloudseg.core.config import Settings, resolve
from cloudseg.core.errors import UsageError
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


def test_training_steps_cost_what_crops_cost_and_validation_what_whole_images_cost():
    data = Data((128, 192), 400, 100)
    whole, small = full(data), full(Data((64, 96), 400, 100))
    cropped = full(data, crop=[64, 96])
    assert cropped.step(2) == small.step(2)
    assert cropped.step(2).compute_s < whole.step(2).compute_s
    assert small.seconds(2) < cropped.seconds(2) < whole.seconds(2)
    assert cropped.whole == whole.layers


def test_crops_larger_than_the_images_are_refused():
    with pytest.raises(UsageError, match="crop: 128x192 is larger than the stored images, 64x96"):
        full(Data((64, 96), 400, 100), crop=[128, 192])
