"""Predicts masks of new images, and writes a submission, or files of each picture."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cloudseg.core import atomic
from cloudseg.core.errors import DataError
from cloudseg.core.run import Run
from cloudseg.data.labels import CLASSES
from cloudseg.geo.georeference import Georeference
from cloudseg.results import export, inference, postprocess, report, submission
from cloudseg.results.ensemble import Ensemble
from cloudseg.results.evaluation import finished
from cloudseg.results.probabilities import store_of
from cloudseg.results.sources import Pictures
from cloudseg.training.log import log_line, with_progress
from cloudseg.training.rank import Rank, on_rank_zero


def predict(
    runs: Sequence[Run],
    weights: Sequence[float] | None,
    source: Pictures,
    rules: Sequence[postprocess.Rule],
    out: Path,
    form: str,
    references: Mapping[str, Georeference],
    sample: Path | None,
    flips: bool,
    page: Path | None,
    rank: Rank,
) -> None:
    """Write the masks of a folder's pictures.

    With `form` csv, `out` is a submission in the order of `sample`; with one of `export.FORMATS`, a folder with the
    files of each picture, at the picture's size. `references` has what is known of the pictures' places and times, by
    name. `page` is an HTML file that shows some of the pictures.

    Raises UsageError if no stage is finished, or a rule needs a presence head that a run lacks; DataError for a picture
    that cannot be read or that changes meanwhile; Stopped after a signal, with the probabilities so far on disk.
    """
    postprocess.check_head(rules, all(run.settings.presence_head for run in runs))
    inference.find_digests(source, rank)
    members = []
    for run in runs:
        stage = finished(run)[-1]
        store = store_of(run, stage, source, flips, run.probabilities)
        inference.fill(run, [(stage, store)], source, rank)
        members.append(store)
    ensemble = Ensemble(members, weights)

    def write() -> None:
        if form == "csv":
            _write_csv(ensemble, rules, out, sample, rank)
        else:
            _write_files(ensemble, rules, out, form, references, rank)
        if page:
            report.write_prediction(page, source, ensemble, rules, runs)
            log_line(rank.comm, f"{page}: some of the pictures with their masks")

    on_rank_zero(rank, write)


def _write_csv(
    ensemble: Ensemble, rules: Sequence[postprocess.Rule], out: Path, sample: Path | None, rank: Rank
) -> None:
    @functools.lru_cache(maxsize=1)  # the rows of an image are consecutive
    def image_masks(name: str) -> np.ndarray:
        rank.heartbeat.progressed()
        return postprocess.masks(ensemble.read(name), rules, ensemble.presence(name)) & ensemble.valid(name)

    rows = submission.names(sample) if sample else ((name, label) for name in ensemble.names for label in CLASSES)
    out.parent.mkdir(parents=True, exist_ok=True)
    count, not_empty = submission.write(out, rows, lambda name, label: image_masks(name)[CLASSES.index(label)])
    print(f"{out}: {count} rows, {not_empty} with a mask")
    if problems := submission.check(out, sample):
        raise DataError(f"{out} is not a valid submission: {problems[0]}")
    sys.stdout.flush()


def _write_files(
    ensemble: Ensemble,
    rules: Sequence[postprocess.Rule],
    out: Path,
    form: str,
    references: Mapping[str, Georeference],
    rank: Rank,
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    names, count = ensemble.names, 0
    for i in with_progress(rank.comm, "masks", len(names), len(names)):
        name = names[i]
        probability, valid = ensemble.read(name), ensemble.valid(name)
        masks = postprocess.masks(probability, rules, ensemble.presence(name)) & valid
        reference = references.get(name, Georeference())
        prediction = export.Prediction(name, masks, probability, valid, ensemble.size(name), reference)
        for suffix, content in export.files(form, prediction).items():
            # The picture's suffix is kept, as there may be a.jpg and a.png.
            atomic.write(out / f"{name}{suffix}", content, sync=False)
            count += 1
        rank.heartbeat.progressed()
    log_line(rank.comm, f"{out}: {count} {form} files")
