from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from cloudseg.chain import begin, preflight
from cloudseg.core import config
from cloudseg.core.errors import UsageError


@pytest.fixture(autouse=True)
def shards(tmp_path, monkeypatch):
    """Shards with images in fold 0 and its complement, in none of fold 1; no weights in the cache."""

    class Folds:
        folder = "/shards"
        size = (320, 480)
        samples = (SimpleNamespace(name="known.jpg"),)

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
    preflight.check(settings("train_images=3"))
    preflight.check(settings("crop=[320,256]", 'augment_also=["cutmix", "grey", "coarse_dropout", "channel_shuffle"]'))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("network=unet-resnet43", "did you mean 'unet-resnet34'"),
        ("network=unetresnet34", "did you mean 'unet-resnet34'"),
        ("network=transformer", "give vanilla or DECODER-ENCODER"),
        ("loss=bce_dise", "did you mean 'bce_dice'"),
        ("weights=imagenet", "python -m cloudseg.weights fetch resnet34"),
        ("weights=mine.h5", "mine.h5 is not there"),
        ("batch=0", "batch: must be at least 1, not 0"),
        ("checkpoint.keep=0", "checkpoint.keep: must be at least 1, not 0"),
        ("stage.full.encoder=20", "stage.full.encoder: must be at least 0 and at most 1, not 20"),
        ("compression=fp8", "compression: there is no 'fp8'; there are: none, fp16"),
        ("precision=half", "precision: there is no 'half'; there are: float32, mixed"),
        ("stage.full.optimizer=adamv", "stage.full.optimizer: there is no 'adamv'; did you mean 'adam"),
        ("stage.full.schedule=cosinus", "did you mean 'cosine'"),
        ("stage.full.accumulate=0", "stage.full.accumulate: must be at least 1, not 0"),
        ("stage.full.lr=inf", "stage.full.lr: must be finite"),
        ("stage.full.weight_decay=0.1", "adam does not use it; add --set stage.full.optimizer=adamw"),
        ("positive_weight=[2.0]", "loss 'bce_dice' does not use it"),
        ("loss=lovas", "did you mean 'lovasz'"),
        ("empty_pairs=ignored", "empty_pairs: there is no 'ignored'; did you mean 'ignore'"),
        ("loss_weights=[0.75]", r"two finite numbers above 0, as \[0.75, 0.25\]; not \[0.75\]"),
        ("loss_weights=[1, 0]", r"two finite numbers above 0, as \[0.75, 0.25\]; not \[1.0, 0.0\]"),
        ("loss_weights=[1, inf]", "two finite numbers above 0"),
        ("label_smoothing=1", "label_smoothing: must be at least 0 and below 1, not 1"),
        ("label_smoothing=nan", "label_smoothing: must be at least 0 and below 1, not nan"),
        ("stage.full.encoder_lr=0", "stage.full.encoder_lr: must be above 0 and at most 1, not 0"),
        ("stage.full.encoder_lr=2", "stage.full.encoder_lr: must be above 0 and at most 1, not 2"),
        ("stage.frozen.encoder_lr=0.1", "the encoder does not train; set stage.frozen.encoder above 0"),
        ("stage.full.decay_on=kernel", "stage.full.decay_on: there is no 'kernel'; did you mean 'kernels'"),
        ("stage.full.decay_on=kernels", "no weight decay; add --set stage.full.optimizer=adamw"),
        ("stage.full.swa=6", "stage.full.swa: must be at least 0 and at most 5, not 6"),
        ("presence_weight=0.2", "the network has no presence head; add --set presence_head=true"),
        ("presence_weight=inf", "the network has no presence head"),
        ("fold=1", "has no image to validate"),
        ("train_images=4", "fold 0 of /shards has 3 images to train, not 4; type at most: --set train_images=3"),
        ("augment=strongly", "augment: there is no 'strongly'; did you mean 'strong'"),
        ('augment_also=["cutmixx"]', "augment_also: there is no 'cutmixx'; did you mean 'cutmix'"),
        ('augment_also=["grey", "grey"]', "augment_also: .* names one twice"),
        ("crop=[256]", r"crop: must be \[height, width\], both multiples of 32"),
        ("crop=[250,384]", r"both multiples of 32, as in \[256, 384\], or \[\] for whole images; not \[250, 384\]"),
        ("crop=[0,384]", "both multiples of 32"),
        ("crop=[352,384]", r"352x384 is larger than the stored images, 320x480; type at most: --set crop=\[320,384\]"),
        ("train_images=-1", "train_images: must be at least 0, not -1"),
    ],
)
def test_what_cannot_work_says_so(text, said):
    with pytest.raises(UsageError, match=said):
        preflight.check(settings(text))


def test_weights_of_positives_are_one_or_one_a_class():
    preflight.check(settings("loss=weighted_bce", "positive_weight=[2.0]"))
    with pytest.raises(UsageError, match="one number above 0, or one for each of Fish, Flower, Gravel, Sugar"):
        preflight.check(settings("loss=weighted_bce", "positive_weight=[2.0, 3.0]"))


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (("loss=bce", "loss_weights=[1, 2]"), "loss 'bce' has no two parts; it must be one of bce_dice, bce_lovasz"),
        (
            ("loss=dice", "label_smoothing=0.1"),
            "loss 'dice' does not use it; it must be one of bce, weighted_bce",
        ),
        (("stage.full.swa=2", "stage.full.early_stop=3"), "add --set stage.full.early_stop=0"),
    ],
)
def test_settings_that_do_not_go_together_say_so(texts, said):
    with pytest.raises(UsageError, match=said):
        preflight.check(settings(*texts))


def test_settings_of_losses_and_stages_that_go_together_pass():
    preflight.check(
        settings(
            "loss=bce_lovasz", "loss_weights=[0.75, 0.25]", "label_smoothing=0.1", "empty_pairs=ignore",
            "stage.full.encoder_lr=0.1", "stage.full.optimizer=adamw", "stage.full.weight_decay=0.01",
            "stage.full.decay_on=kernels", "stage.full.swa=5",
        )
    )  # fmt: skip


@pytest.mark.parametrize("weight", ["0.0", "-1.0", "inf", "nan"])
def test_a_presence_head_with_a_weight_that_cannot_train_it_is_refused(weight):
    preflight.check(settings("presence_head=true", "presence_weight=0.2"))
    with pytest.raises(UsageError, match="presence_weight: must be above 0 and finite"):
        preflight.check(settings("presence_head=true", f"presence_weight={weight}"))


def test_vanilla_has_no_weights_to_start_from():
    preflight.check(settings("network=vanilla"))
    with pytest.raises(UsageError, match="vanilla has no pretrained encoder; type: --set weights=none"):
        preflight.check(settings("network=vanilla", "weights=imagenet"))


@pytest.mark.parametrize("name", ["evaluate", "Full", "a/b", ""])
def test_a_stage_cannot_be_called_just_anything(name):
    stage = {"encoder": 1.0, "epochs": 1, "lr": 1e-3}
    given = {"data": "/shards", "weights": "none", "stages": [name], "stage": {name: stage}}
    with pytest.raises(UsageError, match="is no name for a stage"):
        preflight.check(config.resolve([("test", given)]))


def test_a_run_that_cannot_work_is_not_begun(tmp_path):
    with pytest.raises(UsageError):
        begin.run(tmp_path / "r", [("test", {"data": "/shards", "network": "unet-resnet43", "weights": "none"})])
    assert not (tmp_path / "r").exists()


def test_a_network_of_one_size_does_not_train_on_crops():
    with pytest.raises(UsageError, match="pspnet-vgg16 takes images of one size only.*--set network=unet-vgg16"):
        preflight.check(settings("network=pspnet-vgg16", "crop=[96,96]"))


def test_a_size_of_images_that_the_network_cannot_take_is_refused():
    with pytest.raises(UsageError, match="pspnet-vgg16 takes images whose height and width are multiples of 48"):
        preflight.check(settings("network=pspnet-vgg16"))


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / "a.jpg").touch()
    return folder


def test_pictures_to_label_pass(pictures):
    preflight.check(settings(f"unlabelled={pictures}", "pseudo_sure=0.8", "pseudo_weight=1"))


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (("pseudo_sure=0.8",), "pseudo_sure: there are no pictures to label; add: --unlabelled DIR"),
        (("pseudo_weight=1",), "pseudo_weight: there are no pictures to label; add: --unlabelled DIR"),
        (('stages=["frozen","pseudo"]',), "stages: pseudo has no pictures to label; add: --unlabelled DIR"),
        (("unlabelled=/none",), "/none is not a folder; give one with pictures: --unlabelled DIR"),
        (("unlabelled=PICTURES", 'stages=["pseudo","full"]'), "before pseudo there must be a stage whose network"),
        (("unlabelled=PICTURES", "pseudo_sure=0.5"), "pseudo_sure: must be above 0.5 and below 1, not 0.5"),
        (("unlabelled=PICTURES", "pseudo_sure=1"), "pseudo_sure: must be above 0.5 and below 1, not 1"),
        (("unlabelled=PICTURES", "pseudo_weight=0"), "pseudo_weight: must be above 0 and finite, not 0"),
        (("unlabelled=PICTURES", "stage.pseudo.epochs=0"), "stage.pseudo.epochs: must be at least 1, not 0"),
        (("unlabelled=PICTURES/..",), "holds no picture"),
    ],
)
def test_pictures_that_cannot_be_labelled_say_so(pictures, texts, said):
    with pytest.raises(UsageError, match=said):
        preflight.check(settings(*(text.replace("PICTURES", str(pictures)) for text in texts)))


def test_a_picture_that_has_labels_is_not_labelled_again(pictures):
    (pictures / "known.jpg").touch()
    with pytest.raises(UsageError, match=r"unlabelled: known\.jpg is in the data set /shards with labels"):
        preflight.check(settings(f"unlabelled={pictures}"))


def test_a_stage_list_without_the_one_that_labels_is_refused(pictures):
    changed = dataclasses.replace(settings(f"unlabelled={pictures}"), stages=("frozen",))
    with pytest.raises(UsageError, match="the run has no stage pseudo"):
        preflight.check(changed)
