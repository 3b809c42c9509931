"""Layout of a generated image: the boxes of each class, the no-data bands, the sun glint.

Coordinates are pixels of the image of 1400x2100; x points right, y points down.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cloudseg.data.labels import CLASSES, SOURCE_SIZE

HEIGHT, WIDTH = SOURCE_SIZE

CLASS_COUNT_ODDS = (0.32, 0.42, 0.20, 0.06)
"""Probabilities of 1, 2, 3 or 4 classes in an image, close to the published labels; the mean is 2.0."""


@dataclass(frozen=True)
class Box:
    """A half-open rectangle: columns x1 to x2 - 1, rows y1 to y2 - 1."""

    x1: int
    y1: int
    x2: int
    y2: int

    @property
    def width(self) -> int:
        return self.x2 - self.x1

    @property
    def height(self) -> int:
        return self.y2 - self.y1

    def clipped(self) -> Box:
        return Box(max(self.x1, 0), max(self.y1, 0), min(self.x2, WIDTH), min(self.y2, HEIGHT))


@dataclass(frozen=True)
class Glint:
    """A broad vertical band of reflected sunlight around the line from (top, 0) to (bottom, HEIGHT)."""

    top: float
    bottom: float
    breadth: float
    strength: float


@dataclass(frozen=True)
class Layout:
    """Layout of one image. `boxes` has the present classes only, in the order of CLASSES.

    A no-data band is a polygon, int32 (points, 2) of x and y, that may extend beyond the image. `veil` is the opacity
    of thin cirrus.
    """

    boxes: dict[str, tuple[Box, ...]]
    no_data: tuple[np.ndarray, ...]
    glint: Glint | None
    veil: float


def plan(seed: int, index: int) -> Layout:
    """Plan image `index` (>= 0) of the data set `seed` (>= 0). Equal arguments give equal layouts."""
    rng = np.random.default_rng((seed, index, 0))
    present = _present_classes(rng, seed, index)
    cells = _cells(rng, len(present))
    boxes = {name: _boxes(rng, cell) for name, cell in zip(present, cells, strict=False)}
    return Layout(
        boxes={name: boxes[name] for name in CLASSES if name in boxes},
        no_data=(_no_data_band(rng),) if rng.random() < 0.6 else (),
        glint=_glint(rng) if rng.random() < 0.3 else None,
        veil=float(rng.uniform(0.06, 0.16)) if rng.random() < 0.5 else 0.0,
    )


def union_mask(boxes: tuple[Box, ...]) -> np.ndarray:
    """Mask of the pixels in any of the boxes, bool (HEIGHT, WIDTH)."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    for box in boxes:
        mask[box.y1 : box.y2, box.x1 : box.x2] = True
    return mask


def _present_classes(rng: np.random.Generator, seed: int, index: int) -> list[str]:
    """Choose classes, in random order. The index decides one of them, so that four images have all four classes."""
    first = CLASSES[(seed + index) % len(CLASSES)]
    count = rng.choice(len(CLASSES), p=CLASS_COUNT_ODDS)
    others = rng.permutation([name for name in CLASSES if name != first])[:count]
    return [str(name) for name in rng.permutation([first, *others])]


def _cells(rng: np.random.Generator, wanted: int) -> list[Box]:
    """Split the image into `wanted` rectangles or a few more, in random order; unused ones stay open ocean."""
    cells = [Box(0, 0, WIDTH, HEIGHT)]
    total = rng.choice({1: (2, 3), 2: (2, 3), 3: (3, 4), 4: (4,)}[wanted])
    while len(cells) < total:
        largest = max(cells, key=lambda cell: cell.width * cell.height)
        cells.remove(largest)
        cells += _halves(largest, float(rng.uniform(0.42, 0.58)))
    return [cells[i] for i in rng.permutation(len(cells))]


def _halves(cell: Box, share: float) -> list[Box]:
    if cell.width > cell.height:
        x = cell.x1 + round(share * cell.width)
        return [Box(cell.x1, cell.y1, x, cell.y2), Box(x, cell.y1, cell.x2, cell.y2)]
    y = cell.y1 + round(share * cell.height)
    return [Box(cell.x1, cell.y1, cell.x2, y), Box(cell.x1, y, cell.x2, cell.y2)]


def _boxes(rng: np.random.Generator, cell: Box) -> tuple[Box, ...]:
    """One to four overlapping boxes close to the cell, as several labellers would draw them.

    Each edge is moved independently: mostly inward, sometimes slightly outward, so that neighbouring classes overlap.
    """
    count = int(rng.choice((1, 2, 3, 4), p=(0.35, 0.35, 0.2, 0.1)))
    left, top, right, bottom = rng.uniform(-0.03, 0.12, (4, count))
    if count > 1 and rng.random() < 0.4:
        right[0] += rng.uniform(0.25, 0.4)
        bottom[1] += rng.uniform(0.25, 0.4)
    return tuple(
        Box(
            cell.x1 + round(left[i] * cell.width),
            cell.y1 + round(top[i] * cell.height),
            cell.x2 - round(right[i] * cell.width),
            cell.y2 - round(bottom[i] * cell.height),
        ).clipped()
        for i in range(count)
    )


def _no_data_band(rng: np.random.Generator) -> np.ndarray:
    """A slanted black band between two swaths: a wedge across the image, or a triangle at its side."""
    slant = float(rng.choice((-1, 1)) * rng.uniform(120, 380))
    middle = float(rng.uniform(-0.02, 1.02) * WIDTH)
    y = np.arange(-40, HEIGHT + 41, 40)
    down = y / HEIGHT
    breadth = np.interp(down, (0, 1), rng.uniform(90, 300, 2))
    centre = middle + slant * (down - 0.5)
    # Real edges are slightly jagged, as sensor lines are not aligned with the image's pixel grid.
    left, right = centre + np.array(((-0.5,), (0.5,))) * breadth + rng.uniform(-3, 3, (2, len(y)))
    outline = np.column_stack((np.r_[left, right[::-1]], np.r_[y, y[::-1]]))
    return np.round(outline).astype(np.int32)


def _glint(rng: np.random.Generator) -> Glint:
    top = float(rng.uniform(0.1, 0.9) * WIDTH)
    return Glint(
        top=top,
        bottom=top + float(rng.uniform(-350, 350)),
        breadth=float(rng.uniform(120, 240)),
        strength=float(rng.uniform(45, 85)),
    )
