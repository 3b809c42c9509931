"""What a network costs, from its layers, beside what it really has and sends."""

from __future__ import annotations

import math
import re
import sys

import pytest
import tensorflow as tf

from cloudseg.core.recipes import Stage
from cloudseg.nets import cost_table, freeze, layer_cost, losses, models
from cloudseg.nets import count_cost as network_cost
from cloudseg.training import determinism, optimizers
from cloudseg.training.comm import Solo
from cloudseg.training.step import Step
from tests import processes
from tests.train.conftest import ROOT, environment

SIZE = (64, 96)


class Overheard(Solo):
    """Adds up what a step sends."""

    def __init__(self) -> None:
        super().__init__("all there is")
        self.bytes = 0

    def mean(self, tensors: list[tf.Tensor]) -> list[tf.Tensor]:
        self.bytes = sum(tensor.dtype.size * math.prod(tensor.shape) for tensor in tensors)
        return tensors


@pytest.mark.parametrize(
    ("name", "encoder", "compressed"),
    [("unet-resnet18", 0.0, False), ("unet-resnet18", 1.0, True), ("vanilla", 0.2, False)],
)
def test_a_step_sends_what_the_model_says_and_some_bytes_more(name, encoder, compressed):
    determinism.fix()
    tf.keras.utils.set_random_seed(0)
    network, comm = models.build(name, SIZE, pretrained=False), Overheard()
    freeze.freeze(network, encoder)
    optimizer = optimizers.build(Stage(encoder, 1, 1e-3), network.model.trainable_variables, mixed=False)
    step = Step(network, optimizer, losses.bce_dice, comm, compressed=compressed)
    step(iter([(tf.zeros((1, *SIZE, 3), tf.uint8), tf.zeros((1, *SIZE), tf.uint8))]), 1e-3, 0, stop=False)
    more = comm.bytes - sum(layer_cost.message(network_cost.layers(network), compressed))
    assert 0 < more <= 4 * 4 * 2 * 3 + 3 * 4  # pooled sums; loss, number, wish to stop


def test_all_parameters_are_counted_and_flops_as_by_hand():
    network = models.build("vanilla", SIZE, pretrained=False)
    layers = network_cost.layers(network)
    assert sum(each.parameters + each.statistics for each in layers) == network.model.count_params()
    first = 2 * 64 * 96 * 9 * 3 * 24
    assert layers[0].flops == first
    # A transpose convolution of 2x2 and stride 2 uses each number once a pixel of its input.
    names = [layer.name for layer in network.model.layers if layer.weights]
    assert layers[names.index("up0_transpose")].flops == 2 * 32 * 48 * 4 * 48 * 24


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("vanilla", [(64, 96), (320, 480)]),
        ("pspnet-seresnet18", [(96, 144), (288, 480)]),
        ("unet-mobilenetv2", [(64, 96)]),
        ("deeplabv3plus-mobilenetv2", [(64, 96), (320, 480)]),
    ],
)
def test_the_table_says_what_the_networks_say(name, sizes):
    holds(name, sizes)


def holds(name: str, sizes: list[tuple[int, int]]) -> None:
    """The table of costs is right for the network, its decoder with BatchNorm and without, frozen and not."""
    no_choice = name.startswith(("fpn-", "pspnet-", "fcn-"))  # their decoders always have it, or never
    for size in sizes:
        for batchnorm in (True, False):
            if batchnorm or not no_choice:
                network = models.build(name, size, False, batchnorm)
            for share, train_bn in ((0.0, False), (0.2, False), (0.2, True), (1.0, False)):
                freeze.freeze(network, share, train_bn)
                found = cost_table.layers(name, size, batchnorm, share, train_bn)
                assert found == network_cost.layers(network), (size, batchnorm, share, train_bn)


def test_a_row_of_the_table_is_made_from_the_network():
    assert network_cost.rows("pspnet-resnet18") == cost_table.network("pspnet-resnet18")
    assert network_cost.rows("vanilla", batchnorm=False) == cost_table.network("vanilla", batchnorm=False)


def test_a_plan_of_what_never_ran_is_told_by_the_model(tmp_path):
    plan = ["cloudseg.launch", "--stages", "all", "--data", "DATA", "--plan", "--run", f"{tmp_path}/run"]
    found = {}
    for site in ("ruche", "local"):  # which has no GPUs
        process = processes.run(
            [sys.executable, "-m", *plan, "--site", site, "--set", "weights=none"],
            cwd=ROOT, env=environment(), capture_output=True, text=True, check=True,
        )  # fmt: skip
        found[site] = len(re.findall(r"^(?:frozen|partial|full) .* > \d+ min ", process.stdout, re.MULTILINE))
    assert found == {"ruche": 3, "local": 0}


def test_the_command_tells_what_more_gpus_would_bring_and_draws_it(tmp_path):
    arguments = ["--gpus", "1", "2", "4", "--set", "network=vanilla", "--set", "weights=none", "--set", "recipe=demo"]
    process = processes.run(
        [sys.executable, "-m", "cloudseg.scaling", *arguments, "--site", "ruche", "--figure", tmp_path / "scaling.png"],
        cwd=ROOT, env=environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    gradients = r"full: 9 epochs, 11\.6 MB of gradients per step"
    for line in (r"vanilla at 320x480, .* 4 GPUs per node", gradients, r"4 +\d.* \d+% "):
        assert re.search(rf"^{line}", process.stdout, re.MULTILINE), process.stdout
    assert (tmp_path / "scaling.png").stat().st_size > 10_000
