"""Every network can learn four real images by heart: nothing between pixels, loss and weights is in its way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from cloudseg.core.recipes import Stage
from cloudseg.data.labels import RunTable
from cloudseg.data.shards import Manifest, Shards
from cloudseg.models import FIVE
from cloudseg.nets import losses, models, scores
from cloudseg.training import determinism, optimizers
from cloudseg.training.comm import Solo
from cloudseg.training.step import Step
from preprocess.settings import Settings
from tests.preprocess_source import REAL, run

SIZE = (128, 192)
IMAGES = 4
RATE = 2e-3
DICE = 0.95
STEPS = {
    "vanilla": 400,
    "unet-vgg16": 200,
    "unet-resnet34": 150,
    "unet-resnet18": 150,
    "linknet-efficientnetb1": 200,
}
"""Within which a network gets there; measured: 195, 82, 69, 61 and 99. Other processors round otherwise."""


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> tuple[tf.Tensor, tf.Tensor]:
    """The first real images and their masks, from shards that the command made."""
    if not (REAL / "train.csv").is_file():
        pytest.skip(f"the real images are not at {REAL} (set CLOUDSEG_REAL_DATA)")
    out = Path(tmp_path_factory.mktemp("real"), "shards")
    made = run(Settings(RunTable(REAL / "train.csv"), REAL / "train_images", out, SIZE))
    assert made.returncode == 0, made.stderr
    shards = Shards(Manifest.load(out))
    return tuple(tf.constant(np.stack([part(i) for i in range(IMAGES)])) for part in (shards.image, shards.mask))


@pytest.mark.parametrize("name", FIVE)
def test_a_network_learns_four_real_images_by_heart(batch, name):
    determinism.fix()
    tf.keras.backend.clear_session()
    tf.keras.utils.set_random_seed(0)
    network = models.build(name, SIZE, pretrained=False)
    optimizer = optimizers.build(Stage(1.0, 1, RATE), network.model.trainable_variables, mixed=False)
    step = Step(network, optimizer, losses.bce_dice, Solo("all there is"))  # TensorFlow is at work already
    best = 0.0
    for number in range(STEPS[name]):
        network.seed_dropout(0, number)
        best = max(best, scores.pooled(step(iter([batch]), RATE, number, stop=False).sums)["soft_dice"])
        if best >= DICE:
            print(f"{name}: soft Dice {best:.4f} after {number + 1} steps")
            return
    pytest.fail(f"soft Dice {best:.4f} after {STEPS[name]} steps")
