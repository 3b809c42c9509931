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
class Inputs:
    """What to predict, and how."""

    runs: Sequence[Run]
    weights: Sequence[float] | None
    pictures: Pictures
    """Pictures that are predicted as they are. There may be none."""
    scenes: Scenes
    """Rasters that are cut into scenes. There may be none."""
    references: Mapping[str, Georeference]
    """What is known of the places and times of pictures and rasters, by name."""
    rules: Sequence[postprocess.Rule]
    flips: bool
    scale: float = 0.0
    """Degrees per pixel of rasters whose place is unknown; 0 if there are none."""


@dataclasses.dataclass(frozen=True)
class Output:
    """What to write of a prediction."""

    path: Path
    """With `form` csv, a submission in the order of `sample`; with one of `export.FORMATS`, a folder."""
    form: str
    sample: Path | None
    page: Path | None
    """HTML file that shows some of the pictures."""


@dataclasses.dataclass(frozen=True)
class Predicted:
    """The probabilities of all pictures and scenes."""

    inputs: Inputs
    of_pictures: Ensemble
    of_scenes: Ensemble

    def prediction(self, name: str) -> export.Prediction:
        """Of a picture that was predicted as it is."""
        ensemble = self.of_pictures
        probability, valid = ensemble.read(name), ensemble.valid(name)
        masks = postprocess.masks(probability, self.inputs.rules, ensemble.presence(name)) & valid
        reference = self.inputs.references.get(name, Georeference())
        return export.Prediction(name, masks, probability, valid, ensemble.size(name), reference)

    def mosaic(self, name: str) -> Layers:
        """Of a raster that was cut into scenes: on the grid of the globe, or, without a place, at its pixels."""
        scenes, reference = self.inputs.scenes, self.inputs.references[name]
        frame, rules = scenes.frames[name], self.inputs.rules
        blended = mosaic.blend(name, frame, scenes.cut[name], self.of_scenes, rules, scenes.overlap)
        layers = Layers(name, blended.masks(rules), blended.probability, blended.valid, reference)
        if reference.bounds is None:
            return mosaic.at_picture(layers, scenes.bounds[name], self.inputs.scale)
        return dataclasses.replace(layers, reference=dataclasses.replace(reference, bounds=Bounds(*frame.edges)))


def infer(inputs: Inputs, rank: Rank) -> Predicted:
    """Predict the probabilities that are not on disk yet.

    Raises UsageError if no stage is finished, or a rule needs a presence head that a run lacks; DataError for a picture
    that cannot be read or that changes meanwhile; Stopped after a signal, with the probabilities so far on disk.
    """
    postprocess.check_head(inputs.rules, all(run.settings.presence_head for run in inputs.runs))
    return Predicted(inputs, _ensemble(inputs, inputs.pictures, rank), _ensemble(inputs, inputs.scenes, rank))


def predict(inputs: Inputs, output: Output, rank: Rank) -> None:
    """Write the masks of a folder's pictures and rasters. Raises as `infer` does."""
    predicted = infer(inputs, rank)

    def write() -> None:
        if output.form == "csv":
            _write_csv(predicted.of_pictures, inputs.rules, output.path, output.sample, rank)
        else:
            _write_files(predicted, output.path, output.form, rank)
        if output.page:
            shown: list[tuple[Pictures | Scenes, Ensemble]] = [
                (inputs.pictures, predicted.of_pictures),
                (inputs.scenes, predicted.of_scenes),
            ]
            report.write_prediction(output.page, shown, inputs.rules, inputs.runs)
            log_line(rank.comm, f"{output.page}: some of the pictures with their masks")

    on_rank_zero(rank, write)


def _ensemble(inputs: Inputs, source: Pictures | Scenes, rank: Rank) -> Ensemble:
    """The probabilities of a source's images, predicted unless they are on disk."""
    members = []
    if source.names:
        inference.find_digests(source, rank)
        for run in inputs.runs:
            stage = finished(run)[-1]
            store = store_of(run, stage, source, inputs.flips, run.probabilities)
            inference.fill(run, [(stage, store)], source, rank)
            members.append(store)
    return Ensemble(members, inputs.weights if members else None)


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


def _write_files(predicted: Predicted, out: Path, form: str, rank: Rank) -> None:
    out.mkdir(parents=True, exist_ok=True)
    rasters, count = predicted.inputs.scenes.cut, 0
    names = [*predicted.inputs.pictures.names, *rasters]
    for i in with_progress(rank.comm, "masks", len(names), len(names)):
        name = names[i]
        if name in rasters:
            files = export.encoded(form, predicted.mosaic(name))
        else:
            files = export.files(form, predicted.prediction(name))
        for suffix, content in files.items():
            # The picture's suffix is kept, as there may be a.jpg and a.png.
            atomic.write(out / f"{name}{suffix}", content, sync=False)
            count += 1
        rank.heartbeat.progressed()
    log_line(rank.comm, f"{out}: {count} {form} files")
