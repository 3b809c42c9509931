"""Scores of a finished run on its validation fold, on any number of ranks."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from cloudseg.atomic import write_json
from cloudseg.data.labels import CLASSES
from cloudseg.errors import UsageError
from cloudseg.nets import scores
from cloudseg.results import postprocess
from cloudseg.run import EVALUATE, Run
from cloudseg.training import start
from cloudseg.training.claim import claimed
from cloudseg.training.parts import build_loss, build_network, open_shards
from cloudseg.training.rank import Rank
from cloudseg.training.validation import Validator


def evaluate(run: Run, rank: Rank) -> None:
    """Write thresholds.json and metrics.json of the last finished stage of `run`, metrics.json last.

    Raises UsageError if no stage is finished or others evaluate it at the same time, DataError if its weights are not
    those it wrote.
    """
    with claimed(run, EVALUATE, rank):
        _evaluate(run, rank)


def _evaluate(run: Run, rank: Rank) -> None:
    comm = rank.comm
    finished = [stage for stage in run.settings.stages if run.done(stage)]
    if not finished:
        raise UsageError(
            f"{run.path}: no stage is done yet; type: python -m cloudseg.launch --stages all --run {run.path}"
        )
    stage, settings = finished[-1], run.settings
    shards = open_shards(run, comm)
    samples = shards.manifest.indices(settings.fold, training=False)
    network = build_network(settings, shards.manifest)
    digest = start.load_best(run, stage, network.model)
    loss = build_loss(settings, shards.manifest)
    validation = Validator(
        network, loss, shards, samples, settings.batch, comm, postprocess.THRESHOLDS, rank.pulse.moves
    )()
    if comm.rank == 0:
        metrics = {
            "stage": stage,
            "weights_sha256": digest,
            "fold": settings.fold,
            "images": len(samples),
            "loss": validation.loss,
            **summary(validation.counts),
        }
        run.evaluation.mkdir(exist_ok=True)
        write_json(run.evaluation / "thresholds.json", named(postprocess.tune(validation.counts)))
        write_json(run.metrics, metrics)
        show(run, metrics)
    comm.barrier()


def summary(counts: np.ndarray) -> dict[str, Any]:
    """The scores that pixel counts (n, C, T, 3) over postprocess.THRESHOLDS give.

    `dice` is the competition's, with thresholds and areas that each half of the images got from the other half;
    `dice_untuned` has threshold 0.5 and no smallest area; `dice_all_empty` predicts nothing anywhere.
    `iou_per_class` is the intersection over the union of the pixels of all images.
    """
    tuned = postprocess.cross_tuned(counts)
    half = counts[:, :, postprocess.THRESHOLDS.index(0.5)]
    dice = scores.dice(tuned)
    return {
        "dice": float(dice.mean()),
        "dice_per_class": by_class(dice.mean(axis=0)),
        "iou_per_class": by_class(scores.iou(tuned.sum(axis=0))),
        "dice_untuned": float(scores.dice(half).mean()),
        "dice_all_empty": scores.all_empty(half),
    }


def by_class(values: np.ndarray) -> dict[str, float]:
    return {name: float(value) for name, value in zip(CLASSES, values, strict=True)}


def named(choices: list[postprocess.Choice]) -> dict[str, Any]:
    """What `predict` needs to turn probabilities into masks, chosen on all validation images."""
    return {
        name: {"threshold": postprocess.THRESHOLDS[choice.threshold], "min_area": choice.area}
        for name, choice in zip(CLASSES, choices, strict=True)
    }


def show(run: Run, metrics: dict[str, Any]) -> None:
    per_class = ", ".join(f"{name} {value:.3f}" for name, value in metrics["dice_per_class"].items())
    print(
        f"dice {metrics['dice']:.4f} on {metrics['images']} validation images ({per_class});\n"
        f"untuned {metrics['dice_untuned']:.4f}, all empty {metrics['dice_all_empty']:.4f}; {run.metrics}"
    )
    sys.stdout.flush()
