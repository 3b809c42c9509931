"""Checks settings against the data and the weight files before jobs are queued."""

from __future__ import annotations

import math
import re
from pathlib import Path

from cloudseg.core.config import Settings, nearest
from cloudseg.core.errors import UsageError
from cloudseg.core.recipes import DECAY_ON, OPTIMIZERS, PSEUDO, SCHEDULES, Stage
from cloudseg.data import image_size, picture_files, pseudo_labels
from cloudseg.data.batches import ALSO, PRESETS
from cloudseg.data.labels import CLASSES
from cloudseg.data.sample_order import training_samples
from cloudseg.data.shards import Manifest
from cloudseg.nets import names, weights

RESERVED = ("evaluate", "preprocess")
"""Names of other jobs of a chain, which a stage must not have."""


def check(settings: Settings) -> None:
    """Raises UsageError, with what to type, for data, names, weights or numbers that training cannot use."""
    check_data(settings)
    check_settings(settings)
    stored = Manifest.load(settings.data).size
    names.require_size(settings.network, stored)
    image_size.training_size(stored, settings.crop)


def check_run(settings: Settings, data_to_come: bool) -> None:
    """`check`; with `data_to_come`, because the data set does not exist yet, `check_settings`."""
    (check_settings if data_to_come else check)(settings)


def check_data(settings: Settings) -> None:
    """The part of `check` for the data set: folds with images to train, as many as set, and to validate."""
    manifest = Manifest.load(settings.data)
    if len(set(settings.folds)) < len(settings.folds):
        raise UsageError(f"folds: {list(settings.folds)} names one twice")
    for fold in settings.folds or (settings.fold,):
        for training, use in ((True, "train"), (False, "validate")):
            if not len(manifest.indices(fold, training)):
                raise UsageError(f"fold {fold}: {settings.data} has no image to {use}")
        training_samples(manifest, fold, settings.train_images, settings.seed)
    if settings.unlabelled:
        pseudo_labels.check_names(picture_files.names(Path(settings.unlabelled), "--unlabelled"), manifest)


def check_settings(settings: Settings) -> None:
    """The part of `check` that does not read the data set."""
    _, encoder = names.parse(settings.network)
    for key, value, known in (
        ("loss", settings.loss, names.LOSSES),
        ("empty_pairs", settings.empty_pairs, names.EMPTY_PAIRS),
        ("precision", settings.precision, names.PRECISIONS),
        ("compression", settings.compression, names.COMPRESSIONS),
        ("augment", settings.augment, PRESETS),
        *(("augment_also", value, ALSO) for value in settings.augment_also),
    ):
        if value not in known:
            raise UsageError(f"{key}: there is no {value!r}{nearest(value, known)}")
    if encoder in names.OWN and settings.weights != "none":
        raise UsageError(f"weights: {encoder} has no pretrained encoder; type: --set weights=none")
    weights.require(settings.weights, encoder)
    _check_positive_weight(settings)
    _check_loss_weights(settings)
    _check_label_smoothing(settings)
    _check_presence_weight(settings)
    for key, number in (
        ("batch", settings.batch),
        ("checkpoint.every_steps", settings.checkpoint.every_steps),
        ("checkpoint.keep", settings.checkpoint.keep),
    ):
        if number < 1:
            raise UsageError(f"{key}: must be at least 1, not {number}")
    if len(set(settings.augment_also)) < len(settings.augment_also):
        raise UsageError(f"augment_also: {list(settings.augment_also)} names one twice")
    image_size.check_crop(settings.crop)
    if settings.crop:
        names.require_any_size(settings.network)
    if settings.train_images < 0:
        raise UsageError(f"train_images: must be at least 0, not {settings.train_images}; 0 is all")
    if not settings.checkpoint.every_minutes > 0:
        raise UsageError(f"checkpoint.every_minutes: must be above 0, not {settings.checkpoint.every_minutes:g}")
    if not settings.stages:
        raise UsageError("stages: there must be at least one")
    for name in settings.stages:
        if not re.fullmatch("[a-z][a-z0-9_-]*", name) or name in RESERVED:
            raise UsageError(
                f"stages: {name!r} is no name for a stage: lower-case letters, digits, - and _; not {RESERVED[0]}"
            )
        _check_stage(f"stage.{name}", settings.stage[name])
    _check_weight_decay(settings)
    _check_pseudo_labels(settings)


def _check_positive_weight(settings: Settings) -> None:
    given = settings.positive_weight
    if given and settings.loss != "weighted_bce":
        raise UsageError(f"positive_weight: loss {settings.loss!r} does not use it; add --set loss=weighted_bce")
    if len(given) not in (0, 1, len(CLASSES)) or not all(weight > 0 for weight in given):
        raise UsageError(
            f"positive_weight: one number above 0, or one for each of {', '.join(CLASSES)}; not {list(given)}"
        )


def _check_loss_weights(settings: Settings) -> None:
    given = settings.loss_weights
    if given and settings.loss not in names.SUMS:
        raise UsageError(
            f"loss_weights: loss {settings.loss!r} has no two parts; it must be one of {', '.join(names.SUMS)}"
        )
    if len(given) not in (0, 2) or not all(0 < weight < math.inf for weight in given):
        raise UsageError(f"loss_weights: two finite numbers above 0, as [0.75, 0.25]; not {list(given)}")


def _check_label_smoothing(settings: Settings) -> None:
    share = settings.label_smoothing
    if not 0 <= share < 1:
        raise UsageError(f"label_smoothing: must be at least 0 and below 1, not {share:g}")
    if share and settings.loss not in names.CROSS_ENTROPIES:
        raise UsageError(
            f"label_smoothing: loss {settings.loss!r} does not use it; it must be one of "
            f"{', '.join(names.CROSS_ENTROPIES)}"
        )


def _check_presence_weight(settings: Settings) -> None:
    weight = settings.presence_weight
    if weight != Settings.presence_weight and not settings.presence_head:
        raise UsageError("presence_weight: the network has no presence head; add --set presence_head=true")
    if not 0 < weight < math.inf:
        raise UsageError(f"presence_weight: must be above 0 and finite, not {weight:g}")


def _check_pseudo_labels(settings: Settings) -> None:
    if not settings.unlabelled:
        for key in ("pseudo_sure", "pseudo_weight"):
            if getattr(settings, key) != getattr(Settings, key):
                raise UsageError(f"{key}: there are no pictures to label; add: --unlabelled DIR")
        if PSEUDO in settings.stages:
            raise UsageError("stages: pseudo has no pictures to label; add: --unlabelled DIR")
        return
    picture_files.names(Path(settings.unlabelled), "--unlabelled")
    if settings.stages[0] == PSEUDO:
        raise UsageError("stages: before pseudo there must be a stage whose network labels the pictures")
    if PSEUDO not in settings.stages:
        raise UsageError("unlabelled: the run has no stage pseudo; add it to `stages`, or leave out unlabelled")
    if not 0.5 < settings.pseudo_sure < 1:
        raise UsageError(f"pseudo_sure: must be above 0.5 and below 1, not {settings.pseudo_sure:g}")
    if not 0 < settings.pseudo_weight < math.inf:
        raise UsageError(f"pseudo_weight: must be above 0 and finite, not {settings.pseudo_weight:g}")


def _check_stage(key: str, stage: Stage) -> None:
    for field, known in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("decay_on", DECAY_ON)):
        if (value := getattr(stage, field)) not in known:
            raise UsageError(f"{key}.{field}: there is no {value!r}{nearest(value, known)}")
    limits = {
        "epochs": (1, math.inf),
        "encoder": (0, 1),
        "lr": (0, math.inf),
        "hold_epochs": (0, math.inf),
        "decay": (1, math.inf),
        "patience": (1, math.inf),
        "factor": (0, 1),
        "warmup_steps": (0, math.inf),
        "early_stop": (0, math.inf),
        "clip": (0, math.inf),
        "accumulate": (1, math.inf),
        "ema": (0, 1),
        "momentum": (0, 1),
        "weight_decay": (0, math.inf),
        "swa": (0, stage.epochs),
    }
    for field, (least, most) in limits.items():
        if not least <= (value := getattr(stage, field)) <= most:
            upper = "" if most == math.inf else f" and at most {most}"
            raise UsageError(f"{key}.{field}: must be at least {least}{upper}, not {value:g}")
        if value == math.inf:
            raise UsageError(f"{key}.{field}: must be finite")
    if not 0 < stage.encoder_lr <= 1:
        raise UsageError(f"{key}.encoder_lr: must be above 0 and at most 1, not {stage.encoder_lr:g}")
    if stage.encoder_lr != 1 and not stage.encoder and not stage.train_bn:
        raise UsageError(f"{key}.encoder_lr: the encoder does not train; set {key}.encoder above 0, or leave this out")
    if stage.decay_on != "all" and not stage.weight_decay:
        raise UsageError(
            f"{key}.decay_on: there is no weight decay; add --set {key}.optimizer=adamw --set {key}.weight_decay=1e-2"
        )
    if stage.swa and stage.early_stop:
        raise UsageError(
            f"{key}.swa: early stopping may end the stage before its last epochs; add --set {key}.early_stop=0"
        )


def _check_weight_decay(settings: Settings) -> None:
    stages = {name: settings.stage[name] for name in settings.stages}
    wrong = [name for name, stage in stages.items() if stage.weight_decay and stage.optimizer != "adamw"]
    if wrong:
        add = " ".join(f"--set stage.{name}.optimizer=adamw" for name in wrong)
        optimizer = stages[wrong[0]].optimizer
        raise UsageError(f"stage.{wrong[0]}.weight_decay: {optimizer} does not use it; add {add}")
