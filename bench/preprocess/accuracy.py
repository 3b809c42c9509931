"""Difference between stored pixels and those of a full decoding with a floating-point area average."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from cloudseg.data.shards import Manifest, Shards

IMAGES = 20


def half_size(jpeg: bytes, size: tuple[int, int]) -> np.ndarray:
    """Decode at half size in the DCT domain, then area average: RGB uint8 (h, w, 3)."""
    height, width, _, _ = simplejpeg.decode_jpeg_header(jpeg)
    image = simplejpeg.decode_jpeg(jpeg, "RGB", min_height=height // 2, min_width=width // 2, min_factor=2)
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)


def reference(jpeg: bytes, size: tuple[int, int]) -> np.ndarray:
    """Decode at full size, then area average: RGB float32 (h, w, 3)."""
    full = simplejpeg.decode_jpeg(jpeg, "RGB").astype(np.float32)
    return cv2.resize(full, size[::-1], interpolation=cv2.INTER_AREA)


def errors(image: np.ndarray, exact: np.ndarray) -> tuple[float, float]:
    """PSNR in dB, and the mean absolute error in levels of 255."""
    difference = image.astype(np.float64) - exact
    return 10 * float(np.log10(255**2 / np.mean(difference**2))), float(np.mean(np.abs(difference)))


def compare(images: Path, shards: Path) -> dict[str, list[tuple[float, float]]]:
    """`errors` of the half-size decoding and of the stored pixels, for up to IMAGES images."""
    stored = Shards(Manifest.load(shards))
    size = stored.manifest.size
    out: dict[str, list[tuple[float, float]]] = {"half_size_decode": [], "stored": []}
    for number in range(min(IMAGES, len(stored))):
        jpeg = (images / stored.name(number)).read_bytes()
        exact = reference(jpeg, size)
        out["half_size_decode"].append(errors(half_size(jpeg, size), exact))
        out["stored"].append(errors(stored.image(number), exact))
    return out
