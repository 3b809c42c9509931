"""The Dice in DONE.json is that of the weights it names, whatever was killed when, also where an epoch that is done
again ends otherwise than before."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.train.conftest import SMALL, done, losses, run_ranks, stage_folder

SETTINGS = (*SMALL, "network=vanilla", "stage.frozen.epochs=2", "checkpoint.every_steps=2")
LOW, MIDDLE, HIGH = "1111", "0001", "0000"
"""Predictions everywhere or nowhere, by class, in the order of their Dice."""


@pytest.fixture
def train(data, tmp_path):
    """Train the stage of tmp_path/run on `ranks` with epochs that end as `ends` says, until it is killed."""

    def run_stage(*ends: str, ranks: int = 1, kill: object = "never", **environ: str) -> Path:
        options = [option for setting in SETTINGS for option in ("--set", setting)]
        arguments = ["--run", tmp_path / "run", "--stage", "frozen", "--data", data, *options]
        run_ranks("training_of_ranks.py", ranks, ",".join(ends), kill, *arguments, killed=kill != "never", **environ)
        return tmp_path / "run"

    return run_stage


def assert_its_dice_is_that_of_its_weights(run: Path) -> None:
    assert done(run, "frozen")["dice"] == evaluated(run)
    assert f"{done(run, 'frozen')['dice']:.6g}" in {f"{dice:.6g}" for dice in losses(run, "frozen", "dice")}


def evaluated(run: Path) -> float:
    """Dice of the weights that DONE.json names, measured anew."""
    from cloudseg.core.run import open_run
    from cloudseg.data.shards import Manifest, Shards
    from cloudseg.nets import scores
    from cloudseg.training import build, checkpoint
    from cloudseg.training.comm import Solo
    from cloudseg.training.validation import Validator

    settings = open_run(run).settings
    shards = Shards(Manifest.load(settings.data))
    network = build.build_network(settings, shards.manifest)
    checkpoint.load_weights(stage_folder(run, "frozen") / done(run, "frozen")["weights"], network.model)
    loss, held_out = build.build_loss(settings, shards.manifest), shards.manifest.indices(settings.fold, training=False)
    found = Validator(network, loss, shards, held_out, settings.batch, Solo("CPU"), [0.5])()
    return float(scores.dice(found.counts[:, :, 0]).mean(axis=0).mean())


def as_an_earlier_version_left_it(run: Path, best: Path, written_after: bool) -> None:
    """One file of best weights a stage, of which checkpoints say nothing."""
    folder = stage_folder(run, "frozen")
    shutil.copyfile(best, folder / "best.weights.h5")
    for file in folder.glob("checkpoints/epoch-*"):
        file.unlink()
    for record in folder.glob("checkpoints/step-*.json"):
        table = json.loads(record.read_text())
        for field in ("best_epoch", "weights", "weights_sha256"):
            del table[field]
        record.write_text(json.dumps(table))
    newest = max(folder.glob("checkpoints/step-*.json")).stat().st_mtime_ns
    later = newest + (10**9 if written_after else -(10**9))
    os.utime(folder / "best.weights.h5", ns=(later, later))


@pytest.mark.parametrize("epoch", [1, 2])
def test_killed_between_the_best_weights_and_the_checkpoint(train, epoch):
    train(MIDDLE, HIGH, kill=epoch)
    run = train(MIDDLE, LOW)
    assert_its_dice_is_that_of_its_weights(run)
    best = stage_folder(run, "frozen") / "best.weights.h5"
    assert best.samefile(best.with_name("checkpoints") / "epoch-0001.weights.h5")  # on disk once


def test_killed_there_and_gone_on_with_fewer_ranks(train):
    train(MIDDLE, HIGH, ranks=2, kill=2)
    assert_its_dice_is_that_of_its_weights(train(MIDDLE, LOW, CLOUDSEG_RANKS="2"))


def test_killed_before_the_stage_is_done_and_its_last_checkpoint_damaged(train):
    run = train(MIDDLE, HIGH, kill="done")
    arrays = max((stage_folder(run, "frozen") / "checkpoints").glob("step-*.npz"))
    arrays.write_bytes(arrays.read_bytes()[:-100])
    train(MIDDLE, LOW)
    assert_its_dice_is_that_of_its_weights(run)
    assert done(run, "frozen")["best_epoch"] == 1


def test_damaged_best_weights_are_not_handed_on(train, capfd):
    run = train(MIDDLE, HIGH, kill="done")
    weights = stage_folder(run, "frozen") / "checkpoints" / "epoch-0002.weights.h5"
    weights.write_bytes(weights.read_bytes()[:-100])
    train(MIDDLE, LOW)
    assert "epoch-0002.weights.h5 has another sha256 than written" in capfd.readouterr().err
    assert_its_dice_is_that_of_its_weights(run)


def test_a_stage_that_an_earlier_version_began_goes_on_with_its_best_weights(train):
    run = train(HIGH, "", kill=2)
    checkpoints = stage_folder(run, "frozen") / "checkpoints"
    as_an_earlier_version_left_it(run, checkpoints / "epoch-0001.weights.h5", written_after=False)
    train(HIGH, LOW)
    assert_its_dice_is_that_of_its_weights(run)
    assert done(run, "frozen")["best_epoch"] == 1


def test_best_weights_that_an_earlier_version_wrote_after_its_checkpoint_are_not_taken_for_its(train, capfd):
    run = train(MIDDLE, HIGH, kill=2)
    checkpoints = stage_folder(run, "frozen") / "checkpoints"
    as_an_earlier_version_left_it(run, checkpoints / "epoch-0002.weights.h5", written_after=True)
    train(MIDDLE, LOW)
    assert "the best weights are chosen among the epochs from 2 on" in capfd.readouterr().err
    assert_its_dice_is_that_of_its_weights(run)
