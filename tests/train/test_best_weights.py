"""The Dice in DONE.json is that of the weights it names, whatever was killed when, also where an epoch that is done
again ends otherwise than before."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.train.conftest import SMALL, done, losses, run_ranks, stage_folder

SETTINGS = (*SMALL, "stage.frozen.epochs=2", "checkpoint.every_steps=2")
LOW, MIDDLE, HIGH = "1111", "0001", "0000"
"""Predictions everywhere or nowhere, by class, in the order of their Dice."""


def train_stage(run: Path, data: Path, *ends: str, ranks: int = 1, kill: object = "never", **environ: str) -> None:
    """Train the stage of `run` on `ranks` with epochs that end as `ends` says, until it is killed."""
    options = [option for setting in SETTINGS for option in ("--set", setting)]
    arguments = ["--run", run, "--stage", "frozen", "--data", data, *options]
    environ = {"CLOUDSEG_FEED_WORKERS": "0", **environ}  # a process for each costs a second
    run_ranks("training_of_ranks.py", ranks, ",".join(ends), kill, *arguments, killed=kill != "never", **environ)


@pytest.fixture(scope="module")
def killed(data, tmp_path_factory):
    """A run whose epochs end as told, killed as told; made once for all tests, which change copies of it."""

    @functools.cache
    def made(*ends: str, ranks: int = 1, kill: object) -> Path:
        run = tmp_path_factory.mktemp("killed") / "run"
        train_stage(run, data, *ends, ranks=ranks, kill=kill)
        return run

    return made


@pytest.fixture
def train(data, killed, tmp_path):
    """Train the stage of tmp_path/run as `train_stage` does; with `kill`, that is how it begins."""
    run = tmp_path / "run"

    def run_stage(*ends: str, kill: object = "never", ranks: int = 1, **environ: str) -> Path:
        if kill == "never":
            train_stage(run, data, *ends, ranks=ranks, **environ)
        else:
            subprocess.run(["cp", "-a", killed(*ends, ranks=ranks, kill=kill), run], check=True)  # with its hard links
        return run

    return run_stage


@pytest.fixture(scope="module")
def validate(killed):
    """Validate the network with the weights of a file."""
    from cloudseg.core.run import open_run
    from cloudseg.data.shards import Manifest, Shards
    from cloudseg.training import build, checkpoint
    from cloudseg.training.comm import Solo
    from cloudseg.training.validation import Validator

    settings = open_run(killed(MIDDLE, HIGH, kill=2)).settings
    shards = Shards(Manifest.load(settings.data))
    network = build.build_network(settings, shards.manifest)
    loss, held_out = build.build_loss(settings, shards.manifest), shards.manifest.indices(settings.fold, training=False)
    validator = Validator(network, loss, shards, held_out, settings.batch, Solo("CPU"), [0.5])

    def validated(file: Path):
        checkpoint.load_weights(file, network.model)
        return validator()

    return validated


@pytest.fixture
def assert_its_dice(validate):
    """The Dice of DONE.json is that of the weights that it names, measured anew, and one of the history."""
    from cloudseg.nets import scores

    def check(run: Path) -> None:
        found = validate(stage_folder(run, "frozen") / done(run, "frozen")["weights"])
        assert done(run, "frozen")["dice"] == float(scores.dice(found.counts[:, :, 0]).mean(axis=0).mean())
        assert f"{done(run, 'frozen')['dice']:.6g}" in {f"{dice:.6g}" for dice in losses(run, "frozen", "dice")}

    return check


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
def test_killed_between_the_best_weights_and_the_checkpoint(train, assert_its_dice, epoch):
    train(MIDDLE, HIGH, kill=epoch)
    run = train(MIDDLE, LOW)
    assert_its_dice(run)
    best = stage_folder(run, "frozen") / "best.weights.h5"
    assert best.samefile(best.with_name("checkpoints") / "epoch-0001.weights.h5")  # on disk once


def test_killed_there_and_gone_on_with_fewer_ranks(train, assert_its_dice):
    train(MIDDLE, HIGH, ranks=2, kill=2)
    assert_its_dice(train(MIDDLE, LOW, CLOUDSEG_RANKS="2"))


def test_killed_before_the_stage_is_done_and_its_last_checkpoint_damaged(train, assert_its_dice):
    run = train(MIDDLE, HIGH, kill="done")
    arrays = max((stage_folder(run, "frozen") / "checkpoints").glob("step-*.npz"))
    arrays.write_bytes(arrays.read_bytes()[:-100])
    train(MIDDLE, LOW)
    assert_its_dice(run)
    assert done(run, "frozen")["best_epoch"] == 1


def test_damaged_best_weights_are_not_handed_on(train, assert_its_dice, capfd):
    run = train(MIDDLE, HIGH, kill="done")
    weights = stage_folder(run, "frozen") / "checkpoints" / "epoch-0002.weights.h5"
    weights.write_bytes(weights.read_bytes()[:-100])
    train(MIDDLE, LOW)
    assert "epoch-0002.weights.h5 has another sha256 than written" in capfd.readouterr().err
    assert_its_dice(run)


def test_a_stage_that_an_earlier_version_began_goes_on_with_its_best_weights(train, assert_its_dice):
    run = train(HIGH, "", kill=2)
    checkpoints = stage_folder(run, "frozen") / "checkpoints"
    as_an_earlier_version_left_it(run, checkpoints / "epoch-0001.weights.h5", written_after=False)
    train(HIGH, LOW)
    assert_its_dice(run)
    assert done(run, "frozen")["best_epoch"] == 1


def test_best_weights_that_an_earlier_version_wrote_after_its_checkpoint_are_not_taken_for_its(
    train, assert_its_dice, capfd
):
    run = train(MIDDLE, HIGH, kill=2)
    checkpoints = stage_folder(run, "frozen") / "checkpoints"
    as_an_earlier_version_left_it(run, checkpoints / "epoch-0002.weights.h5", written_after=True)
    train(MIDDLE, LOW)
    assert "the best weights are chosen among the epochs from 2 on" in capfd.readouterr().err
    assert_its_dice(run)
