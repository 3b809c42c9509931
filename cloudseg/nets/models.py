"""Networks by name: four-channel U-Nets, as logits, with how they want their input."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator

os.environ.setdefault("SM_FRAMEWORK", "tf.keras")

import numpy as np
import tensorflow as tf

with contextlib.redirect_stdout(None):  # it prints a greeting
    import segmentation_models as sm
from segmentation_models.backbones.backbones_factory import Backbones

from cloudseg.nets import dropout, names, vanilla

DECODERS: dict[str, Callable[..., tf.keras.Model]] = {
    "unet": sm.Unet,
    "linknet": sm.Linknet,
    "fpn": sm.FPN,
    "pspnet": sm.PSPNet,
}
OWN = {"vanilla": vanilla}
NUMBER_OF_CLASSES = 4
BATCHNORM_MOMENTUM = 0.9
"""Of the moving statistics. Keras's 0.99 needs some 500 steps to follow; a stage may have fewer."""


@dataclasses.dataclass(frozen=True)
class Network:
    model: tf.keras.Model
    """float32 (n, H, W, 3), scaled -> logits (n, H, W, 4)."""
    encoder: tuple[str, ...]
    """Names of the encoder's layers, in the order of the model."""
    scale: Callable[[tf.Tensor], tf.Tensor]
    """uint8 RGB -> what the encoder expects."""

    def logits(self, images: tf.Tensor, training: bool) -> tf.Tensor:
        """uint8 (n, H, W, 3) -> float32 (n, H, W, 4)."""
        return tf.cast(self.model(self.scale(images), training=training), tf.float32)

    def seed_dropout(self, *numbers: int) -> None:
        """See `dropout.seed`."""
        dropout.seed(self.model, *numbers)

    def encoder_parameters(self) -> int:
        """How many parameters the encoder holds, BatchNorm statistics included."""
        return sum(self.model.get_layer(name).count_params() for name in self.encoder)


def build(name: str, size: tuple[int, int], pretrained: bool, batchnorm: bool = True, mixed: bool = False) -> Network:
    """The network `name` for images of `size` (height, width), with random weights from TensorFlow's seed.

    `pretrained` says that its encoder will be filled with published weights, and so how its input is scaled.
    `batchnorm` is the decoder's. `mixed` computes in float16 where that is safe, with weights and logits in float32.
    Raises UsageError for an unknown name.
    """
    decoder, encoder = names.parse(name)
    layers = OWN[encoder].ENCODER if encoder in OWN else _encoder_layers(encoder, size)
    tf.keras.backend.reset_uids()
    with _policy("mixed_float16" if mixed else "float32"):
        model = _model(decoder, encoder, size, batchnorm)
    for layer in model.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            layer.momentum = BATCHNORM_MOMENTUM
    network_layers = tuple(layer.name for layer in model.layers if layer.name in layers and layer.weights)
    if pretrained:
        return Network(model, network_layers, _scale(encoder))
    # A random encoder has no statistics of its own for raw pixel values.
    return Network(model, network_layers, lambda images: tf.cast(images, tf.float32) / 127.5 - 1.0)


def _model(decoder: str, encoder: str, size: tuple[int, int], batchnorm: bool) -> tf.keras.Model:
    if encoder in OWN:
        return OWN[encoder].build(size, NUMBER_OF_CLASSES, batchnorm)
    return DECODERS[decoder](
        encoder,
        input_shape=(*size, 3),
        classes=NUMBER_OF_CLASSES,
        activation="linear",
        encoder_weights=None,
        **({"decoder_use_batchnorm": batchnorm} if decoder in ("unet", "linknet") else {}),
    )


@contextlib.contextmanager
def _policy(name: str) -> Iterator[None]:
    """Layers that are made within compute as this says."""
    before = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy(name)
    try:
        yield
    finally:
        tf.keras.mixed_precision.set_global_policy(before)


def encoder_alone(encoder: str, size: tuple[int, int]) -> tf.keras.Model:
    """An encoder without a decoder, with random weights; its layers are called as in `build`."""
    tf.keras.backend.reset_uids()
    return Backbones.get_backbone(
        encoder,
        input_shape=(*size, 3),
        weights=None,
        include_top=False,
        backend=tf.keras.backend,
        layers=tf.keras.layers,
        models=tf.keras.models,
        utils=tf.keras.utils,
    )


def _encoder_layers(encoder: str, size: tuple[int, int]) -> frozenset[str]:
    """Names of the encoder's layers in any network that segmentation_models builds on it.

    It builds the encoder first and the decoder onto the encoder's own layers, so with Keras's counters reset
    before each they have the same names, automatic ones too.
    """
    with tf.Graph().as_default():  # only the names are wanted: variables of a graph are never filled
        tf.random.set_seed(0)  # this graph's; dropout asks for one where operations are to be deterministic
        return frozenset(layer.name for layer in encoder_alone(encoder, size).layers)


def _scale(encoder: str) -> Callable[[tf.Tensor], tf.Tensor]:
    """uint8 RGB -> what the published weights of `encoder` were trained with.

    segmentation_models' own functions keep tensors of the first graph that they are used in. All of them are a matrix
    times the colours and a shift, so these are found by trying.
    """
    preprocess = sm.get_preprocessing(encoder)
    shift = np.array(preprocess(np.zeros((1, 1, 1, 3), np.float32)))[0, 0, 0]
    matrix = (np.array(preprocess(255 * np.eye(3, dtype=np.float32)[None, None]))[0, 0] - shift) / 255
    return lambda images: tf.tensordot(tf.cast(images, tf.float32), tf.constant(matrix), 1) + tf.constant(shift)
