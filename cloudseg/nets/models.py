"""Builds networks by name: segmentation networks with four logits per pixel, and the scaling of their input."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

with contextlib.redirect_stdout(None):  # its import prints a line
    import segmentation_models as sm

from cloudseg.nets import dropout, encoders, freeze, names, presence, vanilla
from cloudseg.nets.decoders import adlinknet, deeplabv3plus, fcn, segnet
from cloudseg.nets.encoders import Size

LIBRARY_DECODERS: dict[str, Callable[..., tf.keras.Model]] = {
    "unet": sm.Unet,
    "linknet": sm.Linknet,
    "fpn": sm.FPN,
    "pspnet": sm.PSPNet,
}
"""Decoders of segmentation_models."""
OWN_DECODERS = {"fcn": fcn, "segnet": segnet, "deeplabv3plus": deeplabv3plus, "adlinknet": adlinknet}
"""Decoders of this package, on the same encoders."""
OWN = {"vanilla": vanilla}
NUMBER_OF_CLASSES = 4
BATCHNORM_MOMENTUM = 0.9
"""Momentum of the moving statistics. Keras's 0.99 takes about 500 steps to adapt; a stage may have fewer."""


@dataclasses.dataclass(frozen=True)
class Network:
    """A Keras model and the scaling of its input."""

    model: tf.keras.Model
    """Scaled images, float32 (n, H, W, 3) -> logits (n, H, W, 4), and logits (n, 4) if it has a presence head."""
    encoder: tuple[str, ...]
    """Names of the encoder layers with weights, in the order of the model."""
    scale: Callable[[tf.Tensor], tf.Tensor]
    """RGB uint8 -> float32, scaled as the encoder expects."""
    block_starts: frozenset[int] | None = None
    """See `freeze.block_starts`; indices in `encoder`."""

    @property
    def classes(self) -> int:
        """Number of classes, C."""
        return int(self.model.outputs[0].shape[-1])

    def outputs(self, images: tf.Tensor, training: bool) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Images, uint8 (n, H, W, 3) -> logits of the masks, float32 (n, H, W, C), and of the presence head, float32
        (n, C), or None without it."""
        out = self.model(self.scale(images), training=training)
        masks, present = (out, None) if len(self.model.outputs) == 1 else out
        return tf.cast(masks, tf.float32), present

    def logits(self, images: tf.Tensor, training: bool) -> tf.Tensor:
        """Images, uint8 (n, H, W, 3) -> logits of the masks, float32 (n, H, W, C)."""
        return self.outputs(images, training)[0]

    def seed_dropout(self, *numbers: int) -> None:
        """See `dropout.seed`."""
        dropout.seed(self.model, *numbers)

    def encoder_parameters(self) -> int:
        """Number of parameters of the encoder, including BatchNorm statistics."""
        return sum(self.model.get_layer(name).count_params() for name in self.encoder)


def build(
    name: str,
    size: Size,
    pretrained: bool,
    batchnorm: bool = True,
    mixed: bool = False,
    presence_head: bool = False,
) -> Network:
    """Build the network `name` for images of `size`, with random weights from TensorFlow's seed.

    The weights do not depend on `size`. A decoder of `names.FIXED_SIZE` needs numbers for it. With `pretrained` the
    input is scaled as the encoder's published weights expect; the caller loads the weights. `batchnorm` says whether
    the decoder has BatchNorm. With `mixed` most layers compute in float16; weights and logits are float32.
    `presence_head` adds the output of `presence.add_head`. Raises UsageError for an unknown name.
    """
    decoder, encoder = names.parse(name)
    layers = OWN[encoder].ENCODER if encoder in OWN else _encoder_layers(encoder, size)
    tf.keras.backend.reset_uids()
    with _policy("mixed_float16" if mixed else "float32"):
        model = _model(decoder, encoder, size, batchnorm)
        if presence_head:
            model = presence.add_head(model, layers, NUMBER_OF_CLASSES)
    for layer in model.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            layer.momentum = BATCHNORM_MOMENTUM
    network_layers = tuple(layer.name for layer in model.layers if layer.name in layers and layer.weights)
    # A random encoder expects no particular scale; -1 to 1 suits its initial weights.
    scale = _scale(encoder) if pretrained else lambda images: tf.cast(images, tf.float32) / 127.5 - 1.0
    return Network(model, network_layers, scale, freeze.block_starts(encoder))


def _model(decoder: str, encoder: str, size: Size, batchnorm: bool) -> tf.keras.Model:
    if encoder in OWN:
        return OWN[encoder].build(size, NUMBER_OF_CLASSES, batchnorm)
    if decoder in OWN_DECODERS:
        return OWN_DECODERS[decoder].build(encoder, size, NUMBER_OF_CLASSES, batchnorm)
    return LIBRARY_DECODERS[decoder](
        encoder,
        input_shape=(*size, 3),
        classes=NUMBER_OF_CLASSES,
        activation="linear",
        encoder_weights=None,
        **({"decoder_use_batchnorm": batchnorm} if decoder in ("unet", "linknet") else {}),
    )


@contextlib.contextmanager
def _policy(name: str) -> Iterator[None]:
    """Context in which new layers have the Keras dtype policy `name`."""
    before = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy(name)
    try:
        yield
    finally:
        tf.keras.mixed_precision.set_global_policy(before)


def _encoder_layers(encoder: str, size: Size) -> frozenset[str]:
    """Names of the encoder's layers in every network on it.

    A network's encoder is built first and the decoder is added to it. With Keras's name counters reset before each
    build, the encoder's layers have the same names, also automatic ones.
    """
    with tf.Graph().as_default():  # only names are needed: variables of a graph take no memory
        tf.random.set_seed(0)  # the seed of this graph, which dropout needs if operations are deterministic
        return frozenset(layer.name for layer in encoders.build(encoder, size).layers)


def _scale(encoder: str) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return the scaling that the published weights of `encoder` were trained with: RGB uint8 -> float32.

    The preprocessing functions of segmentation_models keep tensors of the first graph that uses them. All of them
    multiply the colours by a matrix and add a shift, so both are computed here from four colours.
    """
    preprocess = sm.get_preprocessing(encoder)
    shift = np.array(preprocess(np.zeros((1, 1, 1, 3), np.float32)))[0, 0, 0]
    matrix = (np.array(preprocess(255 * np.eye(3, dtype=np.float32)[None, None]))[0, 0] - shift) / 255
    return lambda images: tf.tensordot(tf.cast(images, tf.float32), tf.constant(matrix), 1) + tf.constant(shift)
