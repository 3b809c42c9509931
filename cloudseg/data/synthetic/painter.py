"""Paints a layout: ocean, patterns in their boxes, scattered small clouds, haze, sensor noise, black bands."""

from __future__ import annotations

import cv2
import numpy as np

from cloudseg.data.synthetic.fields import Shape, blur, discs, noise, smoothstep, streaks, warp
from cloudseg.data.synthetic.layout import HEIGHT, WIDTH, Box, Glint, Layout, plan
from cloudseg.data.synthetic.patterns import PATTERNS

HALF: Shape = (HEIGHT // 2, WIDTH // 2)
"""Shape in which clouds are drawn; fine detail is added at full size."""
EIGHTH: Shape = (HEIGHT // 8, WIDTH // 8)
"""Shape in which water is drawn, as it has no fine detail."""

OCEAN_RGB = (16, 21, 36)
HAZE_RGB = (52, 58, 66)
GLINT_RGB = (1.0, 0.98, 0.9)
CLOUD_RGB = (228, 230, 233)


def picture(seed: int, index: int) -> np.ndarray:
    """Paint image `index` (>= 0) of the data set `seed` (>= 0), always equally: RGB uint8 (HEIGHT, WIDTH, 3)."""
    threads = cv2.getNumThreads()
    # If OpenCV divides a cubic resize among threads, pixels may differ by one.
    cv2.setNumThreads(1)
    try:
        return paint(plan(seed, index), np.random.default_rng((seed, index, 1)))
    finally:
        cv2.setNumThreads(threads)


def paint(layout: Layout, rng: np.random.Generator) -> np.ndarray:
    """Paint a layout: RGB uint8 (HEIGHT, WIDTH, 3), with (0, 0, 0) in the no-data bands."""
    # One generator per part, so that a change of one part does not change the others.
    water_rng, stray_rng, veil_rng, fray_rng, grain_rng, *pattern_rngs = rng.spawn(5 + len(PATTERNS))
    density = _stray_clouds(stray_rng, layout)
    for (name, pattern), pattern_rng in zip(PATTERNS.items(), pattern_rngs, strict=True):
        if name in layout.boxes:
            window, weight = _window(pattern_rng, layout.boxes[name])
            height, width = weight.shape
            cloud = pattern(pattern_rng, (height, width)) * weight
            np.maximum(density[window], cloud, out=density[window])
    density += 0.22 * noise(fray_rng, HALF, 16, 2, roughness=0.9) * np.clip(density, 0, 0.6)
    image = _compose(grain_rng, _water(water_rng, layout.glint), density, _veil(veil_rng, layout.veil))
    for band in layout.no_data:
        cv2.fillPoly(image, [band], (0, 0, 0))
    return image


def _window(rng: np.random.Generator, boxes: tuple[Box, ...]) -> tuple[tuple[slice, slice], np.ndarray]:
    """Where a class is drawn: the half-size window of its boxes, and its weight there, float32 (h, w), 0 to 1.

    The cloud ends slightly inside the boxes with an irregular edge, except where a box ends at the image's edge.
    """
    inside = np.zeros(HALF, np.uint8)
    for box in boxes:
        inside[box.y1 // 2 : box.y2 // 2, box.x1 // 2 : box.x2 // 2] = 1
    x, y, width, height = cv2.boundingRect(inside)
    window = slice(y, y + height), slice(x, x + width)
    pad = 50
    around = cv2.copyMakeBorder(inside, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
    depth = cv2.distanceTransform(around, cv2.DIST_L2, 3)[pad:-pad, pad:-pad][window]
    return window, smoothstep(depth + 9 * noise(rng, (height, width), 80, 10), 4, 26)


def _stray_clouds(rng: np.random.Generator, layout: Layout) -> np.ndarray:
    """Scattered groups of small clouds over open ocean, none inside a box: density, float32 HALF."""
    flocks = rng.uniform((0, 0), (HALF[1], HALF[0]), (int(rng.integers(14, 34)), 2))
    centres = np.repeat(flocks, rng.integers(1, 9, len(flocks)), axis=0)
    centres += rng.normal(0, 26, centres.shape)
    boxes = [box for group in layout.boxes.values() for box in group]
    at_sea = [not any(_near(box, x, y) for box in boxes) for x, y in 2 * centres]
    radii = rng.uniform(1.2, 6.5, len(centres))
    clouds = discs(HALF, centres[at_sea], radii[at_sea])
    return 0.95 * blur(warp(clouds, rng, reach=3, size=16), 1.3)


def _near(box: Box, x: float, y: float, margin: int = 15) -> bool:
    return box.x1 - margin < x < box.x2 + margin and box.y1 - margin < y < box.y2 + margin


def _water(rng: np.random.Generator, glint: Glint | None) -> list[np.ndarray]:
    """Dark water with slowly varying brightness and haze, and the glint: R, G and B, float32 EIGHTH, 0 to 255."""
    brightness = np.clip(1.15 + 0.16 * noise(rng, EIGHTH, 160, 20), 0.8, 1.7)
    haze = 0.16 * smoothstep(noise(rng, EIGHTH, 120, 10), -0.3, 2.5)
    light = np.zeros(EIGHTH, np.float32)
    if glint:
        y, x = np.mgrid[: EIGHTH[0], : EIGHTH[1]].astype(np.float32) * (HEIGHT / EIGHTH[0])
        middle = glint.top + (glint.bottom - glint.top) * y / HEIGHT
        band = np.exp(-(((x - middle) / glint.breadth) ** 2) / 2)
        light = glint.strength * band * (1 + 0.12 * noise(rng, EIGHTH, 60, 4))
    return [
        ocean * brightness * (1 - haze) + hazy * haze + glare * light
        for ocean, hazy, glare in zip(OCEAN_RGB, HAZE_RGB, GLINT_RGB, strict=True)
    ]


def _veil(rng: np.random.Generator, strength: float) -> np.ndarray:
    """Thin cirrus in long streaks: opacity, float32 HALF, 0 to twice `strength`."""
    if not strength:
        return np.zeros(HALF, np.float32)
    wisps = streaks(rng, HALF, float(rng.uniform(-0.7, 0.7)), width=10, stretch=12)
    patches = noise(rng, HALF, 360, 90, roughness=0.5)
    return 2 * strength * smoothstep(patches + 0.5 * wisps, -0.3, 2.8)


def _compose(rng: np.random.Generator, water: list[np.ndarray], density: np.ndarray, veil: np.ndarray) -> np.ndarray:
    """Combine clouds and water at full size, lit from the upper left, with grain: RGB uint8 (HEIGHT, WIDTH, 3)."""
    size = (WIDTH, HEIGHT)
    grain = rng.integers(0, 256, (HEIGHT, WIDTH), np.uint8).astype(np.float32) / 255 - 0.5
    density = cv2.resize(density, size, interpolation=cv2.INTER_CUBIC)
    density = density + 2.5 * blur(grain, 1.2) * np.clip(density, 0, 0.6)
    opacity = smoothstep(density, 0.02, 1.1)
    np.maximum(opacity, cv2.resize(veil, size), out=opacity)
    light = opacity.copy()
    light[3:, 3:] *= 1 + 0.2 * np.clip(density[3:, 3:] - density[:-3, :-3], -0.6, 0.6)
    clear = 1 - opacity
    channels = []
    for under, cloud in zip(water, CLOUD_RGB, strict=True):
        seen = cv2.resize(under, size, interpolation=cv2.INTER_CUBIC) * clear
        channels.append(cv2.add(seen, cloud * light + 5 * grain, dtype=cv2.CV_8U))
    return cv2.merge(channels)
