"""Mixed precision of every network, on two ranks. CPUs emulate float16, which takes minutes a network."""

from __future__ import annotations

import pytest

from tests.long.conftest import NETWORKS
from tests.train.conftest import losses
from tests.train.test_networks import (
    assert_learns_and_goes_on_exactly,
    assert_leaves_out_an_overflow_and_recovers,
    outcomes,
)

SIZE = 64
"""At 32, two images leave BatchNorm two numbers a channel in the deepest layers, and gradients grow a millionfold."""


@pytest.fixture(scope="module", params=NETWORKS)
def found(request, tmp_path_factory) -> dict:
    (outcome,) = outcomes(tmp_path_factory.mktemp("mixed"), "mixed", SIZE, {request.param: ("bce_dice",)}).values()
    return outcome


def test_in_mixed_precision_a_network_learns_and_goes_on_exactly(found):
    assert_learns_and_goes_on_exactly(found)


def test_an_overflow_on_one_rank_leaves_the_step_out_on_all_and_halves_the_scale(found):
    assert_leaves_out_an_overflow_and_recovers(found)


def test_a_stage_whose_gradients_all_overflow_fails_and_says_what_to_type(train, tmp_path):
    printed = train(
        tmp_path / "run", "frozen", 1, "network=vanilla", "weights=none", "recipe=demo", "batch=1", "precision=mixed",
        "stage.frozen.epochs=9", "loss=weighted_bce", "positive_weight=[1e30]", expect=1,
    )  # fmt: skip
    assert "nothing trains; begin a new run: python -m cloudseg.launch" in printed
    assert "--set precision=float32" in printed
    assert len(losses(tmp_path / "run", "frozen")) < 9
