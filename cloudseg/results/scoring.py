"""Scores of probabilities against truths: rules that each half of the images got from the other half, and how well
they do. Needs no network, and no GPU."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from cloudseg.data.bitmask import has_data, unpack
from cloudseg.data.labels import CLASSES
from cloudseg.nets import scores
from cloudseg.results import components, postprocess, search
from cloudseg.results.postprocess import SHAPES, Rule

RESAMPLES = 2000
"""Of the bootstrap."""
CONFIDENCE = 0.95
BINS = 10
"""Of the calibration, of equal width."""
EXTREMES = 10
"""How many best and worst images are named."""

Read = Callable[[int], tuple[np.ndarray, np.ndarray]]
"""Of image i: probabilities uint8 (C, h, w), 255 for 1, and truth, uint8 bits (h, w)."""


@dataclasses.dataclass(frozen=True)
class Scoring:
    """Of n images. Counts are (both, predicted, truth) of pixels at 350x525."""

    rules: list[Rule]
    """Of each class, chosen on all images: for images to come."""
    half_rules: tuple[list[Rule], list[Rule]]
    """Chosen on the even images, and on the odd ones."""
    tuned: np.ndarray
    """int64 (n, C, 3): each image under the rules of the half that it is not in."""
    untuned: np.ndarray
    """int64 (n, C, 3): threshold 0.5 and nothing else."""
    overlap: np.ndarray
    """int64 (n, C, C): pixels of the truth of the first class in the tuned prediction of the second."""
    histogram: np.ndarray
    """int64 (C, 2, 256): pixels by probability, outside and inside the truth."""
    surfaces: np.ndarray
    """float64 (C, thresholds, areas): mean Dice over AREAS of a piece, on all images; for a picture."""


AREAS = tuple(range(0, 30_001, 500))
"""Of the surfaces."""


def score(read: Read, images: int, moves: Callable[[], None] = lambda: None) -> Scoring:
    """Search the rules, and judge them on images on which they were not chosen.

    Two passes over the images: one finds all pieces, one cuts masks. Calls `moves` now and then.
    """
    threads = len(os.sched_getaffinity(0))

    def alive(i: int) -> tuple[np.ndarray, np.ndarray]:
        moves()
        return read(i)

    components_found = components.collect(alive, images, search.THRESHOLDS, threads)
    odd = np.arange(images) % 2 == 1
    chosen_on = (~odd, odd, np.ones(images, bool))
    rules = [_search(components_found, on, moves) for on in chosen_on]

    def cut(i: int) -> _Cut:
        return _cut(*alive(i), rules, other_half=1 - i % 2)

    with ThreadPoolExecutor(threads) as pool:
        cuts = list(pool.map(cut, range(images)))
    counts = np.stack([each.counts for each in cuts])
    shaped = [[_shape(rule, counts[on, k, c]) for c, rule in enumerate(rules[k])] for k, on in enumerate(chosen_on)]
    tuned, overlap = np.empty((images, len(CLASSES), 3), np.int64), np.empty((images, *[len(CLASSES)] * 2), np.int64)
    for i, each in enumerate(cuts):
        k = 1 - i % 2
        for c, rule in enumerate(shaped[k]):
            shape = SHAPES.index(rule.shape)
            tuned[i, c] = each.counts[k, c, shape]
            overlap[i, :, c] = each.overlap[shape, :, c]
    return Scoring(
        shaped[2],
        (shaped[0], shaped[1]),
        tuned,
        np.stack([each.untuned for each in cuts]),
        overlap,
        np.sum([each.histogram for each in cuts], axis=0),
        np.array([[_surface(search.curve(at)) for at in of_class] for of_class in components_found]),
    )


def _search(
    components_found: list[list[components.Components]], on: np.ndarray, moves: Callable[[], None]
) -> list[Rule]:
    found = []
    for of_class in components_found:
        moves()
        found.append(search.best([at.of(on) for at in of_class], search.THRESHOLDS)[0] if on.any() else Rule())
    return found


def _shape(rule: Rule, counts: np.ndarray) -> Rule:
    """`rule` with the shape that scores best in counts (n, shapes, 3) of its masks; of equals the first."""
    if not len(counts):
        return rule
    dice = scores.dice(counts).mean(axis=0)
    return dataclasses.replace(rule, shape=SHAPES[int(np.argmax(np.round(dice, 12)))])


def _surface(curve: search.Curve) -> np.ndarray:
    return curve.dice[np.searchsorted(curve.areas, AREAS, side="right") - 1]


@dataclasses.dataclass(frozen=True)
class _Cut:
    """What one image gives."""

    counts: np.ndarray
    """int64 (rules, C, shapes, 3)."""
    untuned: np.ndarray
    overlap: np.ndarray
    """int64 (shapes, C, C), under the rules of the other half."""
    histogram: np.ndarray


def _cut(probability: np.ndarray, bits: np.ndarray, rules: list[list[Rule]], other_half: int) -> _Cut:
    truth, valid = unpack(bits), has_data(bits)
    size = truth.sum(axis=(1, 2))
    counts = np.zeros((len(rules), len(CLASSES), len(SHAPES), 3), np.int64)
    counts[..., 2] = size[:, None]
    overlap = np.zeros((len(SHAPES), len(CLASSES), len(CLASSES)), np.int64)
    untuned = np.zeros((len(CLASSES), 3), np.int64)
    histogram = np.zeros((len(CLASSES), 2, 256), np.int64)
    for c, of_class in enumerate(probability):
        untuned[c] = _count(postprocess.mask(of_class, Rule()), truth[c])
        inside = np.bincount(of_class[truth[c]], minlength=256)
        histogram[c] = np.bincount(of_class.reshape(-1), minlength=256) - inside, inside
        for k, of_rules in enumerate(rules):
            plain = postprocess.mask(of_class, of_rules[c])
            for s, shape in enumerate(SHAPES):
                mask = postprocess.reshape(plain, shape) & valid
                counts[k, c, s] = _count(mask, truth[c])
                if k == other_half:
                    overlap[s, :, c] = [np.count_nonzero(each & mask) for each in truth]
    return _Cut(counts, untuned, overlap, histogram)


def _count(mask: np.ndarray, truth: np.ndarray) -> tuple[int, int, int]:
    return np.count_nonzero(mask & truth), np.count_nonzero(mask), np.count_nonzero(truth)


def summary(found: Scoring, names: Sequence[str]) -> dict[str, Any]:
    """The scores, as metrics.json has them.

    `dice` is the competition's, with rules that each half of the images got from the other half; `dice_untuned` has
    threshold 0.5 and nothing else; `dice_all_empty` predicts nothing anywhere. Each `_interval` holds 95 % of 2,000
    means over as many images drawn with replacement. `iou_per_class` and `confusion` are of the pixels of all images.
    """
    tuned, untuned = scores.dice(found.tuned), scores.dice(found.untuned)
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
        "dice_all_empty": scores.all_empty(found.untuned),
        "gain_interval": interval(images - untuned.mean(axis=1)),
        "halves": {
            "chosen on even, judged on odd": _half(tuned, untuned, odd),
            "chosen on odd, judged on even": _half(tuned, untuned, ~odd),
        },
        "iou_per_class": by_class(scores.iou(found.tuned.sum(axis=0))),
        "presence": {name: presence(found.tuned[:, c]) for c, name in enumerate(CLASSES)},
        "confusion": {name: by_class(share) for name, share in zip(CLASSES, confusion(found), strict=True)},
        "calibration": {name: calibration(found.histogram[c]) for c, name in enumerate(CLASSES)},
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
    """Percentile bootstrap of the mean of values (n,): [low, high]."""
    drawn = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    tail = (1 - CONFIDENCE) / 2
    return [float(bound) for bound in np.quantile(values[drawn].mean(axis=1), (tail, 1 - tail))]


def presence(counts: np.ndarray) -> dict[str, float | int]:
    """Is the class in the image at all? From counts (n, 3); precision of no prediction and recall of no truth are 1."""
    predicted, true = counts[:, 1] > 0, counts[:, 2] > 0
    both = int((predicted & true).sum())
    return {
        "images": int(true.sum()),
        "predicted": int(predicted.sum()),
        "precision": both / int(predicted.sum()) if predicted.any() else 1.0,
        "recall": both / int(true.sum()) if true.any() else 1.0,
    }


def confusion(found: Scoring) -> np.ndarray:
    """float64 (C, C): of the true pixels of a class, the share that was predicted as each. A pixel may be several."""
    true = found.tuned[..., 2].sum(axis=0)[:, None]
    return found.overlap.sum(axis=0) / np.maximum(true, 1)


def calibration(histogram: np.ndarray) -> dict[str, Any]:
    """How often what was given a probability is true, from pixels (2, 256), outside and inside the truth.

    `error` is the expected calibration error (Guo and others, 2017): the mean gap over all pixels.
    """
    bins = np.minimum(np.arange(256) * BINS // 255, BINS - 1)
    total = histogram.sum(axis=0)
    pixels, inside = (np.bincount(bins, each, BINS) for each in (total, histogram[1]))
    said = np.bincount(bins, total * np.arange(256) / 255, BINS)
    some = pixels > 0
    said, true = said[some] / pixels[some], inside[some] / pixels[some]
    return {
        "error": float((np.abs(said - true) * pixels[some]).sum() / max(pixels.sum(), 1)),
        "bins": [
            {"probability": float(p), "true": float(t), "pixels": int(n)}
            for p, t, n in zip(said, true, pixels[some], strict=True)
        ],
    }
