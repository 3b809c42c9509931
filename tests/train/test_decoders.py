"""The decoders of `cloudseg.nets.decoders`: as their papers have them, and trained by the step of all networks."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cloudseg.nets import models, names
from cloudseg.nets.decoders import fcn
from cloudseg.nets.decoders.segnet import Unpooling
from tests.train.test_networks import built, falls, outcomes

RANDOM = np.random.default_rng(0)


def layer_sizes(name: str, prefix: str) -> int:
    """Number of parameters of the layers of the network `name` whose names begin with `prefix`."""
    return sum(layer.count_params() for layer in built(name).model.layers if layer.name.startswith(prefix))


def test_every_decoder_that_can_be_named_can_be_built_and_no_other():
    assert {*models.LIBRARY_DECODERS} | {*models.OWN_DECODERS} == {*names.DECODERS}


def test_fcn_vgg16_has_the_parameters_of_the_paper_but_for_those_of_the_classifier():
    """Long et al. 2015, table 1: 134 M for 21 classes, with fc6 and fc7."""
    classes = 21
    fc6, fc7 = 7 * 7 * 512 * 4096 + 4096, 4096 * 4096 + 4096
    scores = (4096 + 1) * classes
    encoder = built("fcn-vgg16").encoder_parameters()
    assert round((encoder + fc6 + fc7 + scores) / 1e6) == 134
    ours = 4
    assert layer_sizes("fcn-vgg16", "fcn_") == (512 + 1 + 512 + 1 + 256 + 1) * ours + 2 * 4 * 4 * ours * ours


def test_the_upsampling_of_fcn_begins_as_bilinear_interpolation():
    images = tf.constant(RANDOM.random((1, 5, 6, 3)), tf.float32)
    kernel = fcn._bilinear((4, 4, 3, 3), tf.float32)
    twice = tf.nn.conv2d_transpose(images, kernel, (1, 10, 12, 3), strides=2, padding="SAME")
    expected = tf.image.resize(images, (10, 12))
    np.testing.assert_allclose(twice[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1], rtol=1e-6)  # the edge sees zeros


def test_the_decoder_of_segnet_mirrors_vgg16():
    mirrored = [3, *(width for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)) for _ in range(count))]
    convolutions = [
        layer.kernel.shape[2:] for layer in built("segnet-vgg16").model.layers if layer.name.startswith("segnet_")
        and isinstance(layer, tf.keras.layers.Conv2D)
    ]  # fmt: skip
    assert convolutions == list(zip(mirrored[:1:-1], mirrored[-2:0:-1], strict=True))


@pytest.mark.parametrize("levels", [1000, 3])  # of 3 numbers, most windows have equal maxima
def test_unpooling_puts_values_where_the_maxima_were(levels):
    """As `tf.nn.max_pool_with_argmax` and a scatter, which the paper describes."""
    features = tf.constant(RANDOM.integers(0, levels, (2, 6, 8, 3)), tf.float32)
    values = tf.Variable(RANDOM.random((2, 3, 4, 3)), dtype=tf.float32)
    _, indices = tf.nn.max_pool_with_argmax(features, 2, 2, "VALID", include_batch_in_index=True)
    size = tf.size(features, tf.int64)
    scattered = tf.scatter_nd(tf.reshape(indices, (-1, 1)), tf.reshape(values, (-1,)), size[None])
    weights = tf.constant(RANDOM.random(features.shape), tf.float32)
    with tf.GradientTape() as tape:
        unpooled = Unpooling()([values, features])
        loss = tf.reduce_sum(unpooled * weights)
    np.testing.assert_array_equal(unpooled, tf.reshape(scattered, features.shape))
    expected = tf.gather(tf.reshape(weights, (-1,)), tf.reshape(indices, (-1,)))
    np.testing.assert_array_equal(tf.reshape(tape.gradient(loss, values), (-1,)), expected)


def test_deeplabs_pyramid_has_the_rates_of_the_paper_at_stride_16():
    layers = built("deeplabv3plus-mobilenetv2").model.layers
    dilated = {layer.dilation_rate: layer.input_shape[1:3] for layer in layers if layer.name.startswith("aspp_rate")
               and isinstance(layer, tf.keras.layers.DepthwiseConv2D)}  # fmt: skip
    assert dilated == {(rate, rate): (4, 4) for rate in (6, 12, 18)}  # of images of 64x64
    (pooled,) = (layer for layer in layers if layer.name == "aspp_everywhere")
    assert pooled.output_shape[1:] == (4, 4, 256)


def test_the_centre_of_adlinknet_has_the_parameters_of_d_linknet34():
    assert layer_sizes("adlinknet-resnet34", "centre_dilation") == 4 * (9 * 512 * 512 + 512)


def test_the_centre_of_adlinknet_is_no_wider_on_wider_encoders():
    assert layer_sizes("adlinknet-mobilenetv2", "centre_dilation") == 4 * (9 * 512 * 512 + 512)


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict[str, dict]:
    networks = {f"{decoder}-resnet18": ("bce_dice",) for decoder in models.OWN_DECODERS}
    return outcomes(tmp_path_factory.mktemp("decoders"), "float32", 64, networks)


def test_each_decoder_learns_on_two_ranks(found):
    assert len(found) == len(models.OWN_DECODERS)
    assert [name for name, each in found.items() if not falls(each)] == []


def test_each_decoder_goes_on_from_a_checkpoint_exactly(found):
    assert [name for name, each in found.items() if each["state"] != each["resumed"]] == []
