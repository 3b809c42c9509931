"""Runs scored on another data set, with the rules that their evaluation chose, by the command that users type."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy import ndimage

from cloudseg.data.labels import CLASSES
from tests import processes
from tests.preprocess_source import box, box_of, jpeg, picture, write_table
from tests.train.conftest import ROOT, start_ranks
from tests.train.test_results import metrics, type_

IMAGES = 18
"""More than fit in one file of probabilities."""


def label_boxes(number: int) -> list[tuple[int, int, int, int]]:
    """Of image `number`, one box for each class: top, bottom, left, right; of no area for an absent class."""
    boxes = [box_of(c) for c in range(4)]
    return [
        (top + 7 * number, bottom, left, right - 11 * number) if number >> c & 1 else (0, 0, 0, 0)
        for c, (top, bottom, left, right) in enumerate(boxes)
    ]


@pytest.fixture(scope="module")
def others(tmp_path_factory) -> dict[str, Path]:
    """The same images and labels as two data sets: from runs and from boxes. None has a black band."""
    folder = tmp_path_factory.mktemp("others")
    (folder / "images").mkdir()
    pictures = [jpeg(picture(number, band=False)) for number in range(4)]
    runs, boxes = [], []
    for number in range(IMAGES):
        name = f"{number:03d}.jpg"
        (folder / "images" / name).write_bytes(pictures[number % 4])
        for label, (top, bottom, left, right) in zip(CLASSES, label_boxes(number), strict=True):
            runs.append((f"{name}_{label}", box(top, bottom, left, right) if bottom > top else ""))
            boxes.append(f"0,{name},{left},{top},{right},{bottom},{label}\n" if bottom > top else f"0,{name},,,,,\n")
    write_table(folder / "train.csv", runs)
    (folder / "boxes.csv").write_text("".join(boxes))
    for kind, table in (("csv", "train.csv"), ("boxes", "boxes.csv")):
        processes.run(
            [sys.executable, "-m", "preprocess", f"--{kind}", folder / table, "--images", folder / "images", "--out",
             folder / kind, "--size", "64x96", "--shards", "2"],
            cwd=ROOT, check=True, stdout=subprocess.DEVNULL, libraries=processes.LIGHT,
        )  # fmt: skip
    return {kind: folder / kind for kind in ("csv", "boxes")}


def kept_probabilities(run: Path, data: Path) -> dict[str, np.ndarray]:
    """The probabilities of the images of a data set, uint8 (4, 350, 525), that the run keeps."""
    digest = hashlib.sha256((data / "manifest.json").read_bytes()).hexdigest()
    found = {}
    for about in run.glob("probabilities/*/about.json"):
        if json.loads(about.read_text()).get("data_sha256") == digest:
            for file in about.parent.glob("*.h5"):
                with h5py.File(file) as content:
                    found |= dict(zip(content["name"].asstr()[:], content["probability"][:], strict=True))
    return found


def write_rules(evaluation: Path, probability: np.ndarray) -> dict:
    """Replace the rules by others, whose masks are neither empty nor full."""
    thresholds = [round(float(np.quantile(probability[:, c], 0.6)) / 255, 2) for c in range(4)]
    peak = round(float(np.median(probability[:, 2].max(axis=(1, 2)))) / 255, 2)
    more = [{}, {"min_area": 60_000, "area_of": "total"}, {"min_peak": peak}, {"min_area": 3_000}]
    rules = {
        name: {"threshold": threshold, **fields}
        for name, threshold, fields in zip(CLASSES, thresholds, more, strict=True)
    }
    (evaluation / "thresholds.json").write_text(json.dumps(rules))
    return rules


def expected_dice(probabilities: dict[str, np.ndarray], rules: dict) -> np.ndarray:
    """The competition's Dice at 350x525 of each image and class, (n, 4); truth from the boxes, masks by scipy."""
    dice = np.empty((IMAGES, 4))
    for number in range(IMAGES):
        for c, (top, bottom, left, right) in enumerate(label_boxes(number)):
            drawn = np.zeros((1400, 2100), bool)
            drawn[top:bottom, left:right] = True
            truth = drawn.reshape(350, 4, 525, 4).sum(axis=(1, 3)) >= 8
            values, rule = probabilities[f"{number:03d}.jpg"][c], {"min_area": 0, "min_peak": 0, **rules[CLASSES[c]]}
            mask = values > 255 * rule["threshold"]
            if values.max() <= 255 * rule["min_peak"]:
                mask = np.zeros_like(mask)
            elif rule.get("area_of") == "total":
                mask = mask if mask.sum() >= rule["min_area"] else np.zeros_like(mask)
            else:
                labels, _ = ndimage.label(mask, structure=np.ones((3, 3)))
                mask = mask & (np.bincount(labels.reshape(-1))[labels] >= rule["min_area"])
            total = mask.sum() + truth.sum()
            dice[number, c] = 2 * (mask & truth).sum() / total if total else 1.0
    return dice


def assert_scores(out: Path, data: Path, expected: np.ndarray) -> dict:
    found = json.loads((out / "metrics.json").read_text())
    assert found["images"] == IMAGES
    assert found["dice"] == pytest.approx(expected.mean(), abs=1e-9)
    assert list(found["dice_per_class"].values()) == pytest.approx(expected.mean(axis=0), abs=1e-9)
    assert found["dice_interval"][0] <= found["dice"] <= found["dice_interval"][1]
    assert found["data_sha256"] == hashlib.sha256((data / "manifest.json").read_bytes()).hexdigest()
    rows = (out / "images.csv").read_text().splitlines()
    assert len(rows) == IMAGES + 1
    assert (out / "report.html").read_text().count("data:image/") >= 7
    return found


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in (*folder.glob("evaluate/*"), folder / "report.html")}


@pytest.fixture
def run(chain, tmp_path) -> Path:
    """An evaluated run, to be changed."""
    return Path(shutil.copytree(chain, tmp_path / "run"))


def of_fold_1(chain: Path, to: Path) -> Path:
    shutil.copytree(chain, to)
    (to / "run.toml").write_text((to / "run.toml").read_text().replace("fold = 0", "fold = 1"))
    return to


def test_the_scores_are_those_of_an_independent_computation(run, others):
    type_("evaluate", "--run", run, "--data", others["csv"])
    probabilities = kept_probabilities(run, others["csv"])
    rules = write_rules(run / "evaluate", np.stack(list(probabilities.values())))
    before = contents(run)
    said = type_("evaluate", "--run", run, "--data", others["csv"])
    assert "probabilities of" not in said  # they are kept
    (out,) = (run / "other-data").iterdir()
    expected = expected_dice(probabilities, rules)
    assert 0.05 < expected.mean() < 0.95
    found = assert_scores(out, others["csv"], expected)
    assert found["rules_from"] == str(run / "evaluate" / "thresholds.json")
    assert (found["seen_in_training"], found["flips"], found["stages"]) == (0, False, ["full"])
    assert "halves" not in found
    assert contents(run) == before
    type_("evaluate", "--run", run, "--data", others["boxes"], "--out", run.parent / "elsewhere")
    assert_scores(run.parent / "elsewhere", others["boxes"], expected)
    assert len(list((run / "other-data").iterdir())) == 1


def test_two_ranks_and_a_resumed_evaluation_write_the_same(run, others):
    data, names = others["csv"], ("metrics.json", "images.csv", "thresholds.json")
    assert start_ranks(2, "-m", "cloudseg.evaluate", "--run", str(run), "--data", str(data)) == 0
    (out,) = (run / "other-data").iterdir()
    first = [(out / name).read_bytes() for name in names]
    probabilities = kept_probabilities(run, data)
    stores = [
        path.parent for path in run.glob("probabilities/*/about.json") if len(list(path.parent.glob("*.h5"))) == 2
    ]
    (kept, lost) = sorted(stores[0].glob("*.h5"))
    lost.unlink()
    shutil.rmtree(out)
    time = kept.stat().st_mtime_ns
    type_("evaluate", "--run", run, "--data", data)
    assert kept.stat().st_mtime_ns == time
    assert [(out / name).read_bytes() for name in names] == first
    again = kept_probabilities(run, data)
    assert all(np.array_equal(again[name], probabilities[name]) for name in probabilities)


def test_all_folds_of_a_cross_validation_predict_each_image(chain, others, tmp_path):
    cv = tmp_path / "cv"
    shutil.copytree(chain, cv / "fold-0")
    of_fold_1(chain, cv / "fold-1")
    # The folds differ, as fold 1 has the weights of another stage.
    for name in ("best.weights.h5", "DONE.json"):
        shutil.copy(cv / "fold-1" / "1-frozen" / name, cv / "fold-1" / "3-full" / name)
    (cv / "run.toml").write_text((cv / "fold-0" / "run.toml").read_text().replace("fold = 0", "folds = [0, 1]"))
    said = type_("evaluate", "--run", cv, "--data", others["csv"], expect=2)
    assert f"has not been evaluated yet; type first: python -m cloudseg.evaluate --run {cv}" in said
    type_("evaluate", "--run", cv)
    type_("evaluate", "--run", cv, "--data", others["csv"])
    folds = [kept_probabilities(cv / f"fold-{fold}", others["csv"]) for fold in (0, 1)]
    assert any(not np.array_equal(folds[0][name], folds[1][name]) for name in folds[0])
    mean = {name: np.round((folds[0][name].astype(float) + folds[1][name]) / 2).astype(np.uint8) for name in folds[0]}
    rules = write_rules(cv / "evaluate", np.stack(list(mean.values())))
    type_("evaluate", "--run", cv, "--data", others["csv"])
    (out,) = (cv / "other-data").iterdir()
    found = assert_scores(out, others["csv"], expected_dice(mean, rules))
    assert found["runs"] == [str(cv / "fold-0"), str(cv / "fold-1")]
    assert found["weights"] == [1.0, 1.0]


def test_several_runs_need_the_rules_of_their_evaluation(run, others, tmp_path):
    other, both = of_fold_1(run, tmp_path / "other"), tmp_path / "both"
    runs = ("--run", run, "--with", other)
    on_other = ("evaluate", *runs, "--data", others["csv"], "--out", tmp_path / "on-other")
    said = type_(*on_other, expect=2)
    command = shlex.split(said.partition("evaluation: ")[2].partition("   then")[0].replace("DIR", str(both)))
    assert command[:3] == ["python", "-m", "cloudseg.evaluate"]
    type_("evaluate", *command[3:])
    assert "--thresholds DIR/thresholds.json" in said
    type_(*on_other, "--thresholds", both / "thresholds.json")
    found = json.loads((tmp_path / "on-other" / "metrics.json").read_text())
    assert found["rules_from"] == str(both / "thresholds.json")
    # Its rules are not for this run alone.
    said = type_("evaluate", "--run", other, "--data", others["csv"], "--thresholds", both / "thresholds.json")
    assert "warning: the rules of" in said and "were chosen for other weights than these" in said


def test_training_images_are_counted(run, data):
    said = type_("evaluate", "--run", run, "--data", data)
    (out,) = (run / "other-data").iterdir()
    found = json.loads((out / "metrics.json").read_text())
    manifest = json.loads((data / "manifest.json").read_text())
    trained_on = sum(sample["fold"] != 0 for sample in manifest["samples"])
    assert found["images"] == len(manifest["samples"])
    assert found["seen_in_training"] == trained_on
    assert f"warning: {trained_on} of the {found['images']} images of {data} were training images" in said


def test_what_cannot_be_scored_says_what_to_type(run, others, tmp_path):
    before = contents(run)
    wide = tmp_path / "wide"
    subprocess.run(
        [sys.executable, "-m", "preprocess", "--csv", others["csv"].parent / "train.csv", "--images",
         others["csv"].parent / "images", "--out", wide, "--size", "64x128", "--shards", "2"],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    said = type_("evaluate", "--run", run, "--data", wide, expect=2)
    assert f"has images of 64x128, but {run} was trained on 64x96; make the shards at that size: " in said
    assert "--out NEW --size 64x96 --shards 2" in said
    for out in (run / "evaluate", run):
        said = type_("evaluate", "--run", run, "--data", others["csv"], "--out", out, expect=2)
        assert "holds another evaluation; give another folder with --out" in said
    assert "chosen without it" in type_("evaluate", "--run", run, "--data", others["csv"], "--flips", expect=2)
    assert "--thresholds FILE goes with --data" in type_("evaluate", "--run", run, "--thresholds", "x", expect=2)
    assert contents(run) == before
    evaluated = metrics(run)
    (run / "evaluate" / "metrics.json").write_text(json.dumps({**evaluated, "weights_sha256": "0" * 64}))
    said = type_("evaluate", "--run", run, "--data", others["csv"], expect=2)
    assert f"were chosen for other weights than it has now; type first: python -m cloudseg.evaluate --run {run}" in said
    (run / "evaluate" / "metrics.json").unlink()
    said = type_("evaluate", "--run", run, "--data", others["csv"], expect=2)
    assert f"has not been evaluated yet; type first: python -m cloudseg.evaluate --run {run}" in said
    assert not (run / "other-data").exists()
