"""Recipes: the stages of a run, their order and their hyperparameters. Data only, without TensorFlow."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

OPTIMIZERS = ("adam", "sgd", "adamw")
SCHEDULES = ("exponential", "cosine", "one-cycle", "plateau")
DECAY_ON = ("all", "kernels")
PSEUDO = "pseudo"
"""Name of the stage that also trains on pictures that the network of the stage before has labelled."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """Hyperparameters of one stage: which part of the encoder trains, epochs, learning rate, optimizer."""

    OLD_NAMES: ClassVar[Mapping[str, str]] = {"hold": "hold_epochs"}
    """Names of fields in files of earlier versions -> current names."""
    LATER: ClassVar[frozenset[str]] = frozenset({"encoder_lr", "decay_on", "swa"})
    """Fields that were added after the first version; `config.to_table` omits them at their defaults."""

    encoder: float
    """Share of the encoder's parameters that trains, from its last layer backwards; the decoder always trains."""
    epochs: int
    lr: float
    """Peak learning rate."""
    encoder_lr: float = 1.0
    """Share of the learning rate, above 0 and at most 1, at which the encoder learns."""
    scale_lr: bool = False
    """Whether `lr` is multiplied by the number of ranks (linear scaling rule, Goyal et al. 2017)."""
    optimizer: str = "adam"
    momentum: float = 0.9
    """Momentum of sgd."""
    weight_decay: float = 0.0
    """Decoupled weight decay of adamw; each step multiplies weights by 1 - learning rate x weight_decay."""
    decay_on: str = "all"
    """"all", or "kernels": weight decay leaves out biases and BatchNorm's scales and shifts."""
    schedule: str = "exponential"
    """Learning-rate schedule: "exponential" or "cosine" decay after `hold_epochs`; "one-cycle" over the whole stage;
    "plateau": multiplied by `factor` when the validation loss has not improved for `patience` epochs."""
    hold_epochs: int = 0
    """Epochs at `lr` before the decay."""
    decay: float = 1.0
    """`lr` over the final learning rate; 1 for a constant learning rate."""
    patience: int = 5
    factor: float = 0.1
    warmup_steps: int = 0
    """Steps of linear warm-up from 0; the optimizer starts each stage without state."""
    early_stop: int = 0
    """End the stage after this many epochs without a better validation Dice; 0 for never."""
    clip: float = 0.0
    """Maximum global norm of the gradient; a larger gradient is scaled down to it. 0 for no clipping."""
    accumulate: int = 1
    """Batches whose gradients are accumulated for one optimizer step."""
    ema: float = 0.0
    """Decay of the exponential moving average of the weights, for example 0.999; validation and the next stage then use
    the averaged weights. 0 for no averaging."""
    swa: int = 0
    """Number of last epochs over whose ends the weights are averaged (stochastic weight averaging, Izmailov et al.
    2018); the mean is the stage's result if its validation Dice is above that of the best epoch. 0 for no averaging."""
    train_bn: bool = False
    """Whether BatchNorm layers in the frozen part of the encoder train and update their statistics."""


PSEUDO_STAGE = Stage(encoder=1.0, epochs=5, lr=1e-5, schedule="cosine", decay=10.0, warmup_steps=50)
"""The stage PSEUDO where neither recipe nor settings have one. Its rate is meant for weights that are trained."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Stages and settings under one name."""

    about: str
    stages: Mapping[str, Stage]
    """Stages by name in their order; each starts from the weights of the one before."""
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Further settings of the recipe, which replace the defaults of `config.Settings`."""


RECIPES = {
    "paper": Recipe(
        "as published with the source work: U-Net on an ImageNet ResNet34, 35 epochs in three stages, Adam",
        {
            "frozen": Stage(encoder=0.0, epochs=25, lr=1e-2, hold_epochs=10, decay=1000.0),
            "partial": Stage(encoder=0.2, epochs=5, lr=1e-6, warmup_steps=50),
            "full": Stage(encoder=1.0, epochs=5, lr=1e-6, warmup_steps=50),
        },
    ),
    "paper-vanilla": Recipe(
        "the source work's plain U-Net of 3 M parameters from random weights: Adam at 1e-3, 40 epochs, weighted BCE",
        {"full": Stage(encoder=1.0, epochs=40, lr=1e-3)},
        {"network": "vanilla", "weights": "none", "loss": "weighted_bce"},
    ),
    "paper-vgg16": Recipe(
        "the source work's U-Net on an ImageNet VGG-16: SGD at 0.01, 10 epochs",
        {"full": Stage(encoder=1.0, epochs=10, lr=1e-2, optimizer="sgd")},
        {"network": "unet-vgg16", "loss": "bce"},
    ),
    # Learning rates are per rank and are multiplied by the number of ranks, which needs a warm-up of some epochs with
    # Adam. Cosine decay to a hundredth needs no new epoch numbers when the number of ranks changes. Fine-tuning at
    # 1e-6, as published, changes almost nothing within 5 epochs of 70 steps; a tenth of the frozen stage's rate is
    # usual, and stable with warm-up, gradient clipping and averaged weights. Mixed precision makes a V100 two to three
    # times as fast, and 16 images of 320x480 fit into its memory.
    "v100x8": Recipe(
        "for 8 V100: mixed precision, 16 images per GPU, warm-up, linear scaling, cosine, averaged weights",
        {
            "frozen": Stage(
                encoder=0.0, epochs=12, lr=2.5e-4, scale_lr=True, optimizer="adamw", weight_decay=1e-2,
                schedule="cosine", decay=20.0, warmup_steps=105, clip=1.0,
            ),
            "partial": Stage(
                encoder=0.2, epochs=6, lr=5e-5, scale_lr=True, optimizer="adamw", weight_decay=1e-2,
                schedule="cosine", decay=20.0, warmup_steps=70, clip=1.0,
            ),
            "full": Stage(
                encoder=1.0, epochs=22, lr=2.5e-5, scale_lr=True, optimizer="adamw", weight_decay=1e-2,
                schedule="cosine", decay=100.0, warmup_steps=105, clip=1.0, ema=0.99,
            ),
        },
        {"batch": 16, "precision": "mixed"},
    ),
    # For a hundred small generated images and an encoder with random weights: most epochs are in the stage that trains
    # the whole network.
    "demo": Recipe(
        "for a hundred small generated images and a random encoder: 15 epochs, some minutes on two cores",
        {
            "frozen": Stage(encoder=0.0, epochs=3, lr=3e-3, warmup_steps=10),
            "partial": Stage(encoder=0.2, epochs=3, lr=2e-3, warmup_steps=10),
            "full": Stage(encoder=1.0, epochs=9, lr=2e-3, hold_epochs=3, decay=20.0, warmup_steps=10),
        },
    ),
}  # fmt: skip
