"""Recipes: which stages there are, in what order, and what each of them trains. Data, no TensorFlow."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

OPTIMIZERS = ("adam", "sgd", "adamw")
SCHEDULES = ("exponential", "cosine", "one-cycle", "plateau")


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage of training: what trains, for how long, at which learning rate."""

    OLD_NAMES: ClassVar[Mapping[str, str]] = {"hold": "hold_epochs"}
    """Names of fields in files of earlier versions."""

    encoder: float
    """Share of the encoder's parameters that trains, counted from its end; the decoder always trains."""
    epochs: int
    lr: float
    """Peak learning rate."""
    scale_lr: bool = False
    """Whether `lr` is meant for one rank, and grows with their number as the batch does (Goyal et al. 2017)."""
    optimizer: str = "adam"
    momentum: float = 0.9
    """Of sgd."""
    weight_decay: float = 0.0
    """Of adamw: at each step, weights lose this part of themselves times the learning rate."""
    schedule: str = "exponential"
    """How the rate goes from `lr` to its end: "exponential" or "cosine" after `hold_epochs`; "one-cycle" up and down
    again over the whole stage; "plateau" by `factor` each time that the validation loss has not improved for `patience`
    epochs."""
    hold_epochs: int = 0
    """Epochs at `lr` before it falls."""
    decay: float = 1.0
    """`lr` over the last learning rate; with 1 it never falls."""
    patience: int = 5
    factor: float = 0.1
    warmup_steps: int = 0
    """Steps over which the learning rate rises linearly from 0: the optimizer starts each stage afresh."""
    early_stop: int = 0
    """End the stage after so many epochs without a better validation Dice; 0 never does."""
    clip: float = 0.0
    """Longest gradient, all variables together; longer ones are scaled down to it. 0 lets all pass."""
    accumulate: int = 1
    """Batches whose gradients make one optimizer step."""
    ema: float = 0.0
    """What the running average of the weights keeps of itself in each step, as 0.999; validation and the next stage
    then take the average. 0 for none."""
    train_bn: bool = False
    """Whether BatchNorm layers in the frozen part of the encoder train, statistics included."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    about: str
    stages: Mapping[str, Stage]
    """In the order in which they hand weights to each other."""
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What else the recipe sets, over the defaults of `config.Settings`."""


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
    # The rates are per rank and grow with their number; Adam's own normalisation makes that safe only after a
    # warm-up of some epochs. Cosine to a hundredth needs no epoch numbers to be tuned when the number of ranks
    # changes. Fine-tuning at 1e-6, as published, moves nothing within 5 epochs of 70 steps; ten times less than
    # the frozen stage's rate is usual and safe behind a warm-up, clipped gradients and averaged weights.
    # float16 makes a V100 two to three times as fast, and leaves room for 16 images of 320x480.
    "v100x8": Recipe(
        "for 8 V100: mixed precision, 16 images a GPU, warm-up, linear scaling, cosine, averaged weights",
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
    # For a hundred small generated images and an encoder that starts at random: most of the time goes into
    # the stage that trains everything.
    "demo": Recipe(
        "for a hundred small generated images and a random encoder: 15 epochs, minutes on two cores",
        {
            "frozen": Stage(encoder=0.0, epochs=3, lr=3e-3, warmup_steps=10),
            "partial": Stage(encoder=0.2, epochs=3, lr=2e-3, warmup_steps=10),
            "full": Stage(encoder=1.0, epochs=9, lr=2e-3, hold_epochs=3, decay=20.0, warmup_steps=10),
        },
    ),
}  # fmt: skip
