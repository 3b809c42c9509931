"""Evaluates runs on their validation images: probabilities, rules, scores, figures and report."""

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
from cloudseg.results import fixed_rules, inference, mixture, other_data, postprocess, report, scoring
from cloudseg.results.ensemble import Ensemble
from cloudseg.results.probabilities import Store, stack, store_of
from cloudseg.results.sources import Samples
from cloudseg.training.build import data_of, open_data, open_shards
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
    choose_weights: bool = False,
) -> None:
    """Write thresholds.json, images.csv, figures, report.html and, last, metrics.json.

    One run is evaluated stage by stage, into its folder; several runs as an ensemble, into `out`; a cross-validation as
    the ensemble of its folds, into its folder. Each image is scored with the runs that did not train on it. `weights`
    are those of the runs; with `choose_weights`, `mixture.choose` chooses them. `costs` returns, on rank 0, the rows of
    the report's table of costs.

    Raises UsageError if no stage is finished, if runs cannot be combined, or if others evaluate the run at the same
    time; Stopped after a signal, with the probabilities so far on disk.
    """
    if out is None:
        with hold_stage(runs[0], EVALUATE, rank):
            if runs[0].settings.folds:
                _check_same_stage(runs[0].members())
                _evaluate_ensemble(runs[0].members(), weights, runs[0].evaluation, flips, rank)
            else:
                _evaluate_run(runs[0], flips, rank, costs)
    else:
        _evaluate_ensemble(runs, weights, out, flips, rank, choose_weights)


def evaluate_on(request: other_data.Request, rank: Rank) -> None:
    """Score runs on all images of another data set, with rules that were chosen before.

    Writes thresholds.json, images.csv, report.html and, last, metrics.json. Every run predicts every image; masks are
    cut from the mean of the probabilities.

    Raises UsageError if no stage is finished, or the data of a run has changed since it began; Stopped after a signal,
    with the probabilities so far on disk.
    """
    runs, fixed = request.runs, request.fixed
    stages = [finished(run)[-1] for run in runs]
    shards = open_data(request.data, rank.comm)
    source = Samples(shards, np.arange(len(shards)))
    members = [
        store_of(run, stage, source, fixed.flips, run.probabilities) for run, stage in zip(runs, stages, strict=True)
    ]
    ensemble = Ensemble(members, fixed.weights)
    seen: list[str] = []

    def find_seen() -> None:
        if fixed.warning:
            print(f"warning: {fixed.warning}", file=sys.stderr, flush=True)
        trained_on = [(data_of(run), run.settings.fold) for run in runs]
        seen.extend(other_data.seen_in_training(shards, trained_on, rank.heartbeat.progressed))
        if seen:
            print(
                f"warning: {len(seen)} of the {len(shards)} images of {request.data.folder} were training images, for "
                f"example {seen[0]}; the scores are too high for new images",
                file=sys.stderr,
                flush=True,
            )

    on_rank_zero(rank, find_seen)
    for run, stage, store in zip(runs, stages, members, strict=True):
        inference.fill(run, [(stage, store)], source, rank)

    def score_and_write() -> None:
        log_line(rank.comm, f"scoring {len(shards)} images of {request.data.folder} with the rules of {fixed.source}")
        scored = _score_with(fixed.rules, ensemble, source, rank)
        summary = scoring.summary(scored, source.names)
        del summary["halves"]  # no rule is chosen on a half of these images
        metrics = {
            "data": str(request.data.folder.resolve()),
            "data_sha256": request.data.digest,
            "rules_from": str(fixed.source),
            "runs": [str(run.path) for run in runs],
            "stages": stages,
            "weights": list(fixed.weights),
            "weights_sha256": [member.about["weights_sha256"] for member in members],
            "flips": fixed.flips,
            "seen_in_training": len(seen),
            **summary,
        }
        _write(request.out, source, {stages[0] if len(runs) == 1 else "ensemble": scored})
        report.write_on_other_data(request.out / "report.html", metrics, scored, source, ensemble)
        atomic.write_json(request.out / "metrics.json", metrics)
        _print_scores(request.out / "metrics.json", metrics)

    on_rank_zero(rank, score_and_write)


def finished(run: Run) -> list[str]:
    """The finished stages of a run. Raises UsageError if there is none."""
    stages = [stage for stage in run.settings.stages if run.done(stage)]
    if not stages:
        launch = to_type("cloudseg.launch", "--stages", "all", "--run", run.path)
        raise UsageError(f"{run.path}: no stage is done yet; type: {launch}")
    return stages


def validation(run: Run, shards: Shards) -> Samples:
    """The validation images of a run."""
    return Samples(shards, shards.manifest.indices(run.settings.fold, training=False))


def stores(run: Run, stages: Sequence[str], source: Samples, flips: bool) -> dict[str, Store]:
    """The store of probabilities of each stage."""
    return {stage: store_of(run, stage, source, flips, run.probabilities) for stage in stages}


def _evaluate_run(run: Run, flips: bool, rank: Rank, costs: Callable[[], Sequence[report.Table]]) -> None:
    stages = finished(run)
    source = validation(run, open_shards(run, rank.comm))
    stage_stores = stores(run, stages, source, flips)
    inference.fill(run, list(stage_stores.items()), source, rank)

    def score_and_write() -> None:
        by_stage = {}
        for stage, store in stage_stores.items():
            log_line(rank.comm, f"{stage}: scoring {len(store)} images")
            by_stage[stage] = _score(Ensemble([store]), source, rank)
        last = stages[-1]
        metrics = {
            "stage": last,
            "weights_sha256": stage_stores[last].about["weights_sha256"],
            "fold": run.settings.fold,
            "flips": flips,
            **scoring.summary(by_stage[last], source.names),
            "per_stage": {stage: _stage_summary(each) for stage, each in by_stage.items()},
        }
        _write(run.evaluation, source, by_stage)
        report.write(run, metrics, by_stage[last], source, Ensemble([stage_stores[last]]), costs())
        atomic.write_json(run.metrics, metrics)
        _print_scores(run.metrics, metrics)

    on_rank_zero(rank, score_and_write)


def _evaluate_ensemble(
    runs: Sequence[Run],
    weights: Sequence[float] | None,
    out: Path,
    flips: bool,
    rank: Rank,
    choose_weights: bool = False,
) -> None:
    _check_compatible(runs)
    if choose_weights:
        _check_same_fold(runs)
    shards = open_shards(runs[0], rank.comm)
    members = []
    for run in runs:
        last, source = finished(run)[-1], validation(run, shards)
        members.append(store_of(run, last, source, flips, run.probabilities))
        inference.fill(run, [(last, members[-1])], source, rank)
    names = Ensemble(members).names
    numbers = {shards.name(number): number for run in runs for number in validation(run, shards).numbers}
    samples = Samples(shards, np.array([numbers[name] for name in names]))

    def score_and_write() -> None:
        used = _chosen_weights(members, samples, rank) if choose_weights else weights or [1.0] * len(runs)
        ensemble = Ensemble(members, used)
        log_line(rank.comm, f"{len(runs)} runs: scoring {len(names)} images")
        scored = _score(ensemble, samples, rank)
        metrics = {
            "runs": [str(run.path) for run in runs],
            "weights": list(used),
            "folds": [run.settings.fold for run in runs],
            "weights_sha256": [member.about["weights_sha256"] for member in members],
            "flips": flips,
            **scoring.summary(scored, samples.names),
        }
        _write(out, samples, {"ensemble": scored})
        atomic.write_json(out / "metrics.json", metrics)
        _print_scores(out / "metrics.json", metrics)

    on_rank_zero(rank, score_and_write)


def _chosen_weights(members: Sequence[Store], samples: Samples, rank: Rank) -> Sequence[float]:
    equal = Ensemble(members)

    def read(i: int) -> tuple[Sequence[np.ndarray], np.ndarray]:
        rank.heartbeat.progressed()
        return equal.read_each(samples.names[i]), samples.truth(i)

    chosen = mixture.choose(read, len(samples.names))
    log_line(rank.comm, f"chosen weights: {' '.join(f'{weight:g}' for weight in chosen)}")
    return chosen


def _check_same_fold(runs: Sequence[Run]) -> None:
    """Raises UsageError unless all runs have the same validation fold."""
    folds = [run.settings.fold for run in runs]
    if len(set(folds)) > 1:
        raise UsageError(
            f"--choose-weights: the runs validate on folds {folds}, and weights are chosen on images that all of them "
            "predict; give runs of one fold, or leave it out"
        )


def _check_same_stage(folds: Sequence[Run]) -> None:
    """Raises UsageError unless all folds of a cross-validation have finished the same stage."""
    done = {run.path.name: [stage for stage in run.settings.stages if run.done(stage)] for run in folds}
    last = {name: stages[-1] if stages else "none" for name, stages in done.items()}
    if len(set(last.values())) > 1 or "none" in last.values():
        raise UsageError(
            f"the folds have not finished the same stage: "
            f"{', '.join(f'{name} {stage}' for name, stage in last.items())}; "
            f"type: {to_type('cloudseg.resume', folds[0].path.parent)}"
        )


def _check_compatible(runs: Sequence[Run]) -> None:
    """Raises UsageError if runs have different data sets, or different numbers of runs per fold."""
    digests = {Manifest.load(run.settings.data).digest for run in runs}
    if len(digests) > 1:
        raise UsageError("these runs were trained on different data sets, so their images cannot be compared")
    folds = [run.settings.fold for run in runs]
    if len({folds.count(fold) for fold in folds}) > 1:
        raise UsageError(f"folds {folds}: give the same number of runs of each fold, as all images are scored alike")


def _score(ensemble: Ensemble, source: Samples, rank: Rank) -> scoring.Scoring:
    def read(i: int) -> tuple[np.ndarray, np.ndarray]:
        return ensemble.read(source.names[i]), source.truth(i)

    presence = stack(ensemble.presence(name) for name in source.names)
    return scoring.score(read, len(source.names), rank.heartbeat.progressed, presence)


def _score_with(rules: Sequence[postprocess.Rule], ensemble: Ensemble, source: Samples, rank: Rank) -> scoring.Scoring:
    def read(i: int) -> tuple[np.ndarray, np.ndarray]:
        return ensemble.read(source.names[i]), source.truth(i)

    def masks(i: int, probability: np.ndarray) -> np.ndarray:
        return postprocess.masks(probability, rules, ensemble.presence(source.names[i]))

    return fixed_rules.score(read, masks, rules, len(source.names), rank.heartbeat.progressed)


def _stage_summary(scored: scoring.Scoring) -> dict[str, Any]:
    tuned, untuned = scores.dice(scored.tuned), scores.dice(scored.untuned)
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
    for stage, scored in by_stage.items():
        dice = scores.dice(scored.tuned)
        for i, name in enumerate(source.names):
            cells = [(f"{dice[i, c]:.6f}", *scored.tuned[i, c, 1:]) for c in range(len(CLASSES))]
            rows.writerow([name, stage, *(cell for of_class in cells for cell in of_class)])
    atomic.write(folder / "images.csv", text.getvalue().encode())


def _print_scores(path: Path, metrics: dict[str, Any]) -> None:
    low, high = metrics["dice_interval"]
    per_class = ", ".join(f"{name} {value:.3f}" for name, value in metrics["dice_per_class"].items())
    print(
        f"dice {metrics['dice']:.4f} ({low:.3f} to {high:.3f}) on {metrics['images']} images ({per_class});\n"
        f"untuned {metrics['dice_untuned']:.4f}, all empty {metrics['dice_all_empty']:.4f}; {path}"
    )
    sys.stdout.flush()
