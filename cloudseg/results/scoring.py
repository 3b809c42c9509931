"""Scores probabilities against the ground truth. Rules are chosen on one half of the images and scored on the other.

Needs no network and no GPU.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np

from cloudseg.data.bitmask import has_data, unpack
from cloudseg.data.labels import CLASSES
from cloudseg.nets import scores
from cloudseg.results import components, postprocess, search
from cloudseg.results.postprocess import SHAPES, Rule

RESAMPLES = 2000
"""Number of bootstrap resamples."""
CONFIDENCE = 0.95
"""Confidence level of the intervals."""
BINS = 10
"""Number of bins of the calibration, of equal width."""
EXTREMES = 10
"""Number of best and of worst images in metrics.json."""

Read = Callable[[int], tuple[np.ndarray, np.ndarray]]
"""Image number -> probabilities, uint8 (C, h, w), 255 for 1, and packed ground truth, uint8 (h, w)."""


@dataclasses.dataclass(frozen=True)
class Scoring:
    """Results of n images. Counts are pixels at 350x525: (both, predicted, truth)."""

    rules: list[Rule]
    """Rule of each class, chosen on all images, for new images."""
    half_rules: tuple[list[Rule], list[Rule]]
    """Rules chosen on the even images, and on the odd images."""
    tuned: np.ndarray
    """int64 (n, C, 3): counts with the rules that were chosen on the other half of the images."""
    untuned: np.ndarray
    """int64 (n, C, 3): counts with threshold 0.5 and no other rule."""
    overlap: np.ndarray
    """int64 (n, C, C): pixels of the ground truth of the first class in the tuned prediction of the second."""
    histogram: np.ndarray
    """int64 (C, 2, 256): pixels by probability, outside and inside the ground truth."""
    surfaces: np.ndarray
    """float64 (C, thresholds, areas): mean Dice of all images over THRESHOLDS and AREAS, for a figure."""


AREAS = tuple(range(0, 30_001, 500))
"""Minimum areas of the surfaces, in pixels."""


def score(
    read: Read, images: int, progressed: Callable[[], None] = lambda: None, presence: np.ndarray | None = None
) -> Scoring:
    """Search the rules, and score each image with rules that were chosen on other images.

    `presence`, float32 (n, C), are the probabilities of the presence head; None without it. There are two passes over
    the images: one finds all components, one makes masks. Calls `progressed` repeatedly.
    """
    threads = len(os.sched_getaffinity(0))

    def read_image(i: int) -> tuple[np.ndarray, np.ndarray]:
        progressed()
        return read(i)

    all_components = components.collect(read_image, images, search.THRESHOLDS, threads, presence)
    odd = np.arange(images) % 2 == 1
    subsets = (~odd, odd, np.ones(images, bool))
    rules = _search(all_components, subsets, progressed)

    def count(i: int) -> _ImageCounts:
        return _count_image(*read_image(i), None if presence is None else presence[i], rules, other_half=1 - i % 2)

    with ThreadPoolExecutor(threads) as pool:
        per_image = list(pool.map(count, range(images)))
    counts = np.stack([each.counts for each in per_image])
    shaped = [[_shape(rule, counts[on, k, c]) for c, rule in enumerate(rules[k])] for k, on in enumerate(subsets)]
    tuned, overlap = np.empty((images, len(CLASSES), 3), np.int64), np.empty((images, *[len(CLASSES)] * 2), np.int64)
    for i, each in enumerate(per_image):
        k = 1 - i % 2
        for c, rule in enumerate(shaped[k]):
            shape = SHAPES.index(rule.shape)
            tuned[i, c] = each.counts[k, c, shape]
            overlap[i, :, c] = each.overlap[shape, :, c]
    return Scoring(
        shaped[2],
        (shaped[0], shaped[1]),
        tuned,
        np.stack([each.untuned for each in per_image]),
        overlap,
        np.sum([each.histogram for each in per_image], axis=0),
        np.array([[surface(search.curve(at, Rule())) for at in of_class] for of_class in all_components]),
    )


def _search(
    all_components: list[list[components.Components]], subsets: Sequence[np.ndarray], progressed: Callable[[], None]
) -> list[list[Rule]]:
    """Best rule of each class on each subset of the images, bool (n,): a list (subsets, C)."""
    some = [subset for subset in subsets if subset.any()]
    found: list[list[Rule]] = [[] for _ in some]
    for of_class in all_components:
        progressed()
        for rules, (rule, _) in zip(found, search.best_of_each(of_class, search.THRESHOLDS, some), strict=True):
            rules.append(rule)
    of_some = iter(found)
    return [next(of_some) if subset.any() else [Rule()] * len(CLASSES) for subset in subsets]


def _shape(rule: Rule, counts: np.ndarray) -> Rule:
    """`rule` with the shape of the highest mean Dice in `counts`, (n, shapes, 3); of equal ones the first."""
    if not len(counts):
        return rule
    dice = scores.dice(counts).mean(axis=0)
    return dataclasses.replace(rule, shape=SHAPES[int(np.argmax(np.round(dice, 12)))])


def surface(curve: search.Curve) -> np.ndarray:
    """Mean Dice over AREAS, float64 (areas,)."""
    return curve.dice[np.searchsorted(curve.areas, AREAS, side="right") - 1]


@dataclasses.dataclass(frozen=True)
class _ImageCounts:
    """Counts of one image, see Scoring."""

    counts: np.ndarray
    """int64 (rules, C, shapes, 3)."""
    untuned: np.ndarray
    """int64 (C, 3)."""
    overlap: np.ndarray
    """int64 (shapes, C, C), with the rules of the other half."""
    histogram: np.ndarray
    """int64 (C, 2, 256)."""


def _count_image(
    probability: np.ndarray, bits: np.ndarray, presence: np.ndarray | None, rules: list[list[Rule]], other_half: int
) -> _ImageCounts:
    truth, valid = unpack(bits), has_data(bits)
    counts = np.zeros((len(rules), len(CLASSES), len(SHAPES), 3), np.int64)
    overlap = np.zeros((len(SHAPES), len(CLASSES), len(CLASSES)), np.int64)
    histogram = np.stack([_histogram(of_class, mask) for of_class, mask in zip(probability, truth, strict=True)])
    size = histogram[:, 1].sum(axis=1)
    counts[..., 2] = size[:, None]
    for c, of_class in enumerate(probability):
        for k, of_rules in enumerate(rules):
            plain = postprocess.mask(of_class, of_rules[c], None if presence is None else presence[c])
            if not plain.any():
                continue
            for s, shaped in enumerate(postprocess.shapes(plain)):
                mask = shaped & valid
                counts[k, c, s, :2] = np.count_nonzero(mask & truth[c]), np.count_nonzero(mask)
                if k == other_half:
                    overlap[s, :, c] = [np.count_nonzero(each & mask) for each in truth]
    above = histogram[:, :, components.level(Rule().threshold) + 1 :].sum(axis=2)
    untuned = np.stack([above[:, 1], above.sum(axis=1), size], axis=1)
    return _ImageCounts(counts, untuned, overlap, histogram)


def _histogram(probability: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Pixels by probability, uint8 (h, w), outside and inside of `truth`, bool (h, w): int64 (2, 256)."""
    every, inside = (
        cv2.calcHist([probability], [0], mask, [256], [0, 256]).reshape(-1).astype(np.int64)  # exact up to 2**24
        for mask in (None, truth.view(np.uint8))
    )
    return np.stack([every - inside, inside])


def summary(scored: Scoring, names: Sequence[str]) -> dict[str, Any]:
    """The scores, as in metrics.json.

    `dice` is the competition's score, with rules that were chosen on the other half of the images; `dice_untuned` has
    threshold 0.5 and no other rule; `dice_all_empty` is the score of empty masks. Each `_interval` is a 95 % bootstrap
    interval over images, of 2,000 resamples. `iou_per_class` and `confusion` are over the pixels of all images.
    """
    tuned, untuned = scores.dice(scored.tuned), scores.dice(scored.untuned)
    images = tuned.mean(axis=1)
    worst, best = (np.argsort(sign * images, kind="stable")[:EXTREMES] for sign in (1, -1))
    odd = np.arange(len(images)) % 2 == 1
    return {
        "images": len(images),
        "dice": float(tuned.mean()),
        "dice_interval": interval(images),
        "dice_per_class": by_class(tuned.mean(axis=0)),
        "dice_per_class_interval": {name: interval(tuned[:, c]) for c, name in enumerate(CLASSES)},
        "dice_untuned": float(untuned.mean()),
        "dice_untuned_interval": interval(untuned.mean(axis=1)),
        "dice_untuned_per_class": by_class(untuned.mean(axis=0)),
        "dice_all_empty": scores.all_empty(scored.untuned),
        "gain_interval": interval(images - untuned.mean(axis=1)),
        "halves": {
            "chosen on even, judged on odd": _half(tuned, untuned, odd),
            "chosen on odd, judged on even": _half(tuned, untuned, ~odd),
        },
        "iou_per_class": by_class(scores.iou(scored.tuned.sum(axis=0))),
        "presence": {name: presence(scored.tuned[:, c]) for c, name in enumerate(CLASSES)},
        "confusion": {name: by_class(share) for name, share in zip(CLASSES, confusion(scored), strict=True)},
        "calibration": {name: calibration(scored.histogram[c]) for c, name in enumerate(CLASSES)},
        "best": [[names[i], float(images[i])] for i in best],
        "worst": [[names[i], float(images[i])] for i in worst],
    }


def _half(tuned: np.ndarray, untuned: np.ndarray, on: np.ndarray) -> dict[str, Any]:
    if not on.any():
        return {"images": 0}
    return {
        "images": int(on.sum()),
        "dice": float(tuned[on].mean()),
        "dice_interval": interval(tuned[on].mean(axis=1)),
        "dice_untuned": float(untuned[on].mean()),
        "dice_untuned_interval": interval(untuned[on].mean(axis=1)),
    }


def by_class(values: np.ndarray) -> dict[str, float]:
    return {name: float(value) for name, value in zip(CLASSES, values, strict=True)}


def interval(values: np.ndarray) -> list[float]:
    """Percentile bootstrap interval of the mean of `values`, (n,): [low, high]."""
    drawn = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    tail = (1 - CONFIDENCE) / 2
    return [float(bound) for bound in np.quantile(values[drawn].mean(axis=1), (tail, 1 - tail))]


def presence(counts: np.ndarray) -> dict[str, float | int]:
    """Precision and recall of whether the class is in an image, from counts (n, 3).

    Precision is 1 if no image is predicted to have it, recall is 1 if no image has it.
    """
    predicted, true = counts[:, 1] > 0, counts[:, 2] > 0
    both = int((predicted & true).sum())
    return {
        "images": int(true.sum()),
        "predicted": int(predicted.sum()),
        "precision": both / int(predicted.sum()) if predicted.any() else 1.0,
        "recall": both / int(true.sum()) if true.any() else 1.0,
    }


def confusion(scored: Scoring) -> np.ndarray:
    """Share of the true pixels of each class that is predicted as each class, float64 (C, C).

    Rows need not sum to 1, as a pixel may have several classes.
    """
    true = scored.tuned[..., 2].sum(axis=0)[:, None]
    return scored.overlap.sum(axis=0) / np.maximum(true, 1)


def calibration(histogram: np.ndarray) -> dict[str, Any]:
    """Calibration of a class from its `Scoring.histogram`, (2, 256): share of true pixels per bin of probability.

    `error` is the expected calibration error (Guo et al. 2017), the mean difference over all pixels.
    """
    bins = np.minimum(np.arange(256) * BINS // 255, BINS - 1)
    total = histogram.sum(axis=0)
    pixels, inside = (np.bincount(bins, each, BINS) for each in (total, histogram[1]))
    predicted = np.bincount(bins, total * np.arange(256) / 255, BINS)
    some = pixels > 0
    predicted, true = predicted[some] / pixels[some], inside[some] / pixels[some]
    return {
        "error": float((np.abs(predicted - true) * pixels[some]).sum() / max(pixels.sum(), 1)),
        "bins": [
            {"probability": float(p), "true": float(t), "pixels": int(n)}
            for p, t, n in zip(predicted, true, pixels[some], strict=True)
        ],
    }
