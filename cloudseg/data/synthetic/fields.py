"""Random fields and shapes from which the cloud patterns are made."""

from __future__ import annotations

import cv2
import numpy as np

Shape = tuple[int, int]


def noise(
    rng: np.random.Generator, shape: Shape, coarsest: float, finest: float = 2.0, roughness: float = 0.6
) -> np.ndarray:
    """Fractal noise with mean 0 and standard deviation 1: float32 `shape`.

    The octaves range from `coarsest` to `finest` pixels; each has `roughness` times the amplitude of the previous one.
    They are summed at low resolution, so the cost is that of the finest octave.
    """
    octaves = max(round(np.log2(coarsest / finest)), 0) + 1
    cell = finest * 2 ** (octaves - 1)
    field, strength = _grid(rng, shape, cell), 1.0
    for _ in range(octaves - 1):
        cell, strength = cell / 2, strength * roughness
        finer = _grid(rng, shape, cell)
        coarser = cv2.resize(field, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
        field = coarser[: finer.shape[0], : finer.shape[1]] + strength * finer
    height, width = shape
    field = cv2.resize(field, None, fx=cell, fy=cell, interpolation=cv2.INTER_CUBIC)[:height, :width]
    return (field - field.mean()) / field.std()


def _grid(rng: np.random.Generator, shape: Shape, cell: float) -> np.ndarray:
    rows, columns = (int(np.ceil(side / cell)) + 2 for side in shape)
    return rng.standard_normal((rows, columns), dtype=np.float32)


def streaks(rng: np.random.Generator, shape: Shape, angle: float, width: float, stretch: float = 5.0) -> np.ndarray:
    """Noise stretched along a direction: float32 `shape`, mean about 0, standard deviation about 1.

    `angle` is in radians, counter-clockwise from the x axis; features are about `width` pixels wide and `stretch` times
    as long.
    """
    height, columns = shape
    side = int(np.ceil(np.hypot(height, columns)))
    squeezed = noise(rng, (side, int(np.ceil(side / stretch))), 4 * width, width)
    long = cv2.resize(squeezed, (side, side), interpolation=cv2.INTER_CUBIC)
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), float(np.degrees(angle)), 1.0)
    to_window = np.array(((0, 0, (columns - side) / 2), (0, 0, (height - side) / 2)))
    return cv2.warpAffine(long, turn + to_window, (columns, height), borderMode=cv2.BORDER_REFLECT)


def warp(field: np.ndarray, rng: np.random.Generator, reach: float, size: float) -> np.ndarray:
    """Displace every point of a field by noise: by about `reach` pixels, with features of at most `size` pixels."""
    height, width = field.shape
    dx, dy = (reach * noise(rng, (height, width), size, max(size / 8, 2.0)) for _ in range(2))
    x = np.arange(width, dtype=np.float32) + dx
    y = np.arange(height, dtype=np.float32)[:, None] + dy
    return cv2.remap(field, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def smoothstep(field: np.ndarray, low: float, high: float) -> np.ndarray:
    """Map a field to 0 below `low`, 1 above `high` and a smooth rise between; same shape as `field`."""
    t = np.clip((field - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def scatter(rng: np.random.Generator, shape: Shape, spacing: float, jitter: float = 0.3) -> np.ndarray:
    """Points about `spacing` pixels apart: a hexagonal grid with random shifts, slightly larger than `shape`.

    Returns x, y, float64 (n, 2). `jitter` is the largest shift as a fraction of the spacing.
    """
    height, width = shape
    rows = np.arange(-1, height / (spacing * 0.866) + 2)
    columns = np.arange(-1, width / spacing + 2)
    y, x = np.meshgrid(rows * spacing * 0.866, columns * spacing, indexing="ij")
    x[::2] += spacing / 2
    points = np.column_stack((x.ravel(), y.ravel())) - rng.uniform(0, spacing, 2)
    return points + rng.uniform(-jitter, jitter, points.shape) * spacing


def discs(shape: Shape, centres: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Draw filled discs, 1 inside and 0 outside: float32 `shape`. `centres` are x, y, (n, 2), `radii` (n,)."""
    canvas = np.zeros(shape, np.uint8)
    for x, y, radius in np.round(np.column_stack((centres, radii)) * 16).astype(int).tolist():
        cv2.circle(canvas, (x, y), radius, (255,), cv2.FILLED, cv2.LINE_AA, shift=4)
    return canvas.astype(np.float32) / 255


def blur(field: np.ndarray, sigma: float) -> np.ndarray:
    """Blur a field with a Gaussian; same shape and dtype."""
    return cv2.GaussianBlur(field, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
