"""From probabilities to masks: what is kept of one class in one image. Pure."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np

from cloudseg.core import config
from cloudseg.core.errors import UsageError
from cloudseg.data.labels import CLASSES
from cloudseg.results.components import CONNECTIVITY, level

EACH_COMPONENT, IN_TOTAL = "component", "total"
"""What must reach the smallest area: each connected component, or all pixels of the class in the image together."""
OLD_VALUES = {"piece": EACH_COMPONENT}
"""Of `area_of`, in files of earlier versions."""
AS_IT_IS, HULL, BOX = "none", "hull", "box"
SHAPES = (AS_IT_IS, HULL, BOX)
"""What a component becomes: itself, its convex hull or its upright box; the annotators drew boxes."""


@dataclasses.dataclass(frozen=True)
class Rule:
    """How masks of one class are cut from its probabilities."""

    OLD_NAMES: ClassVar[Mapping[str, str]] = {"sure": "min_peak"}
    """Names of fields in files of earlier versions."""

    threshold: float = 0.5
    """A pixel is in the mask if its probability is above it."""
    min_peak: float = 0.0
    """The image has a mask only if a pixel's probability is above it; 0 for always."""
    min_area: int = 0
    """Pixels at 350x525 that a component, or all components together, must have."""
    area_of: str = EACH_COMPONENT
    shape: str = AS_IT_IS


def mask(probability: np.ndarray, rule: Rule) -> np.ndarray:
    """uint8 (h, w), 255 for 1 -> bool (h, w)."""
    found = probability > level(rule.threshold)
    if not found.any() or (rule.min_peak and probability.max() <= level(rule.min_peak)):
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
    """A bool mask (h, w) with each component made its convex hull, or its upright box."""
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
    rules = [config.build(Rule, table[name], f"{path}, {name}") for name in CLASSES]
    return [dataclasses.replace(rule, area_of=OLD_VALUES.get(rule.area_of, rule.area_of)) for rule in rules]
