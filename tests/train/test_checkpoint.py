"""Checkpoints: whole or not there, few, and data rather than code."""

from __future__ import annotations

import dataclasses
import json
import shutil
import threading

import numpy as np
import pytest
import tensorflow as tf

from cloudseg.core.errors import CloudsegError, DataError, Lost
from cloudseg.training import checkpoint
from cloudseg.training.checkpoint import Progress, Saver


def progress(step: int) -> Progress:
    return Progress(stage="full", epoch=0, step=step, seed=0, ranks=1)


@pytest.fixture
def arrays():
    return {"model/0000 kernel:0": np.arange(6, dtype=np.float32)}


@pytest.fixture
def small():
    model = tf.keras.Sequential([tf.keras.layers.Dense(2, input_shape=(3,), name="dense")])
    optimizer = tf.keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    return model, optimizer


def test_the_newest_are_kept_each_with_its_record(tmp_path, arrays):
    saver = Saver(tmp_path, 2, lambda: None)
    for step in range(1, 6):
        saver.start(arrays, progress(step))
    saver.wait()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step-0000004.json", "step-0000004.npz", "step-0000005.json", "step-0000005.npz",
    ]  # fmt: skip
    path, found = checkpoint.newest(tmp_path)
    assert (path.name, found.step) == ("step-0000005.npz", 5)


def test_what_a_killed_process_left_half_done_goes(tmp_path, arrays):
    Saver(tmp_path, 2, lambda: None).write(arrays, progress(1))
    (tmp_path / ".tmp-node7-1-1.step-0000002.npz").touch()
    (tmp_path / "step-0000003.npz").touch()
    Saver(tmp_path, 2, lambda: None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-0000001.json", "step-0000001.npz"]


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path, arrays):
    goes_on = threading.Event()
    saver = Saver(tmp_path, 2, lambda: goes_on.wait(30))
    saver.start(arrays, progress(1))
    assert checkpoint.newest(tmp_path) is None
    goes_on.set()
    saver.wait()
    assert checkpoint.newest(tmp_path) is not None


def test_without_room_a_warning_says_so_and_what_is_there_stays(tmp_path, arrays, capsys, monkeypatch):
    saver = Saver(tmp_path, 1, lambda: None)
    saver.write(arrays, progress(1))
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("usage", (), {"free": 10}))
    saver.start(arrays, progress(2))
    saver.wait()
    assert "no checkpoint of step 2, training continues" in capsys.readouterr().err
    assert checkpoint.newest(tmp_path)[1].step == 1


def test_one_that_must_be_there_is_an_error_after_a_while(tmp_path, arrays, monkeypatch):
    monkeypatch.setattr("cloudseg.core.atomic.RETRY_WAITS_S", (0.01, 0.01))
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("usage", (), {"free": 10}))
    with pytest.raises(CloudsegError, match="MB are free"):
        Saver(tmp_path, 1, lambda: None).write(arrays, progress(1))


def save_best_of(saver: Saver, epoch: int, model: tf.keras.Model, step: int) -> Progress:
    """What an epoch does that is the best so far, up to its checkpoint."""
    name, digest = saver.save_best(epoch, model)
    dices = [0.1 * done for done in range(1, epoch + 1)]
    return dataclasses.replace(progress(step), best_epoch=epoch, weights=name, weights_sha256=digest, dices=dices)


def test_best_weights_are_kept_as_long_as_a_checkpoint_names_them(tmp_path, arrays, small):
    saver = Saver(tmp_path, 2, lambda: None)
    for epoch in range(1, 5):
        found = save_best_of(saver, epoch, small[0], epoch)
        assert len(list(tmp_path.glob("epoch-*"))) <= 2 + 1
        saver.write(arrays, found)
    assert sorted(path.name for path in tmp_path.glob("epoch-*")) == ["epoch-0003.weights.h5", "epoch-0004.weights.h5"]
    saver.write(arrays, dataclasses.replace(found, step=5))
    saver.write(arrays, dataclasses.replace(found, step=6))
    assert [path.name for path in tmp_path.glob("epoch-*")] == ["epoch-0004.weights.h5"]


def test_best_weights_whose_checkpoint_finds_no_room_do_not_add_up(tmp_path, arrays, small):
    saver = Saver(tmp_path, 2, lambda: None)
    saver.write(arrays, save_best_of(saver, 1, small[0], 1))
    for epoch in range(2, 6):
        save_best_of(saver, epoch, small[0], epoch)
    assert sorted(path.name for path in tmp_path.glob("epoch-*")) == ["epoch-0001.weights.h5", "epoch-0005.weights.h5"]


@pytest.mark.parametrize("fault", ["cut", "gone"])
def test_a_checkpoint_whose_best_weights_are_damaged_is_not_taken(tmp_path, arrays, small, fault, capsys):
    saver = Saver(tmp_path, 2, lambda: None)
    saver.write(arrays, save_best_of(saver, 1, small[0], 1))
    saver.write(arrays, save_best_of(saver, 2, small[0], 2))
    weights = tmp_path / "epoch-0002.weights.h5"
    weights.write_bytes(weights.read_bytes()[:-1])
    if fault == "gone":
        weights.unlink()
    assert checkpoint.newest(tmp_path)[1].best_epoch == 1
    assert "step-0000002.json is damaged (" in capsys.readouterr().err


def test_damaged_checkpoints_from_before_which_a_stage_went_on_do_not_count_as_kept(tmp_path, arrays, small):
    saver = Saver(tmp_path, 2, lambda: None)
    for step in (10, 20, 30):
        saver.write(arrays, progress(step))
    (tmp_path / "step-0000030.npz").write_bytes(b"damaged")
    for step in (22, 24):
        saver.write(arrays, progress(step))
    assert sorted(path.name for path in tmp_path.glob("*.json")) == ["step-0000022.json", "step-0000024.json"]


def test_best_weights_are_the_file_that_keras_writes(tmp_path, small):
    model, _ = small
    model.save_weights(tmp_path / "keras.weights.h5")
    digest = checkpoint.save_weights(tmp_path / "ours.weights.h5", model)
    assert digest == checkpoint.sha256(tmp_path / "keras.weights.h5") == checkpoint.sha256(tmp_path / "ours.weights.h5")


def test_who_lost_the_stage_leaves_the_best_weights_as_they_are(tmp_path, arrays, small):
    model, _ = small
    Saver(tmp_path, 1, lambda: None).save_best(1, model)
    before = (tmp_path / "epoch-0001.weights.h5").read_bytes()

    def fence() -> None:
        raise Lost("taken over")

    model.layers[0].kernel.assign_add(tf.ones_like(model.layers[0].kernel))
    with pytest.raises(Lost, match="taken over"):
        checkpoint.save_weights(tmp_path / "epoch-0001.weights.h5", model, fence)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [before]


def test_weights_for_which_the_disk_has_no_room_are_an_error_and_the_old_ones_stay(disk, small):
    model, _ = small
    place = disk(64)
    file = place / "best.weights.h5"
    checkpoint.save_weights(file, model)
    old = file.read_bytes()
    for room in (0, 4096):
        with (place / "filler").open("wb") as filler:
            filler.write(bytes(shutil.disk_usage(place).free - room))
        with pytest.raises(CloudsegError, match="see df"):
            checkpoint.save_weights(file, model)
        assert file.read_bytes() == old
        (place / "filler").unlink()
    checkpoint.save_weights(file, model)
    checkpoint.load_weights(file, model)


def test_weights_are_written_though_the_nodes_own_disk_is_full(disk, small, tmp_path, monkeypatch):
    model, _ = small
    place = disk(64)
    (place / "filler").write_bytes(bytes(shutil.disk_usage(place).free))
    monkeypatch.setattr("tempfile.tempdir", str(place))
    file = tmp_path / "run" / "best.weights.h5"
    file.parent.mkdir()
    checkpoint.save_weights(file, model)
    checkpoint.load_weights(file, model)
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_who_lost_the_stage_writes_nothing_and_hears_of_it(tmp_path, arrays):
    def fence() -> None:
        raise Lost("taken over")

    saver = Saver(tmp_path, 1, fence)
    saver.start(arrays, progress(1))
    with pytest.raises(Lost, match="taken over"):
        saver.wait()
    assert list(tmp_path.iterdir()) == []


def test_weights_and_optimizer_come_back_exactly(tmp_path, small):
    model, optimizer = small
    optimizer.apply_gradients([(tf.ones_like(v) * 0.1, v) for v in model.trainable_variables])
    before = checkpoint.snapshot(model, optimizer)
    Saver(tmp_path, 1, lambda: None).write(before, progress(1))
    for variable in [*model.variables, *optimizer.variables]:
        variable.assign(tf.zeros_like(variable))
    checkpoint.load(checkpoint.newest(tmp_path)[0], model, optimizer)
    after = checkpoint.snapshot(model, optimizer)
    assert all(before[name].tobytes() == after[name].tobytes() for name in before)


def test_memory_is_filled_again_only_when_the_checkpoint_before_is_written(tmp_path, small):
    model, optimizer = small
    goes_on = threading.Event()
    saver = Saver(tmp_path, 1, lambda: goes_on.wait(30))
    assert saver.spare() is None
    first = checkpoint.snapshot(model, optimizer)
    saver.start(first, progress(1))
    threading.Timer(0.2, goes_on.set).start()
    again = checkpoint.snapshot(model, optimizer, saver.spare())
    assert goes_on.is_set() and (tmp_path / "step-0000001.json").exists()
    assert all(again[name] is first[name] for name in first)


def test_a_checkpoint_of_another_network_is_refused(tmp_path, small, arrays):
    Saver(tmp_path, 1, lambda: None).write(arrays, progress(1))
    with pytest.raises(DataError, match="is of another network"):
        checkpoint.load(tmp_path / "step-0000001.npz", *small)


def test_a_file_with_code_in_it_is_not_run(tmp_path, small):
    class Code:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    names = {name: np.array(Code(), dtype=object) for name in checkpoint.snapshot(*small)}
    np.savez(tmp_path / "hostile.npz", **names)
    with pytest.raises(DataError, match="does not fit"):
        checkpoint.load(tmp_path / "hostile.npz", *small)
    assert not (tmp_path / "ran").exists()


def test_a_record_that_points_out_of_its_folder_stays_in_it(tmp_path, arrays):
    folder = tmp_path / "checkpoints"
    Saver(folder, 1, lambda: None).write(arrays, progress(1))
    record = folder / "step-0000001.json"
    table = json.loads(record.read_text())
    record.write_text(json.dumps({**table, "arrays": "../../etc/step-0000001.npz"}))
    assert checkpoint.newest(folder)[0].parent == folder
