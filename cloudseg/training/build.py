"""Builds the network, loss, data set and feed that a run's settings name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from cloudseg.core.config import Settings
from cloudseg.core.errors import UsageError
from cloudseg.core.run import Run
from cloudseg.data import image_size, sample_order, staging
from cloudseg.data.augment import Augmenter
from cloudseg.data.feed import Feed
from cloudseg.data.labels import CLASSES
from cloudseg.data.shards import Manifest, Shards
from cloudseg.nets import losses, models
from cloudseg.training import placement
from cloudseg.training.comm import Comm
from cloudseg.training.log import log_line


def build_network(settings: Settings, manifest: Manifest) -> models.Network:
    """Build the network of a run with random weights.

    With crops it is for images of any size, as validation and prediction use whole images.
    """
    size: models.Size = (None, None) if settings.crop else manifest.size
    return models.build(
        settings.network,
        size,
        settings.weights != "none",
        settings.batchnorm,
        settings.precision == "mixed",
        settings.presence_head,
    )


def training_samples(settings: Settings, manifest: Manifest) -> np.ndarray:
    """Numbers of the samples that a run trains on; see `sample_order.training_samples`."""
    return sample_order.training_samples(manifest, settings.fold, settings.train_images, settings.seed)


def build_loss(settings: Settings, manifest: Manifest) -> losses.Loss:
    """Build the loss of a run. Class weights are computed from the class areas of the training images."""
    training = [manifest.samples[i] for i in training_samples(settings, manifest)]
    height, width = manifest.size
    pixels = sum(height * width - sample.no_data for sample in training)
    areas = [sum(sample.areas[i] for sample in training) for i in range(len(CLASSES))]
    return losses.by_name(
        settings.loss,
        settings.positive_weight or losses.balanced(areas, pixels),
        settings.loss_weights,
        settings.label_smoothing,
        settings.empty_pairs,
    )


def open_shards(run: Run, comm: Comm) -> Shards:
    """Open the data set of a run. Raises UsageError as `data_of` does."""
    return open_data(data_of(run), comm)


def pseudo_labels_of(run: Run, stage: str) -> Manifest | None:
    """The pictures that `stage` has labelled, with their labels; None for a stage that labels none."""
    return Manifest.load(run.pseudo_labels(stage)) if run.settings.labels_pictures(stage) else None


def data_of(run: Run) -> Manifest:
    """The data set of a run. Raises UsageError if it is not the one that the run began with."""
    manifest = Manifest.load(run.settings.data)
    if run.made.get("data_sha256", manifest.digest) != manifest.digest:
        raise UsageError(
            f"{run.settings.data} is not what it was when {run.path} began; begin another run: {run.relaunch()}"
        )
    return manifest


def open_data(manifest: Manifest, comm: Comm) -> Shards:
    """Open a data set, from a copy on the node's local disk if CLOUDSEG_NODE_FOLDER names a folder for it."""
    if node_folder := os.path.expandvars(os.environ.get("CLOUDSEG_NODE_FOLDER", "")):
        if comm.local_rank == 0:
            log_line(comm, staging.copy_to_node(manifest, Path(node_folder)))
        comm.barrier()
        manifest = staging.on_node(manifest, Path(node_folder))
    return Shards(manifest)


def build_augmenter(settings: Settings, manifest: Manifest) -> Augmenter | None:
    """Build the augmentation of a run; None if training samples are the stored ones. Raises UsageError for crops that
    are larger than stored images."""
    if settings.augment == "none" and not settings.augment_also and not settings.crop:
        return None
    crop = image_size.training_size(manifest.size, settings.crop) if settings.crop else None
    partners = training_samples(settings, manifest)
    return Augmenter(manifest.size, settings.augment, settings.augment_also, crop, partners)


def open_feed(shards: Shards, settings: Settings, comm: Comm) -> Feed:
    """Open this rank's feed of training batches, with one worker process per spare CPU."""
    augment = build_augmenter(settings, shards.manifest)
    cpus = placement.threads_per_rank(os.environ, len(os.sched_getaffinity(0)), comm.local_size)
    return Feed(shards, settings.batch, augment, settings.seed, placement.feed_workers(os.environ, cpus))
