"""Figures show what they are given, in the colours of the classes."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from cloudseg.data.colours import COLOURS
from cloudseg.data.labels import CLASSES
from cloudseg.results import figures, report, scoring
from cloudseg.results.postprocess import Rule


@pytest.fixture(scope="module")
def metrics() -> dict:
    random = np.random.default_rng(0)
    truth = np.zeros((6, 70, 105), np.uint8)
    truth[:, 10:40, 20:80] = 15
    probability = random.integers(0, 256, (6, 4, 70, 105), np.uint8)
    found = scoring.score(lambda i: (probability[i], truth[i]), 6)
    return {**scoring.summary(found, list("abcdef")), "found": found}


def pixels(uri: str) -> np.ndarray:
    kind, _, content = uri.partition(";base64,")
    assert kind in ("data:image/png", "data:image/jpeg")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB")).reshape(-1, 3)


def holds(image: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((np.abs(image.astype(int) - colour).max(axis=1) <= 2).any())


def test_every_figure_of_the_scores_can_be_drawn(metrics):
    for draw in (figures.bars, figures.calibration, figures.confusion):
        assert len(np.unique(pixels(figures.data_uri(draw(metrics))), axis=0)) > 5
    surfaces = figures.surfaces(metrics["found"].surfaces, [Rule(min_area=10**6), *metrics["found"].rules[1:]])
    assert [axes.get_title().partition(":")[0] for axes in surfaces.axes[:4]] == list(CLASSES)


def test_bars_have_the_colours_of_the_classes(metrics):
    drawn = pixels(figures.data_uri(figures.bars(metrics)))
    assert all(holds(drawn, colour) for colour in COLOURS.values())


@pytest.mark.parametrize(
    ("truth", "titles"), [(True, ["image", "ground truth"]), (False, ["image", "most probable class"])]
)
def test_a_panel_shows_truth_or_else_the_most_probable_class(truth, titles):
    masks = np.zeros((4, 350, 525), bool)
    masks[2, 100:200, 100:300] = True
    probability = np.where(masks, 250, 5).astype(np.uint8)
    image = np.zeros((1400, 2100, 3), np.uint8)
    drawn = figures.panel(image, probability, masks, masks if truth else None)
    assert [axes.get_title() for axes in drawn.axes[:2]] == titles
    assert drawn.axes[3].get_title() == "prediction"
    # Outlined in the prediction in the colour of its class, and tinted on black.
    assert COLOURS["Gravel"] in {tuple(pixel) for pixel in drawn.axes[3].images[0].get_array().reshape(-1, 3).tolist()}


def test_the_images_of_a_report_are_the_best_the_middle_and_the_worst_each_once():
    found = report.examples({f"{i}.jpg": i / 20 for i in range(20)})
    assert [why for why, _ in found] == ["best"] * 3 + ["median"] * 3 + ["worst"] * 3
    assert [name for _, name in found] == [f"{i}.jpg" for i in (19, 18, 17, 10, 9, 8, 2, 1, 0)]
    assert len(report.examples({"a": 1.0, "b": 0.5})) == 2
