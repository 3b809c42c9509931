"""Baseline: the usual loop of Kaggle notebooks, which labels, filters and scores for each threshold and each area."""

from __future__ import annotations

import itertools
import time
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from bench.contender import Measure
from bench.search.job import AREAS, THRESHOLDS, Job


def contender(job: Job) -> Measure:
    """Images per second of the whole search over four classes."""
    probabilities, truths = job.probabilities(), job.truths()

    def scores(i: int) -> np.ndarray:
        out = np.empty((probabilities.shape[1], len(THRESHOLDS), len(AREAS)))
        for c in range(len(out)):
            probability, truth = probabilities[i, c], truths[i] >> c & 1 == 1
            for (t, threshold), (a, area) in itertools.product(enumerate(THRESHOLDS), enumerate(AREAS)):
                out[c, t, a] = dice(drop_small(probability > int(threshold * 255), area), truth)
        return out

    def measure() -> float:
        began = time.perf_counter()
        with ThreadPoolExecutor(job.threads) as pool:
            table = np.mean(list(pool.map(scores, range(job.images))), axis=0)
        for of_class in table:
            np.unravel_index(of_class.argmax(), of_class.shape)
        return job.images / (time.perf_counter() - began)

    return measure


def drop_small(mask: np.ndarray, area: int) -> np.ndarray:
    count, labels = cv2.connectedComponents(mask.astype(np.uint8))
    out = np.zeros(mask.shape, bool)
    for label in range(1, count):
        component = labels == label
        if component.sum() >= area:
            out[component] = True
    return out


def dice(predicted: np.ndarray, truth: np.ndarray) -> float:
    total = predicted.sum() + truth.sum()
    return 2 * (predicted & truth).sum() / total if total else 1.0
