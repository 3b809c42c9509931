"""Draws prediction and ground truth over an image. Pure."""

from __future__ import annotations

import cv2
import numpy as np

from cloudseg.data.colours import COLOURS, hexadecimal
from cloudseg.data.labels import CLASSES
from preprocess.area import resized

SIZE = (700, 1050)
"""Height and width of the drawing: twice those of the masks, for smooth outlines."""
TINT = 0.45
"""Opacity of predicted classes."""
LINE, HALO = 3, 7
"""Widths of the outline and of the dark line under it, in pixels."""


def draw(image: np.ndarray, predicted: np.ndarray | None = None, truth: np.ndarray | None = None) -> np.ndarray:
    """Draw masks over an image, RGB uint8 of any size: RGB uint8 (700, 1050, 3).

    Classes are tinted where `predicted`, and outlined where `truth`; both are bool (C, h, w).
    """
    out = resized(image, SIZE).copy()
    if predicted is not None:
        for name, mask in zip(CLASSES, predicted, strict=True):
            area = _enlarged(mask).view(bool)
            out[area] = ((1 - TINT) * out[area] + TINT * np.array(COLOURS[name])).astype(np.uint8)
    if truth is not None:
        for name, mask in zip(CLASSES, truth, strict=True):
            outlines, _ = cv2.findContours(_enlarged(mask), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(out, outlines, -1, (0, 0, 0), HALO)
            cv2.drawContours(out, outlines, -1, COLOURS[name], LINE)
    return out


def legend(truth: bool) -> str:
    """Legend of colours and lines as HTML, which contains no user input."""
    swatch = "display:inline-block;width:1em;height:1em;margin-right:.35em;vertical-align:-.1em;border-radius:2px;"
    grey = "#888888"
    items = [(f"background:{hexadecimal(COLOURS[name])}", name) for name in CLASSES]
    items.append((f"background:{grey};opacity:.6", "filled: predicted"))
    if truth:
        items.append((f"box-sizing:border-box;border:3px solid {grey}", "outlined: labelled"))
    spans = "".join(
        f'<span style="white-space:nowrap"><span style="{swatch}{style}"></span>{text}</span>' for style, text in items
    )
    return f'<div style="display:flex;flex-wrap:wrap;gap:.2em 1.2em;font-size:.9rem">{spans}</div>'


def icon() -> np.ndarray:
    """Icon of the browser's tab, uint8 (32, 32, 3). Streamlit would download a named icon from the internet."""
    squares = np.array([COLOURS[name] for name in CLASSES], np.uint8).reshape(2, 2, 3)
    return squares.repeat(16, axis=0).repeat(16, axis=1)


def _enlarged(mask: np.ndarray) -> np.ndarray:
    return cv2.resize(mask.astype(np.uint8), SIZE[::-1], interpolation=cv2.INTER_NEAREST)
