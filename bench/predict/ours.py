"""Cloudseg's prediction: pictures of a folder to files of probabilities."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from bench.predict import network
from bench.predict.job import Job
from cloudseg.core.attempt import Attempt
from cloudseg.core.signals import StopFlag
from cloudseg.results import inference
from cloudseg.results.inference import Predict
from cloudseg.results.probabilities import Store
from cloudseg.results.sources import Pictures
from cloudseg.training.comm import Comm
from cloudseg.training.heartbeat import Heartbeat
from cloudseg.training.rank import Rank


def contender(job: Job) -> Callable[[], float]:
    built, comm = network.build(job)
    return pipeline(job, inference.predictor(built, inference.FLIPS[:1]), comm)


def pipeline(job: Job, predict: Predict, comm: Comm) -> Callable[[], float]:
    """A function that reads, predicts and stores the pictures, and returns pictures per second."""
    source, runs = Pictures(job.pictures), iter(range(1_000_000))
    attempt = Attempt.of(job.temporary / "jobs", "predict")
    rank = Rank(comm, StopFlag(), Heartbeat(attempt, 0, 1), attempt)

    def measure() -> float:
        folder = Path(job.temporary) / f"store-{predict.__module__}-{id(predict)}-{next(runs)}"
        store = Store(folder, source.names, {"flips": False})
        store.prepare()
        began = time.perf_counter()
        parts = list(range(len(store.parts())))
        inference.predict_parts(store, parts, source, job.size, predict, job.batch, rank, "predict")
        return len(source.names) / (time.perf_counter() - began)

    return measure
