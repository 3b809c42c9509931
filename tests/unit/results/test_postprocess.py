"""Rules in thresholds.json."""

from __future__ import annotations

import dataclasses
import json

import cv2
import numpy as np
import pytest

from cloudseg.core.errors import UsageError
from cloudseg.data.labels import CLASSES
from cloudseg.results import postprocess
from cloudseg.results.postprocess import EACH_COMPONENT, IN_TOTAL, Rule


def test_rules_are_read_as_they_were_written(tmp_path):
    rules = [Rule(0.3, 0.6, 500, IN_TOTAL, "hull"), Rule(), Rule(0.5, 0.0, 9), Rule(0.4, min_presence=0.3)]
    rules[1] = Rule(shape="box", decide="expected_dice", evidence="head", slope=0.25, intercept=-1.5)
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


@pytest.mark.parametrize("field", ["area_of", "shape", "decide", "evidence"])
def test_an_unknown_value_of_a_rule_is_named(tmp_path, field):
    (tmp_path / "thresholds.json").write_text(json.dumps({name: {field: "hul"} for name in CLASSES}))
    with pytest.raises(UsageError, match=f"thresholds.json, Fish: {field}: there is no 'hul'"):
        postprocess.load(tmp_path / "thresholds.json")


def test_a_limit_on_presence_empties_masks_up_to_it():
    probability = np.full((3, 4), 200, np.uint8)
    sums = [postprocess.mask(probability, Rule(min_presence=0.4), presence).sum() for presence in (0.3, 0.4, 0.41)]
    assert sums == [0, 0, 12]
    assert postprocess.mask(probability, Rule(), 0.0).sum() == 12


def test_expected_dice_weighs_mask_and_presence():
    """P is 0.57, the peak. A mask of all pixels has an expected Dice of 0.57, one of half of them less than 0.43."""
    probability = np.zeros((10, 10), np.uint8)
    probability[:5] = 145
    rule = Rule(0.3, decide="expected_dice")
    assert postprocess.mask(probability, rule).sum() == 50
    assert postprocess.mask(probability, dataclasses.replace(rule, intercept=-1.0)).sum() == 0
    probability[5:] = 140
    assert postprocess.mask(probability, dataclasses.replace(rule, threshold=0.56)).sum() == 0
    assert postprocess.mask(probability, rule).sum() == 100


HEADS = [Rule(min_presence=0.1), Rule(decide="expected_dice", evidence="head")]


@pytest.mark.parametrize("rule", HEADS, ids=["limit", "expected dice"])
def test_a_rule_that_needs_a_presence_head_is_not_applied_without_one(rule):
    rules = [Rule(), rule, Rule(), Rule()]
    postprocess.check_head(rules, True)
    postprocess.check_head([Rule(), Rule(decide="expected_dice"), Rule(), Rule()], False)
    with pytest.raises(UsageError, match="the rule of Flower uses the probability of a presence head"):
        postprocess.check_head(rules, False)
    with pytest.raises(ValueError, match="needs the probability of a presence head"):
        postprocess.mask(np.zeros((2, 2), np.uint8), rule)


def test_masks_of_all_classes_have_each_its_presence():
    probability = np.full((4, 3, 4), 200, np.uint8)
    masks = postprocess.masks(probability, [Rule(min_presence=0.5)] * 4, np.array([0.4, 0.6, 0.4, 0.6], np.float32))
    assert masks.any(axis=(1, 2)).tolist() == [False, True, False, True]


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
