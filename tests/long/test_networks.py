"""Every network with every loss on two ranks: it learns, and goes on exactly."""

from __future__ import annotations

import pytest

from cloudseg.nets import names
from tests.long.conftest import NETWORKS
from tests.train.test_networks import falls, outcomes


def learns(name: str, found: dict) -> bool:
    """FCN has no BatchNorm of its own, and some losses rise in its second step at the rate of the tests."""
    return found["losses"][0] > found["losses"][2] if name.startswith("fcn-") else falls(found)


@pytest.fixture(scope="module", params=NETWORKS)
def found(request, tmp_path_factory) -> dict[str, dict]:
    return outcomes(tmp_path_factory.mktemp("plain"), "float32", 64, {request.param: names.LOSSES})


def test_a_network_learns_with_every_loss(found):
    assert len(found) == len(names.LOSSES)
    assert [name for name, each in found.items() if not learns(name, each)] == []


def test_a_network_goes_on_from_a_checkpoint_exactly_with_every_loss(found):
    assert [name for name, each in found.items() if each["state"] != each["resumed"]] == []
