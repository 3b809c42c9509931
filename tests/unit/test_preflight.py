from __future__ import annotations

import numpy as np
import pytest

from cloudseg import config, preflight, run
from cloudseg.errors import UsageError


@pytest.fixture(autouse=True)
def shards(tmp_path, monkeypatch):
    """Shards with images in fold 0 and its complement, in none of fold 1; no weights in the cache."""

    class Folds:
        def indices(self, fold: int, training: bool) -> np.ndarray:
            return np.arange(0 if fold == 1 and not training else 3)

    monkeypatch.setattr(preflight.Manifest, "load", lambda folder: Folds())
    monkeypatch.setenv("CLOUDSEG_CACHE", str(tmp_path / "cache"))
    for name in ("CLOUDSEG_DATA", "CLOUDSEG_CONFIG", "CLOUDSEG_SET"):
        monkeypatch.delenv(name, raising=False)


def settings(*texts: str) -> config.Settings:
    layers = [("test", config.parse_assignment(text)) for text in ("data=/shards", "weights=none", *texts)]
    return config.resolve(layers)


def test_what_can_work_passes():
    preflight.check(settings())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("network=unet-resnet43", "did you mean 'unet-resnet34'"),
        ("network=unetresnet34", "did you mean 'unet-resnet34'"),
        ("network=transformer", "it is vanilla, or DECODER-ENCODER"),
        ("loss=bce_dise", "did you mean 'bce_dice'"),
        ("weights=imagenet", "python -m cloudseg.weights fetch resnet34"),
        ("weights=mine.h5", "mine.h5 is not there"),
        ("batch=0", "batch: must be at least 1, not 0"),
        ("checkpoint.keep=0", "checkpoint.keep: must be at least 1, not 0"),
        ("stage.full.encoder=20", "stage.full.encoder: must be at least 0 and at most 1, not 20"),
        ("fold=1", "has no image to validate"),
    ],
)
def test_what_cannot_work_says_so(text, said):
    with pytest.raises(UsageError, match=said):
        preflight.check(settings(text))


def test_a_run_that_cannot_work_is_not_begun(tmp_path):
    with pytest.raises(UsageError):
        run.prepare(tmp_path / "r", [("test", {"data": "/shards", "network": "unet-resnet43", "weights": "none"})])
    assert not (tmp_path / "r").exists()
