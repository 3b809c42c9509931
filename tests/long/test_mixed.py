"""Mixed precision of every network, on two ranks. CPUs emulate float16, which takes minutes a network."""

from __future__ import annotations

import pytest

from cloudseg.models import FIVE
from tests.train.test_networks import (
    assert_learns_and_goes_on_exactly,
    assert_leaves_out_an_overflow_and_recovers,
    outcomes,
)


@pytest.fixture(scope="module", params=FIVE)
def found(request, tmp_path_factory) -> dict:
    (outcome,) = outcomes(tmp_path_factory.mktemp("mixed"), "mixed", (request.param,), ("bce_dice",)).values()
    return outcome


def test_in_mixed_precision_a_network_learns_and_goes_on_exactly(found):
    assert_learns_and_goes_on_exactly(found)


def test_an_overflow_on_one_rank_leaves_the_step_out_on_all_and_halves_the_scale(found):
    assert_leaves_out_an_overflow_and_recovers(found)
