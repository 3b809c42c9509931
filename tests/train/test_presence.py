"""The presence head: part of every network, trained by the same step, and there from the weights to the masks."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import tensorflow as tf

from cloudseg.core.recipes import Stage
from cloudseg.data.labels import CLASSES
from cloudseg.nets import freeze, losses, models, presence
from cloudseg.nets.masks import unpack
from cloudseg.training import optimizers
from cloudseg.training.comm import Solo
from cloudseg.training.step import Step
from cloudseg.training.validation import Validator
from tests import processes
from tests.random_shards import random_shards
from tests.train.conftest import ROOT, SMALL, assert_identical, command, environment, last_checkpoint
from tests.train.conftest import losses as losses_of

SIZE = (96, 96)
HEAD = ("presence_head=true", "presence_weight=0.5")


class Alone(Solo):
    def __init__(self) -> None:
        pass  # claims no device: TensorFlow may be at work in this process already


def build(name: str, head: bool) -> models.Network:
    tf.keras.utils.set_random_seed(0)
    return models.build(name, SIZE, pretrained=False, presence_head=head)


@pytest.mark.parametrize(
    ("name", "channels"),
    [("vanilla", 192), ("unet-resnet18", 512), ("linknet-vgg16", 512), ("fpn-mobilenetv2", 1280),
     ("pspnet-resnet18", 128), ("fcn-resnet18", 512), ("segnet-vgg16", 512), ("deeplabv3plus-mobilenetv2", 576),
     ("adlinknet-resnet18", 512)],
)  # fmt: skip
def test_every_decoder_takes_a_head_on_its_encoder_and_keeps_its_masks(name, channels):
    plain, network = build(name, False), build(name, True)
    image = tf.constant(np.random.default_rng(0).integers(0, 256, (2, *SIZE, 3)), tf.uint8)
    masks, present = network.outputs(image, training=False)
    assert (masks.shape, present.shape, present.dtype) == ((2, *SIZE, 4), (2, 4), tf.float32)
    expected, nothing = plain.outputs(image, training=False)
    assert nothing is None
    np.testing.assert_array_equal(masks, expected)
    np.testing.assert_array_equal(network.logits(image, training=False), expected)
    assert network.encoder == plain.encoder
    assert network.model.get_layer("presence").kernel.shape == (channels, 4)
    freeze.freeze(network, 0.0)
    assert network.model.get_layer("presence").trainable
    added = {v.name for v in network.model.trainable_variables} - {v.name for v in plain.model.trainable_variables}
    assert added == {"presence/kernel:0", "presence/bias:0"}


def test_logits_of_the_head_are_float32_in_mixed_precision():
    network = models.build("vanilla", (32, 32), pretrained=False, mixed=True, presence_head=True)
    masks, present = network.outputs(tf.zeros((1, 32, 32, 3), tf.uint8), training=False)
    assert masks.dtype == present.dtype == tf.float32


def case() -> tuple[np.ndarray, np.ndarray]:
    """Packed masks (3, 6, 5): a class only where there is no data, several classes, none."""
    mask = np.zeros((3, 6, 5), np.uint8)
    mask[0, 2:4] = 1
    mask[0, 0] = 128 | 2
    mask[1, :, 0] = 12
    return np.random.default_rng(0).normal(0, 2, (3, 4)).astype(np.float32), mask


def test_loss_is_the_cross_entropy_of_classes_with_a_valid_true_pixel():
    logits, mask = case()
    present = np.array([[1, 0, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0]])
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    expected = -np.where(present, np.log(p), np.log(1 - p)).mean()
    targets, valid = unpack(tf.constant(mask))
    np.testing.assert_array_equal(presence.is_present(targets, valid), present)
    found = presence.add_loss(tf.constant(3.0), 0.5, tf.constant(logits), targets, valid)
    assert float(found) == pytest.approx(3 + 0.5 * expected, rel=1e-6)


def test_without_a_head_the_loss_is_the_same_tensor():
    targets, valid = unpack(tf.constant(case()[1]))
    loss = tf.constant(3.0)
    assert presence.add_loss(loss, 0.5, None, targets, valid) is loss


def small(accumulate: int) -> tuple[models.Network, Step]:
    """A network of two convolutions with a head, without BatchNorm, whose statistics depend on the batch."""
    tf.keras.utils.set_random_seed(0)
    layers = tf.keras.layers
    inputs = layers.Input((32, 32, 3))
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="encoder")(inputs)
    model = presence.add_head(tf.keras.Model(inputs, layers.Conv2D(4, 1, name="masks")(x)), {"encoder"}, 4)
    network = models.Network(model, ("encoder",), lambda images: tf.cast(images, tf.float32) / 127.5 - 1)
    stage = Stage(1.0, 1, 0.5, optimizer="sgd", accumulate=accumulate)
    optimizer = optimizers.build(stage, model.trainable_variables, mixed=False)
    return network, Step(network, optimizer, losses.bce, Alone(), accumulate, presence_weight=2.0)


def test_four_micro_batches_train_the_head_as_one_batch_does():
    random = np.random.default_rng(0)
    images = tf.constant(random.integers(0, 256, (8, 32, 32, 3)), tf.uint8)
    masks = tf.constant(random.choice([0, 1, 6, 128], (8, 1, 1)) * np.ones((8, 32, 32)), tf.uint8)
    found = {}
    for accumulate in (1, 4):
        network, step = small(accumulate)
        size = 8 // accumulate
        before = network.model.get_layer("presence").kernel.numpy()
        logits, present = network.outputs(images, training=True)
        targets, valid = unpack(masks)
        expected = presence.add_loss(losses.bce(logits, targets, valid), 2.0, present, targets, valid)
        batches = [(images[i : i + size], masks[i : i + size]) for i in range(0, 8, size)]
        outcomes = [step(iter(batches), 0.5, number, stop=False) for number in range(2)]
        assert outcomes[0].loss == pytest.approx(float(expected), rel=1e-5)
        assert np.abs(network.model.get_layer("presence").kernel.numpy() - before).max() > 1e-3
        found[accumulate] = [v.numpy() for v in network.model.trainable_variables]
    assert max(np.abs(a - b).max() for a, b in zip(found[1], found[4], strict=True)) < 1e-5


def test_validation_loss_has_that_of_the_head_as_a_mean_over_images(tmp_path):
    """Five images in batches of two: the last batch is smaller, and counts less."""
    shards = random_shards(tmp_path, (5,))
    tf.keras.utils.set_random_seed(0)
    network = models.build("vanilla", shards.manifest.size, pretrained=False, presence_head=True)
    samples = np.arange(5)

    def validated(weight: float, batch: int) -> float:
        return Validator(network, losses.bce, shards, samples, batch, Alone(), [0.5], presence_weight=weight)().loss

    entropies = []
    for i in samples:
        targets, valid = unpack(tf.constant(shards.mask(i)[None]))
        _, present = network.outputs(tf.constant(shards.image(i)[None]), training=False)
        entropies.append(float(presence.add_loss(tf.constant(0.0), 1.0, present, targets, valid)))
    assert validated(0.5, 2) - validated(0.0, 2) == pytest.approx(0.5 * np.mean(entropies), rel=1e-4)
    assert validated(0.5, 2) == pytest.approx(validated(0.5, 5), rel=1e-5)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory) -> Path:
    """A run of one stage with a head, evaluated, on two ranks."""
    out = tmp_path_factory.mktemp("head") / "run"
    settings = (*SMALL, *HEAD, 'stages=["full"]', "stage.full.epochs=2")
    processes.run(
        command(out, "full", data, 2, *settings), cwd=ROOT, env=environment(), check=True,
    )  # fmt: skip
    type_("evaluate", "--run", out)
    return out


def type_(*words: object, expect: int = 0) -> str:
    process = processes.run(
        [sys.executable, "-m", f"cloudseg.{words[0]}", *map(str, words[1:])], cwd=ROOT, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == expect, process.stdout
    return process.stdout


def test_a_run_with_a_head_stores_its_probabilities_and_predicts_with_rules_that_use_them(run, data, tmp_path):
    (part,) = (run / "probabilities").rglob("*.h5")
    with h5py.File(part) as file:
        presence_of = file["presence"][...]
        assert presence_of.shape == (len(file["name"]), 4) and presence_of.dtype == np.float32
    assert ((presence_of > 0) & (presence_of < 1)).all() and presence_of.std() > 0
    pictures = data.parent / "demo" / "train_images"
    rows = {}
    for limit in (0.0, 0.999999):
        rules = tmp_path / f"{limit}.json"
        table = {"threshold": 0.05, "min_presence": limit}
        rules.write_text(json.dumps(dict.fromkeys(CLASSES, table)))
        arguments = ("predict", "--run", run, "--images", pictures, "--thresholds", rules)
        rows[limit] = type_(*arguments, "--out", tmp_path / f"{limit}.csv")
    assert " 0 with a mask" in rows[0.999999] and " 0 with a mask" not in rows[0.0]


def test_flips_average_the_presence_over_the_four_images(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (plain,) = (copy / "probabilities").rglob("00000.h5")
    type_("evaluate", "--run", copy, "--flips")
    (flipped,) = set((copy / "probabilities").rglob("00000.h5")) - {plain}
    with h5py.File(plain) as one, h5py.File(flipped) as four:
        difference = np.abs(one["presence"][...] - four["presence"][...])
        assert 0 < difference.max() < 0.5


def test_rules_of_a_head_are_refused_for_a_run_without_one_before_it_predicts(run, data, tmp_path):
    """The copy says that it has no head."""
    copy, rules = tmp_path / "run", tmp_path / "rules.json"
    shutil.copytree(run, copy)
    text = (copy / "run.toml").read_text()
    (copy / "run.toml").write_text(text.replace("presence_head = true", "presence_head = false"))
    rules.write_text(json.dumps({name: {"min_presence": 0.5} for name in CLASSES}))
    arguments = ("--images", data.parent / "demo" / "train_images", "--out", tmp_path / "x.csv", "--thresholds", rules)
    said = type_("predict", "--run", run, "--with", copy, *arguments, expect=2)
    assert "the rule of Fish uses the probability of a presence head" in said
    assert len(said.splitlines()) == 1


def test_a_head_that_was_interrupted_ends_with_the_bits_of_one_that_was_not(run, train, data, tmp_path):
    """The second epoch of the stage is repeated from the checkpoint of the first."""
    settings = (*SMALL, *HEAD, 'stages=["full"]', "stage.full.epochs=2")
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "1-full" / "DONE.json").unlink()
    records = sorted((copy / "1-full" / "checkpoints").glob("step-*.json"))
    first = [record for record in records if json.loads(record.read_text())["epoch"] == 1]
    assert first, "no checkpoint of the first epoch"
    for record in records[records.index(first[-1]) + 1 :]:
        record.unlink()
        record.with_suffix(".npz").unlink()
    train(copy, "full", 2, *settings)
    assert_identical(last_checkpoint(copy, "full"), last_checkpoint(run, "full"))
    assert losses_of(copy, "full") == losses_of(run, "full")
