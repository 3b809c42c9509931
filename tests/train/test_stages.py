"""What each stage changes, and what it hands to the next."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest

from tests import processes
from tests.train.conftest import ROOT, done, environment, stage_folder


@pytest.fixture(scope="module")
def weights(chain):
    """Weights by layer name: at the start, and after each stage."""
    import tensorflow as tf

    from cloudseg.nets import models
    from cloudseg.training import checkpoint

    tf.keras.utils.set_random_seed(0)
    network = models.build("vanilla", (64, 96), pretrained=False)

    def by_layer():
        return {
            layer.name: [np.copy(w) for w in layer.get_weights()] for layer in network.model.layers if layer.weights
        }

    states = {"start": by_layer()}
    for stage in ("frozen", "partial", "full"):
        checkpoint.load_weights(stage_folder(chain, stage) / "best.weights.h5", network.model)
        states[stage] = by_layer()
    return network, states


def changed(before, after) -> set[str]:
    return {
        name for name in before if any(not np.array_equal(a, b) for a, b in zip(before[name], after[name], strict=True))
    }


def test_frozen_means_frozen(weights):
    network, states = weights
    moved = changed(states["start"], states["frozen"])
    assert moved
    assert moved & set(network.encoder) == set()
    assert any("bn" in name for name in network.encoder)


def test_stage_two_changes_exactly_the_announced_layers(chain, weights):
    network, states = weights
    announced = set(done(chain, "partial")["encoder_layers_trained"])
    assert 0.1 < done(chain, "partial")["encoder_share_trained"] < 0.35
    moved = changed(states["frozen"], states["partial"])
    assert moved & set(network.encoder) == announced
    assert moved - set(network.encoder) == changed(states["start"], states["frozen"])


def test_stage_three_changes_every_layer(weights):
    _, states = weights
    assert changed(states["partial"], states["full"]) == set(states["full"])


def test_each_stage_starts_from_the_digest_its_predecessor_wrote(chain):
    assert done(chain, "frozen")["started_from"] == {"stage": None, "weights": "none"}
    for before, after in (("frozen", "partial"), ("partial", "full")):
        assert done(chain, after)["started_from"] == {
            "stage": before,
            "weights_sha256": done(chain, before)["weights_sha256"],
        }


def test_a_run_says_what_it_was_made_with_and_what_each_stage_trains(chain, data):
    import hashlib
    import tomllib

    made = tomllib.loads((chain / "run.toml").read_text())["made"]
    assert made["data_sha256"] == hashlib.sha256((data / "manifest.json").read_bytes()).hexdigest()
    assert {"python", "tensorflow-cpu", "horovod", "numpy"} <= made.keys()
    for stage in ("frozen", "partial", "full"):
        told = json.loads((stage_folder(chain, stage) / "stage.json").read_text())
        assert told["data_sha256"] == made["data_sha256"]
        assert told["encoder_layers"] == done(chain, stage)["encoder_layers_trained"]
        assert told["ranks"] == 2


def test_curves_and_events_are_there_for_each_stage_and_curves_for_the_chain(chain):
    for folder in (chain, *chain.glob("?-*")):
        assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert all(list((folder / "events").glob("events.out.tfevents.*")) for folder in chain.glob("?-*"))


def test_every_column_of_the_history_is_filled(chain):
    import csv

    from cloudseg.training.history import COLUMNS

    for file in chain.glob("?-*/history.csv"):
        with file.open(newline="") as handle:
            (row,) = csv.DictReader(handle)
        assert list(row) == list(COLUMNS)
        assert all(np.isfinite(float(value)) for value in row.values())
        assert 0 < float(row["soft_dice"]) < 1 and 0 <= float(row["waiting_s"]) < float(row["seconds"])


def test_other_data_than_the_run_began_with_are_refused(chain, data, train, tmp_path):
    copy, other = tmp_path / "run", tmp_path / "shards"
    shutil.copytree(chain, copy)
    shutil.rmtree(copy / "3-full")
    shutil.copytree(data, other)
    (other / "manifest.json").write_text((other / "manifest.json").read_text() + "\n")
    settings = (copy / "run.toml").read_text().replace(str(data), str(other))
    (copy / "run.toml").write_text(settings)
    process = processes.run(
        [sys.executable, "-m", "cloudseg.train", "--run", str(copy), "--stage", "full"],
        cwd=ROOT, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 2
    assert f"{other} is not what it was when {copy} began" in process.stderr


def test_a_finished_chain_says_so_and_trains_nothing(chain, data):
    before = {path: path.stat().st_mtime_ns for path in chain.rglob("*") if path.is_file()}
    process = processes.run(
        [sys.executable, "-m", "cloudseg.launch", "--stages", "all", "--cluster", "local", "--run", str(chain)],
        cwd=ROOT, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 0
    assert "all done" in process.stdout
    assert {path: path.stat().st_mtime_ns for path in chain.rglob("*") if path.is_file()} == before


def test_damaged_weights_of_the_stage_before_are_refused(chain, train, tmp_path):
    import shutil

    copy = tmp_path / "run"
    shutil.copytree(chain, copy)
    shutil.rmtree(copy / "2-partial")
    best = copy / "1-frozen" / "best.weights.h5"
    content = bytearray(best.read_bytes())
    content[len(content) // 2] ^= 1
    best.write_bytes(content)
    assert "is not what stage frozen wrote" in train(copy, "partial", 1, expect=1)
