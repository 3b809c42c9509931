"""The table of layer costs: which networks it holds, and how plans read it. `tests/train` holds it against networks."""

from __future__ import annotations

import pytest

from cloudseg.core.errors import UsageError
from cloudseg.models import LISTED
from cloudseg.nets import cost_table, layer_cost, names
from tests.unit.chain.test_launch import cloudseg, imported

SIZE = (320, 480)
OF_EVERY_ENCODER = ("unet", "linknet", "fpn", "pspnet")
"""Decoders that the table has with each encoder."""


def test_own_networks_those_of_the_library_and_one_at_least_of_each_other_decoder_are_there():
    known = cost_table.known()
    assert {*names.OWN, *(f"{decoder}-{encoder}" for decoder in OF_EVERY_ENCODER for encoder in names.ENCODERS)} <= {
        *known
    }
    assert {names.parse(name)[0] for name in known} == {*names.OWN, *names.DECODERS}
    assert {*LISTED} <= {*known}


@pytest.mark.parametrize("name", cost_table.known())
def test_every_network_has_costs_with_and_without_batchnorm_and_frozen(name):
    size = (96, 192)
    for batchnorm in (True, False):
        for share in (0.0, 0.2, 1.0):
            layers = cost_table.layers(name, size, batchnorm, share)
            assert layer_cost.forward(layers) > 0
            assert any(layer.trains for layer in layers)
            assert all(layer.trains for layer in layers) == (share == 1.0)


def test_a_network_that_it_lacks_says_what_to_type(monkeypatch):
    monkeypatch.setattr(names, "OWN", ("vanilla", "small"))
    with pytest.raises(UsageError, match=r"cost_table.json does not say what the layers of 'small' cost; .*make costs"):
        cost_table.layers("small", SIZE)


def test_a_size_that_a_network_cannot_have_says_which_it_can():
    with pytest.raises(UsageError, match=r"multiples of 48, not 320x480; .* --size 288x480"):
        cost_table.layers("pspnet-resnet34", SIZE)
    assert cost_table.layers("pspnet-resnet34", (288, 480))
    with pytest.raises(UsageError, match=r"at least 75x75, not 64x96; .* --size 96x96"):
        cost_table.layers("unet-inceptionv3", (64, 96))


def test_flops_follow_the_pixels_but_for_what_sees_pooled_numbers():
    once, twice = (layer_cost.forward(cost_table.layers("unet-resnet34", size)) for size in (SIZE, (640, 480)))
    assert twice == 2 * once
    once, twice = (layer_cost.forward(cost_table.layers("unet-efficientnetb0", size)) for size in (SIZE, (640, 480)))
    assert 1.9 * once < twice < 2 * once


def test_the_text_of_the_table_is_what_it_was_read_from():
    read = {name: (cost_table.network(name), cost_table.network(name, batchnorm=False)) for name in cost_table.known()}
    assert cost_table.text(read) == cost_table.FILE.read_text()


@pytest.mark.parametrize("command", ["cloudseg.scaling --site ruche", "cloudseg.launch --stages all --plan --data D"])
def test_the_model_of_many_gpus_needs_no_tensorflow(command, tmp_path):
    process = cloudseg(*command.split(), "--set", "weights=none", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert not imported(process) & {"tensorflow", "keras", "segmentation_models", "horovod"}
