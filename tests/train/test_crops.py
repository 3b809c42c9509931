"""Training on crops with every added transform: the same weights in every way, and scores of whole images."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import processes
from tests.train.conftest import (
    ROOT,
    SMALL,
    assert_identical,
    command,
    done,
    environment,
    last_checkpoint,
    run_ranks,
    stage_folder,
)

SETTINGS = (
    *SMALL,
    'stages=["frozen"]',
    "stage.frozen.epochs=2",
    "crop=[32,64]",
    "train_images=7",
    'augment_also=["coarse_dropout","channel_shuffle","grey","cutmix"]',
)


def train(run: Path, data: Path) -> str:
    process = processes.run(
        command(run, "frozen", data, 2, *SETTINGS), cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True,
        env=environment(CLOUDSEG_FEED_WORKERS="0"),
    )  # fmt: skip
    return process.stdout


@pytest.fixture(scope="module")
def cropped(data, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("cropped") / "run"
    assert "7 images for training, 5 for validation" in train(run, data)
    return run


def test_a_killed_stage_with_worker_processes_ends_with_the_same_weights(cropped, data, tmp_path):
    options = [option for setting in SETTINGS for option in ("--set", setting)]
    arguments = ["--run", tmp_path / "run", "--stage", "frozen", "--data", data, *options]
    run_ranks("training_of_ranks.py", 2, ",", "2", *arguments, killed=True, CLOUDSEG_FEED_WORKERS="1")
    train(tmp_path / "run", data)
    assert_identical(last_checkpoint(cropped, "frozen"), last_checkpoint(tmp_path / "run", "frozen"))


def test_the_dice_is_of_whole_images(cropped):
    from cloudseg.core.run import open_run
    from cloudseg.data.shards import Manifest, Shards
    from cloudseg.nets import models, scores
    from cloudseg.training import build, checkpoint
    from cloudseg.training.comm import Solo
    from cloudseg.training.validation import Validator

    settings = open_run(cropped).settings
    shards = Shards(Manifest.load(settings.data))
    network = models.build(settings.network, shards.manifest.size, pretrained=False)
    checkpoint.load_weights(stage_folder(cropped, "frozen") / done(cropped, "frozen")["weights"], network.model)
    held_out = shards.manifest.indices(settings.fold, training=False)
    loss = build.build_loss(settings, shards.manifest)
    found = Validator(network, loss, shards, held_out, settings.batch, Solo("CPU"), [0.5])()
    assert found.counts.shape[0] == 5
    assert done(cropped, "frozen")["dice"] == float(scores.dice(found.counts[:, :, 0]).mean(axis=0).mean())


def test_the_evaluation_is_of_whole_images(cropped):
    processes.run(
        [sys.executable, "-m", "cloudseg.evaluate", "--run", str(cropped)], cwd=ROOT, env=environment(), check=True
    )
    assert json.loads((cropped / "evaluate" / "metrics.json").read_text())
    assert len((cropped / "evaluate" / "images.csv").read_text().splitlines()) == 1 + 5


def test_class_weights_are_of_the_images_that_train(data):
    import tensorflow as tf

    from cloudseg.core.config import Settings
    from cloudseg.data.shards import Manifest
    from cloudseg.nets import losses
    from cloudseg.training import build

    manifest, settings = Manifest.load(data), Settings(data=str(data), loss="weighted_bce", train_images=3)
    few, every = build.training_samples(settings, manifest), manifest.indices(0, training=True)
    weights = []
    for numbers in (few, every):
        samples = [manifest.samples[i] for i in numbers]
        areas = np.sum([sample.areas for sample in samples], axis=0)
        weights.append(losses.balanced(areas.tolist(), sum(64 * 96 - sample.no_data for sample in samples)))
    random = np.random.default_rng(0)
    batch = (
        tf.constant(random.normal(size=(1, 8, 8, 4)), tf.float32),
        tf.constant(random.integers(0, 2, (1, 8, 8, 4)), tf.float32),
        tf.ones((1, 8, 8, 1)),
    )
    found = float(build.build_loss(settings, manifest)(*batch))
    assert found == float(losses.weighted_bce(weights[0])(*batch))
    assert found != float(losses.weighted_bce(weights[1])(*batch))
