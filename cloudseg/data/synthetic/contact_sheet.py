"""Draws an overview image of the four classes of a generated data set."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from cloudseg.data.colours import COLOURS
from cloudseg.data.labels import CLASSES, SOURCE_SIZE, ImageLabels, RunTable
from cloudseg.data.rle import Runs
from cloudseg.data.synthetic.folder import TABLE, TRAIN_FOLDER

COLOURS_BGR = {name: colour[::-1] for name, colour in COLOURS.items()}
DESCRIPTIONS = {
    "Fish": "long spines with slanted ribs",
    "Flower": "patches in dark rings",
    "Gravel": "rounded grains along arcs",
    "Sugar": "fine dust, little order",
}
TITLE = "Generated satellite images, one column per class"
CAPTION = "Outlines: the label boxes. Bottom row: close-ups of the first row. Black: no data between two swaths."

# Everything is drawn at twice the size and halved at the end, as OpenCV's stroke fonts are poor at small sizes.
WIDTH, GAP = 2800, 28
TILE = (WIDTH - 5 * GAP) // 4, 442
HEAD, COLUMN_HEAD = 150, 116
BACKGROUND, INK = (30, 24, 20), (240, 240, 240)


def write_contact_sheet(folder: Path, file: Path) -> None:
    """Write the contact sheet of the data set in `folder` as JPEG."""
    jpeg = cv2.imencode(".jpg", contact_sheet(folder), [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(jpeg.tobytes())


def contact_sheet(folder: Path) -> np.ndarray:
    """Draw two images and a close-up of each class of the data set in `folder`: BGR uint8 (about 850, 1400, 3)."""
    tile_width, tile_height = TILE
    height = HEAD + COLUMN_HEAD + 3 * (tile_height + GAP)
    sheet = np.full((height, WIDTH, 3), BACKGROUND, np.uint8)
    _write(sheet, TITLE, (GAP, 70), 1.9, INK, 3)
    _write(sheet, CAPTION, (GAP, 124), 1.05, (190, 190, 190), 2)
    table = RunTable(folder / TABLE)
    for column, (name, chosen) in enumerate(_examples(table).items()):
        x = GAP + column * (tile_width + GAP)
        _write(sheet, name, (x, HEAD + 50), 1.7, COLOURS_BGR[name], 4)
        _write(sheet, DESCRIPTIONS[name], (x, HEAD + 96), 1.1, INK, 2)
        for row, tile in enumerate(_tiles(table, folder / TRAIN_FOLDER, name, chosen)):
            y = HEAD + COLUMN_HEAD + row * (tile_height + GAP)
            sheet[y : y + tile_height, x : x + tile_width] = tile
    return cv2.resize(sheet, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def _examples(table: RunTable) -> dict[str, list[ImageLabels]]:
    """Choose two images for each class, none twice: with few other classes and a large area of this one."""
    chosen: dict[str, list[ImageLabels]] = {}
    left = table.read()[0]
    for i, name in enumerate(CLASSES):
        areas = {image: _area(table.runs(image, i)) for image in left if image.rows[i]}
        chosen[name] = sorted(areas, key=lambda image: (image.combination.bit_count() > 2, -areas[image]))[:2]
        left = [image for image in left if image not in chosen[name]]
    return chosen


def _area(runs: Runs) -> int:
    return int((runs.ends - runs.starts).sum())


def _mask(runs: Runs) -> np.ndarray:
    """Mask of runs, bool (1400, 2100)."""
    height, width = SOURCE_SIZE
    flat = np.zeros(height * width, bool)
    for start, end in zip(*runs, strict=True):
        flat[start:end] = True
    return flat.reshape(width, height).T


def _tiles(table: RunTable, images: Path, name: str, chosen: list[ImageLabels]) -> list[np.ndarray]:
    """The chosen images with outlines, then a close-up of the class in the first: BGR uint8 of the size TILE."""
    tiles = []
    close_up: list[np.ndarray] = []
    for image in chosen:
        pixels = cv2.imread(str(images / image.name))
        masks = {label: _mask(table.runs(image, i)) for i, label in enumerate(CLASSES) if image.rows[i]}
        tiles.append(_outlined(pixels, masks))
        close_up = close_up or [_close_up(pixels, masks[name])]
    return tiles + close_up


def _outlined(pixels: np.ndarray, masks: dict[str, np.ndarray]) -> np.ndarray:
    tile = cv2.resize(pixels, TILE, interpolation=cv2.INTER_AREA)
    for name, mask in masks.items():
        small = cv2.resize(mask.astype(np.uint8), TILE, interpolation=cv2.INTER_AREA)
        outlines, _ = cv2.findContours(small, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(tile, outlines, -1, COLOURS_BGR[name], 4, cv2.LINE_AA)
        x, y, _, _ = cv2.boundingRect(max(outlines, key=cv2.contourArea))
        _write(tile, name, (x + 10, y + 34), 1.0, COLOURS_BGR[name], 2)
    return tile


def _close_up(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Crop of the size TILE at the image's full resolution, where the class covers most of the surroundings."""
    width, height = TILE
    around = 2 * width, 2 * height
    share = cv2.boxFilter(mask.astype(np.float32), -1, around, borderType=cv2.BORDER_CONSTANT)
    row, column = np.unravel_index(int(share.argmax()), share.shape)
    top = int(np.clip(row - height // 2, 0, SOURCE_SIZE[0] - height))
    left = int(np.clip(column - width // 2, 0, SOURCE_SIZE[1] - width))
    return pixels[top : top + height, left : left + width]


def _write(
    canvas: np.ndarray,
    text: str,
    at: tuple[int, int],
    size: float,
    colour: tuple[int, int, int],
    thickness: int,
) -> None:
    """Write text with a dark outline, legible over clouds. `at` is the left end of its baseline."""
    for shade, extra in ((BACKGROUND, 6), (colour, 0)):
        cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_DUPLEX, size, shade, thickness + extra, cv2.LINE_AA)
