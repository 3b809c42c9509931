"""The four cloud patterns as density fields.

Each function takes a random generator and a shape (H, W) and returns a density, float32 (H, W), about 0 in clear air
and 1 in thick cloud; the painter masks it with the boxes. Lengths are in pixels of the half-size image. The four
patterns must be distinguishable at 128x192 too, 5.5 times smaller: dust, dots on arcs, round patches with dark rings,
ribbed streaks.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from cloudseg.data.synthetic.fields import Shape, blur, discs, noise, scatter, smoothstep, streaks, warp

Pattern = Callable[[np.random.Generator, Shape], np.ndarray]


def sugar(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Very fine specks with little organisation, in faint streaks along the wind."""
    wind = float(rng.uniform(-0.9, 0.9))
    specks = blur(rng.standard_normal(shape, dtype=np.float32), 0.8) * 2.8
    threads = streaks(rng, shape, wind, width=3, stretch=3)
    feathers = streaks(rng, shape, wind + 0.5, width=14, stretch=3)
    return 0.7 * smoothstep(specks + 0.5 * threads + 0.55 * feathers, -0.1, 2.2)


def gravel(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Bright rounded grains along arcs, as at the gust fronts of showers."""
    middles = scatter(rng, shape, spacing=float(rng.uniform(100, 125)))
    points, radii = zip(*(_grains_on_arc(rng, middle) for middle in middles), strict=True)
    pebbles = scatter(rng, shape, spacing=52, jitter=0.9)
    grains = discs(
        shape,
        np.concatenate((pebbles, *points)),
        np.concatenate((rng.uniform(1.2, 3.5, len(pebbles)), *radii)),
    )
    return 1.3 * blur(warp(grains, rng, reach=2.2, size=16), 2.0)


def _grains_on_arc(rng: np.random.Generator, middle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centres, (n, 2), and radii, (n,), of the grains around one centre of an arc."""
    radius = rng.uniform(36, 66)
    angles = np.cumsum(rng.uniform(16, 27, int(rng.uniform(3.2, 5.4) * radius / 21))) / radius
    angles += rng.uniform(0, 2 * np.pi)
    distances = radius * rng.normal(1, 0.07, len(angles))
    offsets = np.column_stack((1.1 * np.cos(angles), 0.9 * np.sin(angles))) * distances[:, None]
    return middle + offsets, rng.triangular(4, 6.5, 10.5, len(angles))


def flower(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Large stratiform patches with ragged lobes, each in a ring of clear air."""
    quarter = -(-shape[0] // 4), -(-shape[1] // 4)
    middles = scatter(rng, shape, spacing=float(rng.uniform(130, 155)), jitter=0.18) / 4
    reach = _reach_around_nearest(rng, quarter, middles)
    reach = cv2.resize(reach, shape[::-1], interpolation=cv2.INTER_CUBIC)
    reach = warp(reach, rng, reach=6, size=60)
    fray = noise(rng, shape, 32, 3, roughness=0.8)
    body = smoothstep(1 - reach + 0.13 * fray, -0.12, 0.32)
    return body * (0.92 + 0.2 * noise(rng, shape, 20, 3, roughness=0.8))


def _reach_around_nearest(rng: np.random.Generator, shape: Shape, middles: np.ndarray) -> np.ndarray:
    """Distance to the nearest centre divided by that patch's radius: float32 `shape`, 1 at the edges.

    The radius varies with the direction, which makes the lobes. `shape` and `middles` are at a quarter of the size.
    """
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    nearest = np.full(shape, np.inf, np.float32)
    for middle_x, middle_y in middles.astype(np.float32).tolist():
        petals, turn, radius = rng.integers(5, 9), rng.uniform(0, 2 * np.pi), rng.uniform(12, 15.5)
        distance, angle = cv2.cartToPolar(x - middle_x, y - middle_y)
        radii = float(radius) * (1 + 0.1 * np.cos(int(petals) * angle + float(turn)))
        np.minimum(nearest, distance / radii, out=nearest)
    return nearest


def fish(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Long spines with slanted ribs on both sides, side by side, with clear air between them."""
    canvas = np.zeros(shape, np.uint8)
    heading = float(rng.choice((-1, 1)) * rng.uniform(0.05, 0.6))
    for spine in _spines(rng, shape, heading):
        _draw_fish(rng, canvas, spine)
    bones = warp(canvas.astype(np.float32) / 255, rng, reach=4, size=40)
    clumps = 0.9 + 0.35 * noise(rng, shape, 20, 4, roughness=0.8)
    return 1.35 * blur(bones, 2.2) * np.clip(clumps, 0.2, 1.3) + 0.2 * blur(bones, 9)


def _spines(rng: np.random.Generator, shape: Shape, heading: float) -> list[np.ndarray]:
    """Wavy lines over the whole shape, about parallel to `heading`: each x, y, float64 (n, 2), 4 pixels per step."""
    height, width = shape
    reach = np.hypot(height, width) / 2
    along = np.array((np.cos(heading), np.sin(heading)))
    across = np.array((-along[1], along[0]))
    spines = []
    for offset in np.arange(-reach + rng.uniform(0, 106), reach, 106):
        steps = np.arange(-reach, reach, 4)
        wave = rng.uniform(10, 24) * np.sin(steps / rng.uniform(60, 110) + rng.uniform(0, 6.3))
        line = np.array((width, height)) / 2 + steps[:, None] * along + (offset + wave)[:, None] * across
        cuts = np.cumsum(rng.uniform(55, 110, 40)) - rng.uniform(0, 80)
        parts = np.split(line, cuts[(cuts > 0) & (cuts < len(line))].astype(int))
        spines += [part[:-5] for part in parts if len(part) > 20]
    return spines


def _draw_fish(rng: np.random.Generator, canvas: np.ndarray, spine: np.ndarray) -> None:
    """Draw one spine, thick at the head and thin at the tail, and its ribs, into `canvas`, uint8."""
    direction = spine[-1] - spine[0]
    heading = float(np.arctan2(direction[1], direction[0]))
    roots = spine[1::5]
    sizes = np.linspace(1, 0.45, len(roots))
    for side in (-1, 1):
        angles = heading + side * rng.uniform(0.7, 1.0, len(roots))
        lengths = rng.uniform(36, 58, len(roots)) * sizes
        tips = roots + lengths[:, None] * np.column_stack((np.cos(angles), np.sin(angles)))
        for root, tip in zip(roots, tips, strict=True):
            _line(canvas, root, (root + tip) / 2, 210, 6)
            _line(canvas, root, tip, 160, 4)
    for start, end, size in zip(roots[:-1], roots[1:], sizes, strict=False):
        _line(canvas, start, end, 255, round(13 * size))


def _line(canvas: np.ndarray, start: np.ndarray, end: np.ndarray, brightness: int, thickness: int) -> None:
    (x1, y1), (x2, y2) = np.round(np.stack((start, end)) * 16).astype(int).tolist()
    cv2.line(canvas, (x1, y1), (x2, y2), (brightness,), thickness, cv2.LINE_AA, shift=4)


PATTERNS: dict[str, Pattern] = {"Fish": fish, "Flower": flower, "Gravel": gravel, "Sugar": sugar}
