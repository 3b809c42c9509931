"""A run's results on its validation images: probabilities, rules, scores, figures and report."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cloudseg.core import atomic
from cloudseg.core.errors import UsageError, to_type
from cloudseg.core.run import EVALUATE, Run
from cloudseg.data.labels import CLASSES
from cloudseg.data.shards import Manifest, Shards
from cloudseg.nets import scores
from cloudseg.results import inference, postprocess, report, scoring
from cloudseg.results.ensemble import Ensemble
from cloudseg.results.probabilities import Store, store_of
from cloudseg.results.sources import Samples
from cloudseg.training.build import open_shards
from cloudseg.training.log import log_line
from cloudseg.training.rank import Rank, on_rank_zero
from cloudseg.training.stage_lease import hold_stage

TABLE = ("image", "stage", *(f"{what}_{name.lower()}" for name in CLASSES for what in ("dice", "predicted", "truth")))
"""Columns of images.csv."""


def evaluate(
    runs: Sequence[Run],
    weights: Sequence[float] | None,
    out: Path | None,
    flips: bool,
    rank: Rank,
    costs: Callable[[], Sequence[report.Table]],
) -> None:
    """Write thresholds.json, images.csv, figures, report.html and, last, metrics.json: of one run, stage by stage, into
    its folder; of several, as one, into `out`; of a cross-validation, its folds as one, into its folder. Each image is
    judged by the runs that did not train on it. `costs` is asked, by rank 0, what the stages of one run cost.

    Raises UsageError if no stage is finished, if runs do not go together, or if others evaluate at the same time;
    Stopped on a signal, with the probabilities so far on disk.
    """
    if out is None:
        with hold_stage(runs[0], EVALUATE, rank):
            if runs[0].settings.folds:
                _check_equal(runs[0].members())
                _several(runs[0].members(), weights, runs[0].evaluation, flips, rank)
            else:
                _one(runs[0], flips, rank, costs)
    else:
        _several(runs, weights, out, flips, rank)


def finished(run: Run) -> list[str]:
    """The stages that are done. Raises UsageError if none is."""
    stages = [stage for stage in run.settings.stages if run.done(stage)]
    if not stages:
        launch = to_type("cloudseg.launch", "--stages", "all", "--run", run.path)
        raise UsageError(f"{run.path}: no stage is done yet; type: {launch}")
    return stages


def validation(run: Run, shards: Shards) -> Samples:
    """The images that the run did not train on."""
    return Samples(shards, shards.manifest.indices(run.settings.fold, training=False))


def stores(run: Run, stages: Sequence[str], source: Samples, flips: bool) -> dict[str, Store]:
    """Where the probabilities of each stage lie."""
    return {stage: store_of(run, stage, source, flips, run.probabilities) for stage in stages}


def _one(run: Run, flips: bool, rank: Rank, costs: Callable[[], Sequence[report.Table]]) -> None:
    stages = finished(run)
    source = validation(run, open_shards(run, rank.comm))
    found = stores(run, stages, source, flips)
    inference.fill(run, list(found.items()), source, rank)

    def judge() -> None:
        by_stage = {}
        for stage, store in found.items():
            log_line(rank.comm, f"{stage}: scoring {len(store)} images")
            by_stage[stage] = _score(Ensemble([store]), source, rank)
        last = stages[-1]
        metrics = {
            "stage": last,
            "weights_sha256": found[last].about["weights_sha256"],
            "fold": run.settings.fold,
            "flips": flips,
            **scoring.summary(by_stage[last], source.names),
            "per_stage": {stage: _brief(each) for stage, each in by_stage.items()},
        }
        _write(run.evaluation, source, by_stage)
        report.write(run, metrics, by_stage[last], source, Ensemble([found[last]]), costs())
        atomic.write_json(run.metrics, metrics)
        _show(run.metrics, metrics)

    on_rank_zero(rank, judge)


def _several(runs: Sequence[Run], weights: Sequence[float] | None, out: Path, flips: bool, rank: Rank) -> None:
    _check_together(runs)
    shards = open_shards(runs[0], rank.comm)
    members = []
    for run in runs:
        last, source = finished(run)[-1], validation(run, shards)
        members.append(store_of(run, last, source, flips, run.probabilities))
        inference.fill(run, [(last, members[-1])], source, rank)
    ensemble = Ensemble(members, weights)
    numbers = {shards.name(number): number for run in runs for number in validation(run, shards).numbers}
    everything = Samples(shards, np.array([numbers[name] for name in ensemble.names]))

    def judge() -> None:
        log_line(rank.comm, f"{len(runs)} runs: scoring {len(ensemble.names)} images")
        found = _score(ensemble, everything, rank)
        metrics = {
            "runs": [str(run.path) for run in runs],
            "weights": list(weights or [1.0] * len(runs)),
            "folds": [run.settings.fold for run in runs],
            "weights_sha256": [member.about["weights_sha256"] for member in members],
            "flips": flips,
            **scoring.summary(found, everything.names),
        }
        _write(out, everything, {"ensemble": found})
        atomic.write_json(out / "metrics.json", metrics)
        _show(out / "metrics.json", metrics)

    on_rank_zero(rank, judge)


def _check_equal(folds: Sequence[Run]) -> None:
    """Raises UsageError if some folds of a cross-validation have come further than others."""
    done = {run.path.name: [stage for stage in run.settings.stages if run.done(stage)] for run in folds}
    last = {name: stages[-1] if stages else "none" for name, stages in done.items()}
    if len(set(last.values())) > 1 or "none" in last.values():
        raise UsageError(
            f"folds have come to different stages, or to none: "
            f"{', '.join(f'{name} to {stage}' for name, stage in last.items())}; "
            f"type: {to_type('cloudseg.resume', folds[0].path.parent)}"
        )


def _check_together(runs: Sequence[Run]) -> None:
    """Raises UsageError if runs have other data, or folds of which some are the same and some are not."""
    digests = {Manifest.load(run.settings.data).digest for run in runs}
    if len(digests) > 1:
        raise UsageError("these runs were trained on different data sets, so their images cannot be compared")
    folds = [run.settings.fold for run in runs]
    if len({folds.count(fold) for fold in folds}) > 1:
        raise UsageError(f"folds {folds}: give as many runs of each fold, or images would be judged unequally")


def _score(ensemble: Ensemble, source: Samples, rank: Rank) -> scoring.Scoring:
    def read(i: int) -> tuple[np.ndarray, np.ndarray]:
        return ensemble.read(source.names[i]), source.truth(i)

    return scoring.score(read, len(source.names), rank.heartbeat.progressed)


def _brief(found: scoring.Scoring) -> dict[str, Any]:
    tuned, untuned = scores.dice(found.tuned), scores.dice(found.untuned)
    return {
        "dice": float(tuned.mean()),
        "dice_interval": scoring.interval(tuned.mean(axis=1)),
        "dice_untuned": float(untuned.mean()),
        "dice_untuned_interval": scoring.interval(untuned.mean(axis=1)),
        "dice_per_class": scoring.by_class(tuned.mean(axis=0)),
    }


def _write(folder: Path, source: Samples, by_stage: dict[str, scoring.Scoring]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    last = list(by_stage.values())[-1]
    atomic.write_json(folder / "thresholds.json", postprocess.to_table(last.rules))
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(TABLE)
    for stage, found in by_stage.items():
        dice = scores.dice(found.tuned)
        for i, name in enumerate(source.names):
            facts = [(f"{dice[i, c]:.6f}", *found.tuned[i, c, 1:]) for c in range(len(CLASSES))]
            rows.writerow([name, stage, *(each for of_class in facts for each in of_class)])
    atomic.write(folder / "images.csv", text.getvalue().encode())


def _show(path: Path, metrics: dict[str, Any]) -> None:
    low, high = metrics["dice_interval"]
    per_class = ", ".join(f"{name} {value:.3f}" for name, value in metrics["dice_per_class"].items())
    print(
        f"dice {metrics['dice']:.4f} ({low:.3f} to {high:.3f}) on {metrics['images']} images ({per_class});\n"
        f"untuned {metrics['dice_untuned']:.4f}, all empty {metrics['dice_all_empty']:.4f}; {path}"
    )
    sys.stdout.flush()
