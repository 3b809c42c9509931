"""Predicts masks of new images, and writes a submission, or files of each picture."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cloudseg.core import atomic
from cloudseg.core.errors import DataError
from cloudseg.core.run import Run
from cloudseg.data.labels import CLASSES
from cloudseg.geo.bounds import Bounds
from cloudseg.geo.georeference import Georeference
from cloudseg.geo.layers import Layers
from cloudseg.results import export, inference, mosaic, postprocess, report, submission
from cloudseg.results.ensemble import Ensemble
from cloudseg.results.evaluation import finished
from cloudseg.results.probabilities import store_of
from cloudseg.results.scenes import Scenes
from cloudseg.results.sources import Pictures
from cloudseg.training.log import log_line, with_progress
from cloudseg.training.rank import Rank, on_rank_zero


@dataclasses.dataclass(frozen=True)
class Request:
    """What to predict and write."""

    runs: Sequence[Run]
    weights: Sequence[float] | None
    pictures: Pictures
    """Pictures that are predicted as they are. There may be none."""
    scenes: Scenes
    """Rasters that are cut into scenes. There may be none."""
    rules: Sequence[postprocess.Rule]
    out: Path
    """With `form` csv, a submission in the order of `sample`; with one of `export.FORMATS`, a folder."""
    form: str
    references: Mapping[str, Georeference]
    """What is known of the places and times of pictures and rasters, by name."""
    sample: Path | None
    scale: float
    """Degrees per pixel of rasters whose place is unknown; 0 if there are none."""
    flips: bool
    page: Path | None
    """HTML file that shows some of the pictures."""


def predict(request: Request, rank: Rank) -> None:
    """Write the masks of a folder's pictures and rasters.

    Raises UsageError if no stage is finished, or a rule needs a presence head that a run lacks; DataError for a picture
    that cannot be read or that changes meanwhile; Stopped after a signal, with the probabilities so far on disk.
    """
    rules = request.rules
    postprocess.check_head(rules, all(run.settings.presence_head for run in request.runs))
    of_pictures = _ensemble(request, request.pictures, rank)
    of_scenes = _ensemble(request, request.scenes, rank)

    def write() -> None:
        if request.form == "csv":
            _write_csv(of_pictures, rules, request.out, request.sample, rank)
        else:
            _write_files(of_pictures, of_scenes, request, rank)
        if request.page:
            predicted: list[tuple[Pictures | Scenes, Ensemble]] = [
                (request.pictures, of_pictures),
                (request.scenes, of_scenes),
            ]
            report.write_prediction(request.page, predicted, rules, request.runs)
            log_line(rank.comm, f"{request.page}: some of the pictures with their masks")

    on_rank_zero(rank, write)


def _ensemble(request: Request, source: Pictures | Scenes, rank: Rank) -> Ensemble:
    """The probabilities of a source's images, predicted unless they are on disk."""
    members = []
    if source.names:
        inference.find_digests(source, rank)
        for run in request.runs:
            stage = finished(run)[-1]
            store = store_of(run, stage, source, request.flips, run.probabilities)
            inference.fill(run, [(stage, store)], source, rank)
            members.append(store)
    return Ensemble(members, request.weights if members else None)


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


def _write_files(of_pictures: Ensemble, of_scenes: Ensemble, request: Request, rank: Rank) -> None:
    out, form = request.out, request.form
    out.mkdir(parents=True, exist_ok=True)
    names, count = [*request.pictures.names, *request.scenes.cut], 0
    for i in with_progress(rank.comm, "masks", len(names), len(names)):
        name = names[i]
        if name in request.scenes.cut:
            files = export.encoded(form, _mosaic(name, of_scenes, request))
        else:
            files = export.files(form, _prediction(name, of_pictures, request))
        for suffix, content in files.items():
            # The picture's suffix is kept, as there may be a.jpg and a.png.
            atomic.write(out / f"{name}{suffix}", content, sync=False)
            count += 1
        rank.heartbeat.progressed()
    log_line(rank.comm, f"{out}: {count} {form} files")


def _prediction(name: str, ensemble: Ensemble, request: Request) -> export.Prediction:
    probability, valid = ensemble.read(name), ensemble.valid(name)
    masks = postprocess.masks(probability, request.rules, ensemble.presence(name)) & valid
    reference = request.references.get(name, Georeference())
    return export.Prediction(name, masks, probability, valid, ensemble.size(name), reference)


def _mosaic(name: str, ensemble: Ensemble, request: Request) -> Layers:
    frame, reference = request.scenes.frames[name], request.references[name]
    blended = mosaic.blend(name, frame, request.scenes.cut[name], ensemble, request.rules, request.scenes.overlap)
    layers = Layers(name, blended.masks(request.rules), blended.probability, blended.valid, reference)
    if reference.bounds is None:
        return mosaic.at_picture(layers, request.scenes.bounds[name], request.scale)
    return dataclasses.replace(layers, reference=dataclasses.replace(reference, bounds=Bounds(*frame.edges)))
