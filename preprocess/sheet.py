"""Draws samples of a data set for visual inspection: image, labels and black band side by side."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from cloudseg.core.atomic import write
from cloudseg.core.errors import UsageError
from cloudseg.data.colours import COLOURS, NO_DATA_COLOUR
from cloudseg.data.labels import CLASSES, NO_DATA
from cloudseg.data.overlay import overlay
from cloudseg.data.shards import Manifest, Shards

SAMPLES = 6
GAP = 8
HEAD = 34
PAPER, INK = (255, 255, 255), (30, 30, 30)
_QUALITY = (cv2.IMWRITE_JPEG_QUALITY, 85)
_FONT = cv2.FONT_HERSHEY_DUPLEX


def write_sheet(data: Path, out: Path) -> str:
    """Draw evenly spaced samples of the data set `data` into the PNG or JPEG `out`; returns a summary line.

    Raises UsageError if `out` has another suffix.
    """
    if out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise UsageError(f"--out {out}: give a .png or .jpg file")
    shards = Shards(Manifest.load(data))
    chosen = np.unique(np.linspace(0, len(shards) - 1, SAMPLES).astype(int))
    sheet = np.vstack([_legend(3 * (shards.manifest.size[1] + GAP)), *(_row(shards, number) for number in chosen)])
    out.parent.mkdir(parents=True, exist_ok=True)
    write(out, cv2.imencode(out.suffix, cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR), _QUALITY)[1].tobytes())
    return f"{len(chosen)} samples: image, labels, black band -> {out}"


def _legend(width: int) -> np.ndarray:
    strip = np.full((HEAD, width, 3), PAPER, np.uint8)
    x = GAP
    for name, colour in [*COLOURS.items(), ("no data", NO_DATA_COLOUR)]:
        cv2.rectangle(strip, (x, 9), (x + 22, 27), colour, cv2.FILLED)
        cv2.putText(strip, name, (x + 30, 26), _FONT, 0.6, INK, 1, cv2.LINE_AA)
        x += 140
    return strip


def _row(shards: Shards, number: int) -> np.ndarray:
    image, mask = shards.image(number), shards.mask(number)
    tiles = [image.copy(), overlay(image, mask), banded(image, mask)]
    border = [cv2.copyMakeBorder(t, 0, GAP, 0, GAP, cv2.BORDER_CONSTANT, value=PAPER) for t in tiles]
    title = np.full((HEAD, sum(tile.shape[1] for tile in border), 3), PAPER, np.uint8)
    present = [name for i, name in enumerate(CLASSES) if (mask & (1 << i)).any()]
    share = (mask == NO_DATA).mean()
    text = f"{shards.name(number)}: {', '.join(present) or 'none'}; {share:.1%} without data"
    cv2.putText(title, text, (2, 25), _FONT, 0.55, INK, 1, cv2.LINE_AA)
    return np.vstack([title, np.hstack(border)])


def banded(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The image with no-data pixels in one colour, and brightened so that dark ocean differs from black: uint8
    (H, W, 3)."""
    bright = (255 * np.sqrt(image / 255)).astype(np.uint8)
    bright[mask == NO_DATA] = NO_DATA_COLOUR
    return bright
