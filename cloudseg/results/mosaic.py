"""Puts the scenes of a raster together again: probabilities, valid pixels and masks on the grid of the globe."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction

import cv2
import numpy as np

from cloudseg.data.labels import CLASSES
from cloudseg.geo import lattice
from cloudseg.geo.bounds import Bounds
from cloudseg.geo.lattice import Frame
from cloudseg.geo.layers import Layers
from cloudseg.results import postprocess
from cloudseg.results.ensemble import Ensemble
from cloudseg.results.postprocess import Rule
from cloudseg.results.scenes import scene_name

HALF = 0.5
"""Weighted share of the scenes of a pixel that must allow a class."""


@dataclasses.dataclass(frozen=True)
class Mosaic:
    """Predictions on a frame of the grid: `probability`, uint8 (C, h, w), 255 for 1; `valid`, bool (h, w); `allowed`,
    bool (C, h, w): where the rules for whole images allow a mask."""

    probability: np.ndarray
    valid: np.ndarray
    allowed: np.ndarray

    def masks(self, rules: Sequence[Rule]) -> np.ndarray:
        """Masks, bool (C, h, w). Components are those of the whole frame; what a rule says of whole images was decided
        scene by scene."""
        return postprocess.masks(self.probability, [of_pixels(rule) for rule in rules]) & self.allowed & self.valid


def blend(
    name: str, frame: Frame, cut: Sequence[Frame], ensemble: Ensemble, rules: Sequence[Rule], overlap: Fraction
) -> Mosaic:
    """Blend the scenes `cut` of the raster `name`: the mean over the scenes that show a pixel, weighted by
    `lattice.window`. Raises DataError if a file of probabilities is damaged."""
    weights, count = lattice.window(overlap), len(CLASSES)
    of_scenes = [number for number, rule in enumerate(rules) if _judges_images(rule)]
    probability, valid = np.zeros((count, *frame.size), np.uint8), np.zeros(frame.size, bool)
    allowed = np.ones((count, *frame.size), bool)
    for band in lattice.bands(frame, list(cut)):
        rows = slice(band.top - frame.top, band.top - frame.top + band.height)
        total, weight = np.zeros((count, *band.size), np.float32), np.zeros(band.size, np.float32)
        support = np.zeros((len(of_scenes), *band.size), np.float32)
        for scene in cut:
            if (part := band.overlap(scene)) is None:
                continue
            within = scene.overlap(band)
            assert within is not None
            title = scene_name(name, scene)
            predicted = ensemble.read(title)
            share = weights[within] * ensemble.valid(title)[within]
            total[:, *part] += share * predicted[:, *within]
            weight[part] += share
            if of_scenes:
                judged = postprocess.masks(predicted, rules, ensemble.presence(title))
                for position, number in enumerate(of_scenes):
                    support[position][part] += share * judged[number].any()
        known = weight > 0
        np.divide(total, weight, out=total, where=known)
        probability[:, rows] = np.round(total)
        valid[rows] = known
        for position, number in enumerate(of_scenes):
            allowed[number, rows] = support[position] >= HALF * weight
    return Mosaic(probability, valid, allowed)


def at_picture(layers: Layers, bounds: Bounds, scale: float) -> Layers:
    """Layers on the grid as those of a picture, whose `bounds` are those of `lattice.placed` at `scale`: masks by
    nearest neighbour, probabilities by linear interpolation."""
    size = round(bounds.height / scale), round(bounds.width / scale)
    step = scale * lattice.PER_DEGREE
    rows, columns = (
        np.minimum(((np.arange(pixels) + 0.5) * step).astype(int), of - 1)
        for pixels, of in zip(size, layers.size, strict=True)
    )
    nearest = np.ix_(rows, columns)
    shift = step / 2 - 0.5
    to_grid = np.array([[step, 0, shift], [0, step, shift]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    probability = [
        cv2.warpAffine(each, to_grid, size[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
        for each in layers.probability
    ]
    masks = np.stack([mask[nearest] for mask in layers.masks])
    return Layers(layers.name, masks, np.stack(probability), layers.valid[nearest], layers.reference)


def _judges_images(rule: Rule) -> bool:
    """Whether a rule says something of whole images."""
    in_total = rule.area_of == postprocess.IN_TOTAL and rule.min_area > 0
    return bool(rule.min_peak or rule.min_presence or in_total or rule.decide == postprocess.EXPECTED_DICE)


def of_pixels(rule: Rule) -> Rule:
    """The part of a rule that holds for each component, without what it says of whole images."""
    area = rule.min_area if rule.area_of == postprocess.EACH_COMPONENT else 0
    return Rule(threshold=rule.threshold, min_area=area, shape=rule.shape)
