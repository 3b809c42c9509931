"""A stage that labels pictures with the network of the stage before, and trains on them too."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests import processes
from tests.train.conftest import (
    ROOT,
    SMALL,
    assert_identical,
    command,
    done,
    environment,
    last_checkpoint,
    losses,
    run_ranks,
    stage_folder,
)

PICTURES = 18
"""More than are in one file of probabilities, so that each of two ranks has one."""
SETTINGS = (
    *SMALL, 'stages=["frozen"]', "stage.frozen.epochs=1", "stage.frozen.warmup_steps=0", "stage.pseudo.epochs=1",
    "checkpoint.every_steps=3", "checkpoint.keep=20", "pseudo_sure=0.505", "pseudo_weight=0.25",
)  # fmt: skip


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Smooth small pictures without names that the data set has, and a file that is none."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(PICTURES):
        random = np.random.default_rng(number)
        coarse = random.integers(60, 256, (4, 6, 3), np.uint8)
        cv2.imwrite(str(folder / f"new-{number:02}.png"), cv2.resize(coarse, (96, 64)))
    (folder / "new-05.png").write_bytes(b"no picture")
    return folder


def train(run: Path, stage: str, data: Path, pictures: Path, ranks: int = 2, expect: int = 0) -> str:
    process = processes.run(
        command(run, stage, data, ranks, *SETTINGS, f"unlabelled={pictures}"),
        cwd=ROOT, env=environment(CLOUDSEG_FEED_WORKERS=str(2 - ranks)), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == expect, process.stdout
    return process.stdout


@pytest.fixture(scope="module")
def labeller(data, pictures, tmp_path_factory) -> Path:
    """A run whose first stage is done. Not to be changed."""
    run = tmp_path_factory.mktemp("labeller") / "run"
    train(run, "frozen", data, pictures)
    return run


@pytest.fixture(scope="module")
def undisturbed(labeller, data, pictures, tmp_path_factory) -> Path:
    """The run with both stages. Not to be changed."""
    run = copied(labeller, tmp_path_factory.mktemp("undisturbed"))
    said = train(run, "pseudo", data, pictures)
    assert said.count("new-05.png: is not a JPEG, PNG or TIFF picture; it is left out") == 1
    assert f"27 images for training, {PICTURES - 1} of them with pseudo-labels, 5 for validation" in said
    return run


def copied(run: Path, folder: Path) -> Path:
    subprocess.run(["cp", "-a", run, folder / "run"], check=True)  # with its hard links
    return folder / "run"


def manifest(run: Path) -> dict:
    return json.loads((stage_folder(run, "pseudo") / "shards" / "manifest.json").read_text())


def test_every_label_says_which_weights_it_is_from_and_how_much_it_weighs(undisturbed):
    samples = manifest(undisturbed)["samples"]
    assert [sample["name"] for sample in samples] == sorted(
        f"new-{number:02}.png" for number in range(PICTURES) if number != 5
    )
    assert {sample["label_source"] for sample in samples} == {
        f"pseudo: {done(undisturbed, 'frozen')['weights_sha256']}"
    }
    assert all(0.25 * 0.505 <= sample["weight"] <= 0.25 for sample in samples)
    assert {sample["fold"] for sample in samples} == {-1}


def test_what_is_left_out_is_listed_with_the_reason(undisturbed):
    with (stage_folder(undisturbed, "pseudo") / "shards" / "rejected.csv").open(newline="") as file:
        assert [(row["image"], row["reason"]) for row in csv.DictReader(file)] == [("new-05.png", "cannot be read")]


def test_the_stage_names_number_prevalence_and_digest_of_its_labels(undisturbed):
    import hashlib

    folder = stage_folder(undisturbed, "pseudo")
    pseudo = done(undisturbed, "pseudo")["pseudo"]
    assert pseudo == json.loads((folder / "stage.json").read_text())["pseudo"]
    assert pseudo["manifest_sha256"] == hashlib.sha256((folder / "shards" / "manifest.json").read_bytes()).hexdigest()
    areas = np.array([sample["areas"] for sample in manifest(undisturbed)["samples"]])
    assert pseudo["samples"] == len(areas)
    assert list(pseudo["prevalence"].values()) == pytest.approx((areas > 0).mean(axis=0).tolist(), abs=1e-4)
    assert "pseudo" not in done(undisturbed, "frozen")


def test_images_and_labels_are_those_that_the_network_saw_and_predicted(undisturbed, pictures):
    from cloudseg.core.run import open_run
    from cloudseg.data import pseudo_labels
    from cloudseg.data.bitmask import has_data
    from cloudseg.data.shards import Manifest, Shards
    from cloudseg.results.probabilities import store_of
    from cloudseg.results.sources import Pictures

    run = open_run(undisturbed)
    source = Pictures(pictures, skip_damaged=True)
    source.digests = [source.digest(number) for number in range(len(source.names))]
    store, shards = store_of(run, "frozen", source, False, run.probabilities), Shards(
        Manifest.load(run.pseudo_labels("pseudo"))
    )  # fmt: skip
    assert store.missing() == []
    for number in range(len(shards)):
        place = source.names.index(shards.name(number))
        shards.verify(number)
        np.testing.assert_array_equal(shards.image(number), source.read(place, (64, 96)).image)
        expected = pseudo_labels.labels(store.read(place), store.valid(place), 0.505)
        np.testing.assert_array_equal(shards.truth(number), expected)
        assert has_data(shards.mask(number)).any()


def test_killed_at_every_moment_and_resumed_it_ends_with_the_same_weights(
    labeller, undisturbed, data, pictures, tmp_path
):
    run = copied(labeller, tmp_path)
    for moment in ("predicting", "labelling", "training"):
        run_ranks(
            "pseudo_of_ranks.py", 2, moment, "--run", run, "--stage", "pseudo", killed=True, CLOUDSEG_FEED_WORKERS="0"
        )
        assert (run / "2-pseudo" / "shards" / "manifest.json").exists() is (moment == "training")
    assert "from epoch 1 of 1, step 0" not in train(run, "pseudo", data, pictures)
    assert manifest(run) == manifest(undisturbed)
    assert_identical(last_checkpoint(run, "pseudo"), last_checkpoint(undisturbed, "pseudo"))
    assert losses(run, "pseudo") == losses(undisturbed, "pseudo")


def test_one_rank_labels_as_two_do(labeller, undisturbed, data, pictures, tmp_path):
    run = copied(labeller, tmp_path)
    train(run, "pseudo", data, pictures, ranks=1)
    assert manifest(run) == manifest(undisturbed)


def test_checkpoints_are_not_resumed_with_other_labels(undisturbed, data, pictures, tmp_path):
    run = copied(undisturbed, tmp_path)
    folder = stage_folder(run, "pseudo")
    (folder / "DONE.json").unlink()
    file = folder / "shards" / "manifest.json"
    file.write_text(file.read_text().replace('"weight": 0.1', '"weight": 0.2'))
    said = train(run, "pseudo", data, pictures, ranks=1, expect=2)
    assert f"{folder / 'shards'} is not what the checkpoints of stage pseudo were trained on" in said


def test_where_no_picture_is_sure_the_stage_says_so_and_the_others_can_be_scored(labeller, data, pictures, tmp_path):
    run = copied(labeller, tmp_path)
    file = run / "run.toml"
    file.write_text(file.read_text().replace("pseudo_sure = 0.505", "pseudo_sure = 0.999"))
    process = processes.run(
        command(run, "pseudo", data, 1)[:-2], cwd=ROOT, env=environment(), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 2
    assert f"no picture of {pictures} is sure enough to be labelled" in process.stdout
    assert f"python -m cloudseg.launch --stages evaluate --run {run}" in process.stdout
