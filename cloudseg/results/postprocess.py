"""From probabilities to masks: what is kept of one class in one image. Pure."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cloudseg.core import config
from cloudseg.core.errors import UsageError
from cloudseg.data.labels import CLASSES
from cloudseg.results.components import CONNECTIVITY, level

EVERY_PIECE, IN_TOTAL = "piece", "total"
"""What must reach the smallest area: every connected piece for itself, or all of the class in the image together."""
AS_IT_IS, HULL, BOX = "none", "hull", "box"
SHAPES = (AS_IT_IS, HULL, BOX)
"""What a piece is made into: the annotators drew boxes."""


@dataclasses.dataclass(frozen=True)
class Rule:
    """How masks of one class are cut from its probabilities."""

    threshold: float = 0.5
    """A pixel is in the mask if its probability is above it."""
    sure: float = 0.0
    """There is a mask at all if a pixel's probability is above it; 0 asks for nothing."""
    min_area: int = 0
    """Pixels at 350x525 that a piece, or all pieces together, must have."""
    area_of: str = EVERY_PIECE
    shape: str = AS_IT_IS


def mask(probability: np.ndarray, rule: Rule) -> np.ndarray:
    """uint8 (h, w), 255 for 1 -> bool (h, w)."""
    found = probability > level(rule.threshold)
    if not found.any() or (rule.sure and probability.max() <= level(rule.sure)):
        return np.zeros_like(found)
    if rule.area_of == IN_TOTAL:
        if np.count_nonzero(found) < rule.min_area:
            return np.zeros_like(found)
    elif rule.min_area > 1:
        _, labels, stats, _ = cv2.connectedComponentsWithStats(found.view(np.uint8), connectivity=CONNECTIVITY)
        kept = stats[:, cv2.CC_STAT_AREA] >= rule.min_area
        kept[0] = False
        found = kept[labels]
    return reshape(found, rule.shape)


def masks(probability: np.ndarray, rules: Sequence[Rule]) -> np.ndarray:
    """uint8 (C, h, w), 255 for 1 -> bool (C, h, w), each class by its rule."""
    return np.stack([mask(each, rule) for each, rule in zip(probability, rules, strict=True)])


def reshape(found: np.ndarray, shape: str) -> np.ndarray:
    """A bool mask (h, w) with each piece made its convex hull, or its upright box."""
    if shape == AS_IT_IS or not found.any():
        return found
    out = np.zeros(found.shape, np.uint8)
    outlines, _ = cv2.findContours(found.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    for outline in outlines:
        if shape == HULL:
            cv2.fillConvexPoly(out, cv2.convexHull(outline), 1)
        else:
            x, y, width, height = cv2.boundingRect(outline)
            out[y : y + height, x : x + width] = 1
    return out.view(bool)


def to_table(rules: list[Rule]) -> dict[str, dict[str, Any]]:
    """Rules by class, as thresholds.json holds them."""
    return {name: dataclasses.asdict(rule) for name, rule in zip(CLASSES, rules, strict=True)}


def load(path: Path) -> list[Rule]:
    """The rules of thresholds.json, in order of class. Raises UsageError, with the field, if it does not hold them."""
    try:
        table = json.loads(path.read_text())
    except FileNotFoundError:
        raise UsageError(f"{path} is not there; python -m cloudseg.evaluate writes it") from None
    except ValueError as error:
        raise UsageError(f"{path} is not JSON: {error}") from None
    if not isinstance(table, Mapping) or set(table) != set(CLASSES):
        raise UsageError(f"{path} must have the classes {', '.join(CLASSES)} and no others")
    return [config.build(Rule, table[name], f"{path}, {name}") for name in CLASSES]
