"""What would fail in the night fails at launch: settings held against the data and files that are there."""

from __future__ import annotations

from cloudseg.config import Settings, nearest
from cloudseg.data.batches import PRESETS
from cloudseg.data.shards import Manifest
from cloudseg.errors import UsageError
from cloudseg.nets import names, weights


def check(settings: Settings) -> None:
    """Raises UsageError, with what to type, for data, names, weights or numbers that training could not use."""
    manifest = Manifest.load(settings.data)
    for training, use in ((True, "train"), (False, "validate")):
        if not len(manifest.indices(settings.fold, training)):
            raise UsageError(f"fold {settings.fold}: {settings.data} has no image to {use}")
    _, encoder = names.parse(settings.network)
    names.check_loss(settings.loss)
    weights.require(settings.weights, encoder)
    if settings.augment not in PRESETS:
        raise UsageError(f"augment: there is no {settings.augment!r}{nearest(settings.augment, PRESETS)}")
    counts = {
        "batch": settings.batch,
        "checkpoint.every_steps": settings.checkpoint.every_steps,
        "checkpoint.keep": settings.checkpoint.keep,
    }
    for key, value in counts.items():
        if value < 1:
            raise UsageError(f"{key}: must be at least 1, not {value}")
    for name, stage in settings.stage.items():
        if stage.epochs < 1 or not 0 <= stage.encoder <= 1:
            raise UsageError(f"stage.{name}: epochs must be at least 1 and encoder between 0 and 1")
