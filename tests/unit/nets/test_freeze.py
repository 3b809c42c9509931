from __future__ import annotations

import pytest

from cloudseg.nets import cost_table, names
from cloudseg.nets.freeze import BLOCKS, block_starts, plan

LAYERS = [("stem", 10), ("middle", 50), ("late", 22), ("last", 18)]


@pytest.mark.parametrize(
    ("share", "trains"),
    [
        (0.0, ()),
        (1.0, ("stem", "middle", "late", "last")),
        (0.2, ("last",)),
        (0.4, ("late", "last")),
        (0.31, ("late", "last")),
        (0.28, ("last",)),
    ],
)
def test_the_cut_is_at_the_nearest_layer_boundary(share, trains):
    assert plan(LAYERS, share).encoder_layers == trains


def test_the_share_that_came_out_is_told():
    assert plan(LAYERS, 0.2).encoder_share == pytest.approx(0.18)
    assert "18.0% of the encoder" in str(plan(LAYERS, 0.2))


def test_layers_without_parameters_at_the_end_do_not_hide_the_rest():
    assert plan([("a", 80), ("b", 20), ("relu", 0)], 0.2).encoder_layers == ("b", "relu")


@pytest.mark.parametrize(
    ("share", "trains"),
    [
        (0.0, ()),
        (0.2, ()),  # the cut nearest to 20 % is within a block
        (0.25, ("late", "last")),
        (0.31, ("late", "last")),
        (0.8, ("stem", "middle", "late", "last")),
        (1.0, ("stem", "middle", "late", "last")),
    ],
)
def test_with_blocks_the_cut_is_at_the_nearest_boundary_of_blocks(share, trains):
    assert plan(LAYERS, share, starts={0, 2}).encoder_layers == trains


def test_the_blocks_of_mobilenetv2_have_all_layers_that_its_costs_list():
    encoder = cost_table.network("unet-mobilenetv2").encoder
    assert sum(BLOCKS["mobilenetv2"]) == len(encoder) == 104
    starts = sorted(block_starts("mobilenetv2"))
    assert starts[:4] == [0, 2, 6, 12] and starts[-1] == 102
    # Each block begins with a convolution and ends with a BatchNorm.
    assert all(encoder[start].statistics == 0 and encoder[start - 1].statistics > 0 for start in starts)


@pytest.mark.parametrize("encoder", [name for name in (*names.OWN, *names.ENCODERS) if name not in BLOCKS])
def test_other_encoders_are_cut_at_layers_as_before(encoder):
    assert block_starts(encoder) is None
