"""Networks and losses on two ranks: what trains, that it learns, and that it goes on exactly. tests/long has every
network with every loss, and all in mixed precision."""

from __future__ import annotations

import functools
import json
import math
import re
import sys
from pathlib import Path

import pytest

from cloudseg.models import LISTED
from cloudseg.nets import freeze, models, names
from tests import processes
from tests.train.conftest import ROOT, environment, run_ranks

SIZE = (64, 64)
OURS, THEIRS = "vanilla", "unet-resnet18"
"""The network that we build, and one of segmentation_models."""
FLAT = "8,16,16"
"""Channels of three levels of ours, which is all that its two convolutions, its ways down, up and across need here."""


@functools.cache
def built(name: str) -> models.Network:
    """For all tests of one process; what trains is as the last one left it."""
    return models.build(name, SIZE, pretrained=False)


@pytest.mark.parametrize(
    ("name", "parameters", "encoder"),
    [
        ("vanilla", (2.7e6, 3.3e6), (1.3e6, 1.35e6)),
        ("unet-resnet34", (24.4e6, 24.5e6), (21.25e6, 21.35e6)),
        ("unet-vgg16", (23.7e6, 23.8e6), (14.7e6, 14.72e6)),
        ("unet-resnet18", (14.3e6, 14.4e6), (11.1e6, 11.2e6)),
        ("linknet-efficientnetb1", (8.6e6, 8.7e6), (6.5e6, 6.6e6)),
        ("unet-mobilenetv2", (8.0e6, 8.1e6), (2.25e6, 2.26e6)),
        ("segnet-vgg16", (29.4e6, 29.5e6), (14.7e6, 14.72e6)),  # 29.46 M: Paszke et al. 2016 (ENet), table 3
    ],
)
def test_networks_are_as_large_as_published(name, parameters, encoder):
    network = built(name)
    assert parameters[0] < network.model.count_params() < parameters[1]
    assert encoder[0] < network.encoder_parameters() < encoder[1]


@pytest.mark.parametrize("name", LISTED)
def test_partial_trains_about_a_fifth_of_the_encoder(name):
    assert 0.15 < freeze.freeze(built(name), 0.2).encoder_share < 0.3


@pytest.mark.parametrize("name", LISTED)
def test_freezing_leaves_nothing_of_the_encoder_and_all_of_the_decoder(name):
    network = built(name)
    everything = {v.ref() for v in network.model.variables if v.trainable}
    encoder = {v.ref() for name in network.encoder for v in network.model.get_layer(name).variables}
    freeze.freeze(network, 0.0)
    assert {v.ref() for v in network.model.trainable_variables} == everything - encoder
    freeze.freeze(network, 1.0)
    assert {v.ref() for v in network.model.trainable_variables} == everything


@pytest.mark.parametrize("decoder", ["unet", "pspnet"])  # pspnet uses only the first layers of an encoder
def test_mobilenetv2_is_cut_between_inverted_residuals(decoder):
    network = models.build(f"{decoder}-mobilenetv2", (96, 96), pretrained=False)
    block_of = {name: re.search(r"Conv1|expanded_conv|block_\d+|Conv_1", name)[0] for name in network.encoder}
    for share in (0.1, 0.2, 0.4, 0.6, 0.9):
        plan = freeze.freeze(network, share)
        trained = {block for name, block in block_of.items() if network.model.get_layer(name).trainable}
        frozen = {block for name, block in block_of.items() if not network.model.get_layer(name).trainable}
        assert not trained & frozen
        assert abs(plan.encoder_share - share) < 0.15


def test_batchnorm_of_a_frozen_encoder_trains_if_asked_to():
    network = built("unet-resnet18")
    assert "BatchNorm trains there" in str(freeze.freeze(network, 0.0, train_bn=True))
    trains = {layer for layer in network.encoder if network.model.get_layer(layer).trainable}
    assert trains == {layer for layer in network.encoder if "bn" in layer}
    freeze.freeze(network, 0.0)
    assert not any(network.model.get_layer(layer).trainable for layer in network.encoder)


@pytest.mark.parametrize(
    "name",
    [
        "vanilla", "unet-resnet18", "linknet-efficientnetb0", "fpn-resnet18", "fcn-vgg16", "segnet-resnet18",
        "deeplabv3plus-mobilenetv2", "adlinknet-resnet18",
    ],
)  # fmt: skip
def test_a_network_for_any_size_is_that_for_one_size(name):
    """Begins with the same weights, and finds the same logits, at the size of one and at another."""
    import numpy as np
    import tensorflow as tf

    networks = []
    for size in (SIZE, (None, None)):
        tf.keras.utils.set_random_seed(0)
        networks.append(models.build(name, size, pretrained=False))
    one, free = networks
    assert one.encoder == free.encoder
    for here, there in zip(one.model.get_weights(), free.model.get_weights(), strict=True):
        np.testing.assert_array_equal(here, there)
    images = np.random.default_rng(0).integers(0, 256, (1, 96, 64, 3), np.uint8)
    np.testing.assert_array_equal(one.logits(images[:, :64], False), free.logits(images[:, :64], False))
    assert free.logits(images, False).shape == (1, 96, 64, 4)


def outcomes(
    folder: Path, precision: str, size: int, losses: dict[str, tuple[str, ...]], widths: str = "-"
) -> dict[str, dict]:
    """What rank 0 of two found with each network and its `losses`, after a look that rank 1 found the same."""
    words = [f"{network}:{','.join(names)}" for network, names in losses.items()]
    run_ranks("networks_of_ranks.py", 2, folder, precision, size, widths, *words)
    first, second = (json.loads((folder / f"rank-{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    return first


def falls(found: dict) -> bool:
    first, second, third = found["losses"]
    return first > second > third


def assert_learns_and_goes_on_exactly(found: dict) -> None:
    assert found["losses"][0] > found["losses"][2]
    assert found["state"] == found["resumed"]


def assert_leaves_out_an_overflow_and_recovers(found: dict) -> None:
    assert found["kept"]
    assert found["scale_when_spoilt"] == found["scale"] / 2
    assert found["moved_after"]
    assert all(map(math.isfinite, found["losses_after"]))
    assert found["scale_after"] == found["scale_when_spoilt"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> dict[str, dict]:
    """One network with one loss, the other with every loss."""
    losses = {THEIRS: ("bce_dice",), OURS: names.LOSSES}
    return outcomes(tmp_path_factory.mktemp("plain"), "float32", 64, losses, FLAT)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> dict:
    """CPUs emulate float16, slowly."""
    (found,) = outcomes(tmp_path_factory.mktemp("mixed"), "mixed", 32, {OURS: ("bce_dice",)}, FLAT).values()
    return found


def test_both_networks_learn_and_with_every_loss(plain):
    assert len(plain) == 1 + len(names.LOSSES)
    assert [name for name, found in plain.items() if not falls(found)] == []


def test_both_networks_go_on_from_a_checkpoint_exactly(plain):
    assert [name for name, found in plain.items() if found["state"] != found["resumed"]] == []


def test_in_mixed_precision_a_network_learns_and_goes_on_exactly(mixed):
    assert_learns_and_goes_on_exactly(mixed)


def test_an_overflow_on_one_rank_leaves_the_step_out_on_all_and_halves_the_scale(mixed):
    assert_leaves_out_an_overflow_and_recovers(mixed)


def test_the_listing_says_what_partial_trains(tmp_path):
    said = processes.run(
        [sys.executable, "-m", "cloudseg.models", "unet-resnet34", "--layers"],
        cwd=ROOT, env=environment(), capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "24,456,589  21,302,473  87.1%  22.2% in 4 layers, from stage4_unit3_conv1 on" in said
    assert said.splitlines()[2:] == ["  stage4_unit3_conv1", "  stage4_unit3_bn2", "  stage4_unit3_conv2", "  bn1"]
