"""What must not depend on how many ranks there are, and what must be equal on all of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.train.conftest import ROOT, SMALL, environment, losses, run_ranks

NO_BATCHNORM = (*SMALL, "batchnorm=false", "loss=bce", "stage.frozen.epochs=2", "stage.frozen.lr=1e-4")
"""The decoder alone trains. BatchNorm in the frozen encoder takes no statistics of the batch, whose size differs."""


def test_one_rank_and_two_have_the_same_loss_curve(train, tmp_path):
    for ranks, batch in ((1, 4), (2, 2)):
        train(tmp_path / str(ranks), "frozen", ranks, *NO_BATCHNORM, f"batch={batch}")
    for column in ("loss", "val_loss"):
        one, two = (losses(tmp_path / ranks, "frozen", column) for ranks in ("1", "2"))
        assert len(one) == len(two) == 2
        assert np.abs(np.subtract(one, two)).max() <= 1e-5


def test_one_two_and_three_ranks_validate_to_the_same_numbers(data, tmp_path):
    """Fifteen images in batches of two."""
    for ranks in (1, 2, 3):
        run_ranks("validation_of_ranks.py", ranks, data, tmp_path)
    one, two, three = ((tmp_path / f"{ranks}.json").read_text() for ranks in (1, 2, 3))
    assert one == two == three
    *_, messages = json.loads(one)
    assert messages == 1


@pytest.mark.parametrize(
    ("ranks", "bucket_bytes", "compression"), [(2, "inf", "fp16"), (4, "inf", "none"), (3, 4 << 20, "fp16")]
)
def test_ranks_end_with_bit_identical_weights_and_batchnorm_statistics(
    data, tmp_path, ranks, bucket_bytes, compression
):
    from cloudseg.chain import begin
    from cloudseg.core import config

    layers = [("test", config.parse_assignment(text)) for text in (*SMALL, "batch=1", f"compression={compression}")]
    prepared = begin.run(tmp_path / "run", [("test", {"data": str(data)}), *layers])
    # Forked ranks have one seed of hashes, and could not show an order that follows it.
    run_ranks("state_of_ranks.py", ranks, prepared.path, tmp_path, bucket_bytes, fresh=ranks == 2)
    states = [json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in range(ranks)]
    assert [state.pop("rank") for state in states] == list(range(ranks))
    assert any("moving_variance" in name for name in states[0])
    assert all(state == states[0] for state in states)


@pytest.fixture(scope="module")
def messages(tmp_path_factory):
    out = tmp_path_factory.mktemp("messages")
    run_ranks("messages_of_ranks.py", 3, out)
    return json.loads((out / "messages.json").read_text())


def test_messages_that_are_ready_at_once_are_summed_as_if_each_were_alone(messages):
    """Else the clock would decide which of them Horovod puts into one buffer, and so in which order it sums."""
    assert messages["differing"] == []


def test_float16_travels_beside_float32_and_its_sum_does_not_overflow(messages):
    assert messages["error_of_whole"] < 1e-6 < messages["error"] < 5e-3


@pytest.mark.parametrize("starter", ["horovodrun", "mpirun"])
def test_external_starters_work_too(data, tmp_path, starter):
    options = {"horovodrun": ["--gloo"], "mpirun": ["--allow-run-as-root", "--oversubscribe"]}
    program = Path(sys.executable).with_name(starter) if starter == "horovodrun" else starter
    try:
        subprocess.run([program, "--version"], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip(f"{starter} is not on this machine: Horovod was built without MPI")
    settings = [option for setting in (*SMALL, "stage.frozen.epochs=1") for option in ("--set", setting)]
    train = ["-m", "cloudseg.train", "--run", str(tmp_path / "run"), "--stage", "frozen", "--data", str(data)]
    process = subprocess.run(
        [program, "-np", "2", *options[starter], sys.executable, *train, *settings],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    assert json.loads((tmp_path / "run" / "1-frozen" / "DONE.json").read_text())["ranks"] == 2
