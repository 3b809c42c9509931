"""An atlas: the frequency of each pattern by place and season, from the predictions of dated pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cloudseg.data.labels import CLASSES
from cloudseg.geo import climatology
from cloudseg.geo.climatology import Sums
from cloudseg.results import atlas_output
from cloudseg.results.prediction import Inputs, Predicted, infer
from cloudseg.training.log import log_line, with_progress
from cloudseg.training.rank import Rank, on_rank_zero


def make(inputs: Inputs, days: Mapping[str, Sequence[str]], step: int, out: Path, rank: Rank) -> None:
    """Predict what is not predicted yet, and write the atlas into the folder `out`.

    `days` has the names of the pictures of each day; `step` is the size of the cells, as `climatology.step_of` has it.
    Raises as `prediction.infer` does.
    """
    predicted = infer(inputs, rank)

    def write() -> None:
        sums = sum_up(predicted, days, step, rank)
        title = ", ".join(str(run.path) for run in inputs.runs)
        atlas_output.publish(sums, {"runs": title}, out)
        log_line(
            rank.comm, f"{out}: {len(days)} days, {len(inputs.references)} pictures; open {out / atlas_output.PAGE}"
        )

    on_rank_zero(rank, write)


def sum_up(predicted: Predicted, days: Mapping[str, Sequence[str]], step: int, rank: Rank) -> Sums:
    """The sums of all days. Pictures of other satellites on the same day add to that day."""
    references, rasters = predicted.inputs.references, predicted.inputs.scenes.cut
    regions = [reference.bounds for reference in references.values() if reference.bounds is not None]
    grid = climatology.grid_of(regions, step)
    sums, order = Sums.empty(grid, sorted({day[:7] for day in days})), list(days)
    for number in with_progress(rank.comm, "days", len(order), len(order)):
        day = order[number]
        n = np.zeros((grid.height, grid.width), np.int64)
        k = np.zeros((len(CLASSES), grid.height, grid.width), np.int64)
        for name in days[day]:
            if name in rasters:
                layers = predicted.mosaic(name)
                masks, valid, bounds = layers.masks, layers.valid, layers.reference.bounds
            else:
                found = predicted.prediction(name)
                masks, valid, bounds = found.masks, found.valid, found.reference.bounds
            assert bounds is not None
            of_picture = climatology.count(masks, valid, bounds, grid)
            n += of_picture[0]
            k += of_picture[1]
        sums.add_day(day, n, k)
        rank.heartbeat.progressed()
    return sums
