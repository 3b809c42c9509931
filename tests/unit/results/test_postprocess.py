"""Rules in thresholds.json."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from cloudseg.core.errors import UsageError
from cloudseg.data.labels import CLASSES
from cloudseg.results import postprocess
from cloudseg.results.postprocess import EACH_COMPONENT, IN_TOTAL, Rule


def test_rules_are_read_as_they_were_written(tmp_path):
    rules = [Rule(0.3, 0.6, 500, IN_TOTAL, "hull"), Rule(), Rule(0.5, 0.0, 9), Rule(shape="box")]
    (tmp_path / "thresholds.json").write_text(json.dumps(postprocess.to_table(rules)))
    assert postprocess.load(tmp_path / "thresholds.json") == rules


def test_rules_of_an_earlier_version_are_read_under_the_names_that_they_had(tmp_path):
    table = {"threshold": 0.4, "sure": 0.7, "min_area": 800, "area_of": "piece", "shape": "none"}
    (tmp_path / "thresholds.json").write_text(json.dumps(dict.fromkeys(CLASSES, table)))
    assert postprocess.load(tmp_path / "thresholds.json") == [Rule(0.4, 0.7, 800, EACH_COMPONENT)] * len(CLASSES)


def test_an_unknown_field_of_a_rule_is_named(tmp_path):
    (tmp_path / "thresholds.json").write_text(json.dumps({name: {"treshold": 0.4} for name in CLASSES}))
    with pytest.raises(UsageError, match="Fish: there is no setting 'treshold'; did you mean 'threshold'"):
        postprocess.load(tmp_path / "thresholds.json")


def test_hulls_and_boxes_cover_each_component_and_what_it_encloses():
    """A ring around a square, and an L."""
    found = np.zeros((40, 60), bool)
    found[5:25, 5:30] = True
    found[8:22, 8:27] = False
    found[12:15, 12:20] = True
    found[30:38, 40:44] = found[30:33, 40:55] = True
    by_shape = dict(zip(postprocess.SHAPES, postprocess.shapes(found), strict=True))
    boxes = np.zeros_like(found)
    boxes[5:25, 5:30] = boxes[30:38, 40:55] = True
    assert np.array_equal(by_shape[postprocess.BOX], boxes)
    hulls = np.zeros(found.shape, np.uint8)
    _, labels = cv2.connectedComponents(found.astype(np.uint8), connectivity=8)
    for label in range(1, labels.max() + 1):
        cv2.fillConvexPoly(hulls, cv2.convexHull(np.argwhere(labels == label)[:, ::-1].astype(np.int32)), 1)
    assert np.array_equal(by_shape[postprocess.HULL], hulls.view(bool))
    for shape, expected in by_shape.items():
        assert np.array_equal(postprocess.reshape(found, shape), expected)
