from __future__ import annotations

import pytest

from cloudseg.nets.freeze import plan

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
