"""The mean of the weights of a stage's last epochs: what it is, when it is the stage's result, and after a kill."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.train.conftest import SMALL, assert_identical, done, last_checkpoint, losses, run_ranks, stage_folder

AS_IT_IS = ",,"
"""Three epochs whose weights are left as training makes them."""


def train_stage(run: Path, data: Path, ends: str, kill: object = "never", ranks: int = 1) -> Path:
    """Train a stage with as many epochs as `ends` names (see training_of_ranks.py) and the mean of the last two."""
    epochs = len(ends.split(","))
    settings = (*SMALL, f"stage.frozen.epochs={epochs}", "stage.frozen.swa=2", "checkpoint.every_steps=2")
    options = [option for setting in (*settings, "checkpoint.keep=20") for option in ("--set", setting)]
    arguments = ["--run", run, "--stage", "frozen", "--data", data, *options]
    run_ranks("training_of_ranks.py", ranks, ends, kill, *arguments, killed=kill != "never")
    return run


@pytest.fixture(scope="module")
def undisturbed(data, tmp_path_factory) -> Path:
    return train_stage(tmp_path_factory.mktemp("undisturbed") / "run", data, AS_IT_IS)


def test_the_mean_is_that_of_the_ends_of_the_last_two_of_three_epochs(undisturbed):
    ends = {}
    for record in sorted(stage_folder(undisturbed, "frozen").glob("checkpoints/step-*.json")):
        table = json.loads(record.read_text())
        if len(table["dices"]) > len(ends):
            with np.load(record.with_suffix(".npz")) as file:
                ends[table["epoch"]] = dict(file)
    means = {name: array for name, array in ends[3].items() if name.startswith("swa/")}
    assert len(means) == sum(name.startswith("model/") for name in ends[3])
    for name, mean in means.items():
        of_model = name.replace("swa/", "model/")
        np.testing.assert_allclose(mean, (ends[2][of_model] + ends[3][of_model]) / 2, rtol=1e-5, atol=1e-7)


def test_a_stage_that_is_killed_again_and_again_while_it_averages_ends_with_the_same_bits(data, tmp_path, undisturbed):
    run = tmp_path / "run"
    for kill in (2, 3, "done", "never"):
        train_stage(run, data, AS_IT_IS, kill)
    assert_identical(last_checkpoint(run, "frozen"), last_checkpoint(undisturbed, "frozen"))
    for key in ("dice", "swa_dice", "best_epoch", "weights_sha256"):
        assert done(run, "frozen")[key] == done(undisturbed, "frozen")[key]


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_mean_that_is_better_than_each_epoch_is_the_result_of_the_stage(data, tmp_path, ranks):
    """Each epoch predicts one class everywhere; their mean predicts nothing, which is better on these images."""
    run = train_stage(tmp_path / "run", data, "0001,1000", ranks=ranks)
    result, folder = done(run, "frozen"), stage_folder(run, "frozen")
    assert result["dice"] == result["swa_dice"] > max(losses(run, "frozen", "dice"))
    assert folder.joinpath("best.weights.h5").samefile(folder / "checkpoints" / "epoch-0001-0002.weights.h5")
    np.testing.assert_array_equal(bias_of_the_last_layer(run), [0, -20, -20, 0])


def test_a_mean_that_is_not_better_than_the_best_epoch_is_not_the_result(data, tmp_path):
    run = train_stage(tmp_path / "run", data, "0000,1110")
    result, folder = done(run, "frozen"), stage_folder(run, "frozen")
    assert (result["dice"], result["best_epoch"]) == (result["swa_dice"], 1)
    assert folder.joinpath("best.weights.h5").samefile(folder / "checkpoints" / "epoch-0001.weights.h5")
    assert not list(folder.glob("checkpoints/epoch-0001-*"))


def bias_of_the_last_layer(run: Path) -> np.ndarray:
    from cloudseg.core.run import open_run
    from cloudseg.data.shards import Manifest
    from cloudseg.training import build, restore

    opened = open_run(run)
    network = build.build_network(opened.settings, Manifest.load(opened.settings.data))
    restore.load_best(opened, "frozen", network.model)
    return network.model.layers[-1].bias.numpy()
