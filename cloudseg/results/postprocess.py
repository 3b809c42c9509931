"""Postprocessing: turns the probabilities of a class in an image into a mask, by a rule. Pure."""

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
from cloudseg.results import expected_dice
from cloudseg.results.components import drop_small, level

EACH_COMPONENT, IN_TOTAL = "component", "total"
"""Area that is compared with the minimum: of each connected component, or of all pixels of the class in the image."""
OLD_VALUES = {"piece": EACH_COMPONENT}
"""Values of `area_of` in files of earlier versions."""
AS_IT_IS, HULL, BOX = "none", "hull", "box"
SHAPES = (AS_IT_IS, HULL, BOX)
"""Shape that replaces a component: itself, its convex hull or its bounding box; the labellers drew boxes."""
LIMITS, EXPECTED_DICE = "limits", "expected_dice"
"""What decides whether an image has a mask: the limits of the rule alone, or the expected Dice as well."""
PEAK, HEAD = "peak", "head"
"""What tells whether a class is in an image: the highest probability of its pixels, or the presence head."""
CHOICES = {
    "area_of": (EACH_COMPONENT, IN_TOTAL),
    "shape": SHAPES,
    "decide": (LIMITS, EXPECTED_DICE),
    "evidence": (PEAK, HEAD),
}
"""Values of the fields of `Rule` that are words."""


@dataclasses.dataclass(frozen=True)
class Rule:
    """How a mask of one class is made from its probabilities."""

    OLD_NAMES: ClassVar[Mapping[str, str]] = {"sure": "min_peak"}
    """Names of fields in files of earlier versions."""

    threshold: float = 0.5
    """A pixel is in the mask if its probability is above the threshold."""
    min_peak: float = 0.0
    """The mask is empty unless the probability of some pixel is above this; 0 for no limit."""
    min_area: int = 0
    """Minimum number of pixels at 350x525, of each component or of all together."""
    area_of: str = EACH_COMPONENT
    """EACH_COMPONENT or IN_TOTAL."""
    shape: str = AS_IT_IS
    """One of SHAPES."""
    min_presence: float = 0.0
    """The mask is empty unless the probability of the presence head is above this; 0 for no limit."""
    decide: str = LIMITS
    """LIMITS or EXPECTED_DICE. With the latter, the mask is empty unless `expected_dice.is_better`, before `shape`."""
    evidence: str = PEAK
    """PEAK or HEAD: evidence of `expected_dice.presence`."""
    slope: float = 1.0
    """Of `expected_dice.presence`."""
    intercept: float = 0.0
    """Of `expected_dice.presence`."""

    @property
    def needs_head(self) -> bool:
        """Whether it applies only to networks with a presence head."""
        return self.min_presence > 0 or (self.decide == EXPECTED_DICE and self.evidence == HEAD)


def mask(probability: np.ndarray, rule: Rule, presence: float | None = None) -> np.ndarray:
    """Make the mask, bool (h, w), of probabilities, uint8 (h, w), 255 for 1.

    `presence` is the probability of the presence head, 0 to 1; None without a head. Raises ValueError if the rule needs
    it.
    """
    if rule.needs_head and presence is None:
        raise ValueError("the rule needs the probability of a presence head")
    presence = 0.0 if presence is None else float(presence)
    found = probability > level(rule.threshold)
    if (
        not found.any()
        or (rule.min_peak and probability.max() <= level(rule.min_peak))
        or (rule.min_presence and presence <= rule.min_presence)
    ):
        return np.zeros_like(found)
    if rule.area_of == IN_TOTAL:
        if np.count_nonzero(found) < rule.min_area:
            return np.zeros_like(found)
    elif rule.min_area > 1:
        found = drop_small(found, rule.min_area)
    if rule.decide == EXPECTED_DICE and not _is_better(found, probability, rule, presence):
        return np.zeros_like(found)
    return reshape(found, rule.shape)


def _is_better(found: np.ndarray, probability: np.ndarray, rule: Rule, presence: float) -> bool:
    """Whether the mask `found` has a higher expected Dice than an empty mask."""
    evidence = presence if rule.evidence == HEAD else probability.max() / 255
    chance = expected_dice.presence(evidence, rule.slope, rule.intercept)
    inside, total = (cv2.sumElems(pixels)[0] / 255 for pixels in (probability * found, probability))
    return bool(expected_dice.is_better(chance, inside, total, np.count_nonzero(found)))


def masks(probability: np.ndarray, rules: Sequence[Rule], presence: np.ndarray | None = None) -> np.ndarray:
    """Make the masks, bool (C, h, w), of probabilities, uint8 (C, h, w), 255 for 1, each class by its rule.

    `presence`, float (C,), are the probabilities of the presence head; None without a head.
    """
    chances = [None] * len(rules) if presence is None else presence
    return np.stack([mask(each, rule, chance) for each, rule, chance in zip(probability, rules, chances, strict=True)])


def check_head(rules: Sequence[Rule], head: bool) -> None:
    """Raises UsageError if a rule needs a presence head and there is none."""
    for name, rule in zip(CLASSES, rules, strict=True):
        if rule.needs_head and not head:
            raise UsageError(
                f"the rule of {name} uses the probability of a presence head, and not every run has one "
                "(presence_head=true); name other rules with --thresholds, or leave out the runs without a head"
            )


def reshape(found: np.ndarray, shape: str) -> np.ndarray:
    """Replace each component of a mask, bool (h, w), by its convex hull or its bounding box."""
    if shape == AS_IT_IS or not found.any():
        return found
    return _draw(_outlines(found), shape, found.shape)


def shapes(found: np.ndarray) -> list[np.ndarray]:
    """`reshape` of a mask that is not empty, bool (h, w), to each of SHAPES."""
    outlines = _outlines(found)
    return [found, *(_draw(outlines, shape, found.shape) for shape in SHAPES[1:])]


def _outlines(found: np.ndarray) -> Sequence[np.ndarray]:
    """Outline of each component that is not inside another one: int32 (points, 1, 2), x and y."""
    outlines, _ = cv2.findContours(found.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return outlines


def _draw(outlines: Sequence[np.ndarray], shape: str, size: tuple[int, ...]) -> np.ndarray:
    """Draw the convex hull or the bounding box of each outline: bool of `size`."""
    out = np.zeros(size, np.uint8)
    for outline in outlines:
        if shape == HULL:
            cv2.fillConvexPoly(out, cv2.convexHull(outline), 1)
        else:
            x, y, width, height = cv2.boundingRect(outline)
            out[y : y + height, x : x + width] = 1
    return out.view(bool)


def to_table(rules: list[Rule]) -> dict[str, dict[str, Any]]:
    """Rules by class, as in thresholds.json."""
    return {name: dataclasses.asdict(rule) for name, rule in zip(CLASSES, rules, strict=True)}


def load(path: Path) -> list[Rule]:
    """Read the rules of thresholds.json, in the order of CLASSES. Raises UsageError, naming the field, if it is not
    valid."""
    try:
        table = json.loads(path.read_text())
    except FileNotFoundError:
        raise UsageError(f"{path} is not there; python -m cloudseg.evaluate writes it") from None
    except ValueError as error:
        raise UsageError(f"{path} is not JSON: {error}") from None
    if not isinstance(table, Mapping) or set(table) != set(CLASSES):
        raise UsageError(f"{path} must have the classes {', '.join(CLASSES)} and no others")
    rules = [config.build(Rule, table[name], f"{path}, {name}") for name in CLASSES]
    rules = [dataclasses.replace(rule, area_of=OLD_VALUES.get(rule.area_of, rule.area_of)) for rule in rules]
    for name, rule in zip(CLASSES, rules, strict=True):
        for field, known in CHOICES.items():
            if (value := getattr(rule, field)) not in known:
                raise UsageError(f"{path}, {name}: {field}: there is no {value!r}{config.nearest(value, known)}")
    return rules
