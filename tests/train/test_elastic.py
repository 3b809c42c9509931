"""A stage that goes on with fewer ranks does what it would have done with all, to the precision of floats."""

from __future__ import annotations

import numpy as np
import pytest

from tests.train.conftest import SMALL, done, last_checkpoint, losses

# Adam would make a whole step of a gradient that is nothing but rounding.
SETTINGS = (
    *SMALL, "stage.frozen.encoder=1.0", "stage.frozen.epochs=2", "stage.frozen.lr=1e-3", "stage.frozen.optimizer=sgd",
)  # fmt: skip


OVERLAP = (
    *SETTINGS, "loss=bce_lovasz", "loss_weights=[0.75, 0.25]", "label_smoothing=0.1", "empty_pairs=ignore",
    "stage.frozen.encoder_lr=0.1", "stage.frozen.clip=1.0", "stage.frozen.swa=2",
)  # fmt: skip
FOCAL = (
    *SETTINGS, "loss=focal", "empty_pairs=ignore", "stage.frozen.optimizer=adamw", "stage.frozen.lr=1e-5",
    "stage.frozen.weight_decay=0.1", "stage.frozen.decay_on=kernels", "stage.frozen.encoder_lr=0.1",
)  # fmt: skip


@pytest.mark.parametrize("settings", [SETTINGS, OVERLAP, FOCAL], ids=["bce_dice", "bce_lovasz", "focal"])
def test_one_rank_does_the_work_of_two_with_batchnorm_too(train, tmp_path, settings):
    train(tmp_path / "two", "frozen", 2, *settings)
    train(tmp_path / "one", "frozen", 1, *settings, CLOUDSEG_RANKS="2")
    assert done(tmp_path / "one", "frozen")["ranks"] == 2
    for column in ("loss", "val_loss"):
        assert losses(tmp_path / "one", "frozen", column) == pytest.approx(
            losses(tmp_path / "two", "frozen", column), rel=1e-4
        )
    one, two = (last_checkpoint(tmp_path / name, "frozen") for name in ("one", "two"))
    assert one.keys() == two.keys()
    statistics = [name for name in two if "moving_" in name or name.startswith("swa/")]
    assert statistics
    assert all(np.allclose(one[name], two[name], rtol=1e-3, atol=1e-4) for name in statistics)
