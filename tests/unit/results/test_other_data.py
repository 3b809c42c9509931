"""What an evaluation on other data refuses before anything is predicted, and which images it knows from training."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from cloudseg.core import config
from cloudseg.core.errors import UsageError
from cloudseg.core.run import Run, open_run
from cloudseg.data.labels import RunTable
from cloudseg.data.shards import Manifest, Shards
from cloudseg.results import other_data
from cloudseg.results.other_data import prepare, seen_in_training
from preprocess.build import build
from preprocess.settings import Settings
from tests.preprocess_source import jpeg, picture, write_table

RULES = {name: {"threshold": 0.4} for name in ("Fish", "Flower", "Gravel", "Sugar")}


@pytest.fixture
def run(undisturbed: Path, tmp_path: Path) -> Run:
    """A run whose only stage is done and evaluated with flips, as far as files tell."""
    return evaluated(tmp_path / "run", undisturbed)


def evaluated(path: Path, data: Path, digest: str = "1" * 64) -> Run:
    (path / "1-only").mkdir(parents=True)
    (path / "evaluate").mkdir()
    stage = {"encoder": 1.0, "epochs": 1, "lr": 1e-3}
    settings = config.resolve([("test", {"data": str(data), "stages": ["only"], "stage": {"only": stage}})])
    (path / "run.toml").write_text(config.toml(config.to_table(settings)))
    (path / "1-only" / "DONE.json").write_text(json.dumps({"weights_sha256": digest}))
    (path / "evaluate" / "thresholds.json").write_text(json.dumps(RULES))
    (path / "evaluate" / "metrics.json").write_text(json.dumps({"weights_sha256": digest, "flips": True}))
    return open_run(path)


# What is used


def test_rules_and_flips_are_those_of_the_evaluation(run: Run, undisturbed: Path) -> None:
    found = prepare([run], undisturbed, None, None, False, None)
    assert [rule.threshold for rule in found.fixed.rules] == [0.4] * 4
    assert found.fixed.source == run.path / "evaluate" / "thresholds.json"
    assert (found.fixed.flips, found.fixed.weights, found.fixed.warning) == (True, (1.0,), "")
    assert found.out == run.path / "other-data" / f"out-{found.data.digest[:8]}"


def test_an_ensemble_has_the_weights_of_its_evaluation(run: Run, undisturbed: Path, tmp_path: Path) -> None:
    other = evaluated(tmp_path / "other", undisturbed, "2" * 64)
    both = tmp_path / "both"
    both.mkdir()
    (both / "thresholds.json").write_text(json.dumps(RULES))
    table = {"weights_sha256": ["1" * 64, "2" * 64], "weights": [2.0, 1.0], "flips": False}
    (both / "metrics.json").write_text(json.dumps(table))
    rules, out = both / "thresholds.json", tmp_path / "out"
    assert prepare([run, other], undisturbed, rules, None, False, out).fixed.weights == (2.0, 1.0)
    with pytest.raises(UsageError, match=r"--weights: the rules of .* were chosen for the weights 2 1; leave it out"):
        prepare([run, other], undisturbed, rules, [1.0, 1.0], False, out)
    with pytest.raises(UsageError, match="--flips: the rules of .* were chosen without it"):
        prepare([run, other], undisturbed, rules, None, True, out)
    turned = prepare([other, run], undisturbed, rules, None, False, out).fixed
    assert turned.weights == (1.0, 1.0)
    assert "were chosen for other weights than these" in turned.warning


def test_rules_without_an_evaluation_beside_them_are_used_as_told(run: Run, undisturbed: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(json.dumps(RULES))
    for flips in (True, False):
        fixed = prepare([run], undisturbed, tmp_path / "mine.json", None, flips, None).fixed
        assert (fixed.flips, fixed.warning) == (flips, "")


# What is refused


def test_a_run_without_rules_of_its_own_says_what_to_type(run: Run, undisturbed: Path) -> None:
    command = f"type first: python -m cloudseg.evaluate --run {run.path}"
    (run.path / "1-only" / "DONE.json").write_text(json.dumps({"weights_sha256": "3" * 64}))
    with pytest.raises(UsageError, match=f"were chosen for other weights than it has now; {command}"):
        prepare([run], undisturbed, None, None, False, None)
    run.metrics.unlink()
    with pytest.raises(UsageError, match=f"has not been evaluated yet; {command}"):
        prepare([run], undisturbed, None, None, False, None)


def test_images_of_another_size_are_refused_with_the_command_that_makes_them(
    run: Run, source: Settings, tmp_path: Path
) -> None:
    wide = dataclasses.replace(source, size=(64, 128), out=tmp_path / "wide")
    build(wide, None, 1, strict=True)
    with pytest.raises(UsageError, match=r"has images of 64x128, .* trained on 64x96; .*--out NEW --size 64x96"):
        prepare([run], wide.out, None, None, False, None)


def test_results_of_something_else_are_never_replaced(run: Run, undisturbed: Path, tmp_path: Path) -> None:
    digest = Manifest.load(undisturbed).digest
    for content, refused in (
        ({}, False),
        ({"data_sha256": digest, "runs": [str(run.path)]}, False),
        ({"data_sha256": "0" * 64, "runs": [str(run.path)]}, True),
        ({"data_sha256": digest, "runs": ["runs/another"]}, True),
        ({"dice": 0.6}, True),
    ):
        out = tmp_path / "results"
        out.mkdir(exist_ok=True)
        (out / "metrics.json").write_text(json.dumps(content))
        if refused:
            with pytest.raises(UsageError, match=f"{out} holds another evaluation; give another folder with --out"):
                prepare([run], undisturbed, None, None, False, out)
        else:
            assert prepare([run], undisturbed, None, None, False, out).out == out
    for out in (run.path, run.path / "evaluate", run.path / "other-data" / ".." / "evaluate"):
        with pytest.raises(UsageError, match="holds another evaluation"):
            prepare([run], undisturbed, None, None, False, out)


# Images known from training


def test_all_training_images_of_a_data_set_are_known_and_no_others(undisturbed: Path) -> None:
    manifest = Manifest.load(undisturbed)
    for fold in range(manifest.folds):
        training = {sample.name for sample in manifest.samples if sample.fold != fold}
        assert set(seen_in_training(Shards(manifest), [(manifest, fold)])) == training
    every = [(manifest, fold) for fold in range(manifest.folds)]
    assert sorted(seen_in_training(Shards(manifest), every)) == sorted(sample.name for sample in manifest.samples)


def test_an_image_is_known_by_its_name_and_content_whatever_its_labels(
    source: Settings, undisturbed: Path, tmp_path: Path
) -> None:
    images = Path(shutil.copytree(source.images, tmp_path / "images"))
    (images / "000.jpg").rename(images / "new name.jpg")
    (images / "001.jpg").write_bytes(jpeg(picture(9)))
    names = sorted(path.name for path in images.iterdir())
    write_table(tmp_path / "train.csv", [(f"{name}_Fish", "1 2940000") for name in names])
    build(
        Settings(RunTable(tmp_path / "train.csv"), images, tmp_path / "out", source.size, shards=1),
        None, 1, strict=True,
    )  # fmt: skip
    manifest = Manifest.load(undisturbed)
    found = seen_in_training(Shards(Manifest.load(tmp_path / "out")), [(manifest, 0), (manifest, 1)])
    assert sorted(found) == [f"{number:03d}.jpg" for number in range(2, 12)]


def test_shards_of_the_earlier_decoder_are_known(undisturbed: Path) -> None:
    image = Shards(Manifest.load(undisturbed)).image(0)
    assert other_data._same(image, image // 2 * 2)
    assert not other_data._same(image, 255 - image)
