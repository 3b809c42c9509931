"""The largest difference of probability, in levels of 255, between two ways of cutting the same raster.

The raster is made of the pictures, 60 x 42 degrees. The other way is without 3 degrees in the west and north. Compared
is what is a scene or more from these edges.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from bench.predict import network
from bench.predict.job import Job
from cloudseg.core.attempt import Attempt
from cloudseg.core.signals import StopFlag
from cloudseg.geo.bounds import Bounds
from cloudseg.geo.lattice import OVERLAP
from cloudseg.results import inference, mosaic
from cloudseg.results.ensemble import Ensemble
from cloudseg.results.inference import Predict
from cloudseg.results.postprocess import Rule
from cloudseg.results.probabilities import Store
from cloudseg.results.scenes import Scenes
from cloudseg.training.comm import Comm
from cloudseg.training.heartbeat import Heartbeat
from cloudseg.training.rank import Rank

WHOLE, PART = Bounds(-60, -22, 0, 20), Bounds(-57, -22, 0, 17)
PER_DEGREE = 50
"""Pixels of the raster."""


def contender(job: Job) -> Callable[[], float]:
    built, comm = network.build(job)
    predict = inference.predictor(built, inference.FLIPS[:1])

    def measure() -> float:
        whole = _raster(job.paths())
        shift = 3 * PER_DEGREE
        one = _probability(job, "whole", whole, WHOLE, predict, comm)
        other = _probability(job, "part", np.ascontiguousarray(whole[shift:, shift:]), PART, predict, comm)
        inner = np.s_[:, 350:, 525:]
        return float(np.abs(one[:, 75:, 75:][inner].astype(int) - other[inner]).max())

    return measure


def _raster(paths: list[Path]) -> np.ndarray:
    tiles = [
        cv2.resize(cv2.imread(str(paths[i % len(paths)])), (1000, 700), interpolation=cv2.INTER_AREA) for i in range(9)
    ]
    return np.concatenate([np.concatenate(tiles[row : row + 3], axis=1) for row in range(0, 9, 3)])


def _probability(job: Job, name: str, pixels: np.ndarray, bounds: Bounds, predict: Predict, comm: Comm) -> np.ndarray:
    folder = job.temporary / f"seam-{name}"
    folder.mkdir(exist_ok=True)
    cv2.imwrite(str(folder / "raster.png"), pixels)
    scenes = Scenes(folder, {"raster.png": bounds}, OVERLAP)
    store = Store(folder / "store", scenes.names, {"flips": False})
    store.prepare()
    attempt = Attempt.of(folder / "jobs", "predict")
    rank = Rank(comm, StopFlag(), Heartbeat(attempt, 0, 1), attempt)
    inference.predict_parts(store, list(range(len(store.parts()))), scenes, job.size, predict, job.batch, rank, "seam")
    frame, cut = scenes.frames["raster.png"], scenes.cut["raster.png"]
    return mosaic.blend("raster.png", frame, cut, Ensemble([store]), [Rule()] * 4, OVERLAP).probability
