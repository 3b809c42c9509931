"""What pretrained weights fill, and how images are scaled for them."""

from __future__ import annotations

import numpy as np
import pytest

from cloudseg.core.errors import DataError
from cloudseg.nets import models, weights
from cloudseg.nets.encoders import Backbones
from cloudseg.nets.models import sm, tf

SIZE = (96, 96)


def counted_on(name: str) -> tf.keras.Model:
    kit = {"backend": tf.keras.backend, "layers": tf.keras.layers, "models": tf.keras.models, "utils": tf.keras.utils}
    return Backbones.get_backbone(name, input_shape=(*SIZE, 3), weights=None, include_top=False, **kit)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A file as published ones are: of seresnet34 alone, in a session where Keras had counted other layers before."""
    tf.keras.backend.reset_uids()
    tf.keras.layers.Conv2D(1, 1)
    encoder = counted_on("seresnet34")
    random = np.random.default_rng(0)
    encoder.set_weights([random.random(w.shape, np.float32) for w in encoder.get_weights()])
    file = tmp_path_factory.mktemp("published") / "seresnet34.h5"
    encoder.save_weights(file)
    return file, [layer.get_weights() for layer in encoder.layers if layer.weights]


def test_published_weights_fill_an_encoder_whose_layers_keras_numbered_otherwise(published):
    file, values = published
    network = models.build("unet-seresnet34", SIZE, pretrained=True)
    weights.load(network.model, network.encoder, "seresnet34", str(file))
    for name, expected in zip(network.encoder, values, strict=True):
        for got, want in zip(network.model.get_layer(name).get_weights(), expected, strict=True):
            np.testing.assert_array_equal(got, want)


def test_weights_of_another_encoder_are_refused(published):
    network = models.build("unet-resnet50", SIZE, pretrained=True)
    with pytest.raises(DataError, match=r"seresnet34\.h5 does not fit resnet50"):
        weights.load(network.model, network.encoder, "resnet50", str(published[0]))


@pytest.mark.parametrize("encoder", ["resnet18", "vgg16", "efficientnetb0", "mobilenetv2"])
def test_images_are_scaled_as_the_published_weights_expect(encoder):
    images = np.random.default_rng(0).integers(0, 256, (2, *SIZE, 3), np.uint8)
    expected = sm.get_preprocessing(encoder)(images.astype(np.float32))
    network = models.build(f"unet-{encoder}", SIZE, pretrained=True)
    for _ in ("training", "validation"):  # two graphs of one process
        np.testing.assert_allclose(tf.function(network.scale)(images), expected, atol=1e-5)
