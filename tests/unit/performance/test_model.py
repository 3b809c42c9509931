"""The model of many GPUs, by hand."""

from __future__ import annotations

import math

import pytest

from cloudseg.nets import layer_cost
from cloudseg.nets.layer_cost import Layer
from cloudseg.performance import model
from cloudseg.performance.model import Link, Machine, allreduce, ring, step

GB = 1e9
FAST, SLOW = Link(10 * GB, 0.0), Link(1 * GB, 0.0)


def layer(flops: float, megabytes: float, trains: bool = True) -> Layer:
    return Layer(flops, int(megabytes * 1e6 / 4), 0, trains)


@pytest.mark.parametrize(("ranks", "seconds"), [(1, 0.0), (2, 1.0), (4, 1.5), (1000, 1.998)])
def test_a_ring_sends_everything_almost_twice(ranks, seconds):
    assert ring(ranks, 1e9, SLOW) == pytest.approx(seconds)


def test_a_ring_waits_for_each_neighbour_twice():
    assert ring(5, 0, Link(GB, 0.001)) == pytest.approx(0.008)


def test_over_nodes_it_is_a_ring_inside_and_one_between():
    machine = Machine(1e12, 4, FAST, SLOW)
    assert allreduce(4, 1e9, machine) == pytest.approx(0.15)
    assert allreduce(8, 1e9, machine) == pytest.approx(0.15 + 1.0)


def test_what_is_frozen_is_neither_sent_nor_computed_backwards():
    layers = [layer(10, 4, trains=False), layer(20, 8), layer(30, 4)]
    assert layer_cost.forward(layers) == 60
    # The first that trains needs no gradient of its input.
    assert layer_cost.backward(layers) == [0, 20, 60]
    assert layer_cost.message(layers) == [0, 8_000_000, 4_000_000]
    assert layer_cost.message(layers, compressed=True) == [0, 4_000_000, 2_000_000]


def test_messages_hide_behind_backpropagation_but_for_the_last():
    """Two layers of 2 s each backwards, a message of 1 s each: the second's leaves while the first is computed."""
    machine = Machine(1e9, 1, FAST, Link(GB / 1e3, 0.0))
    layers = [layer(2e9, 1), layer(1e9, 1)]
    found = step(layers, 1, 2, machine, bucket_bytes=1_000_000)
    assert (found.compute_s, found.communication_s, found.waiting_s) == pytest.approx((3 + 4, 2, 1))
    assert found.efficiency == pytest.approx(7 / 8)
    assert found.images_per_s == pytest.approx(2 / 8)


def test_one_message_for_all_hides_nothing():
    machine = Machine(1e9, 1, FAST, Link(GB / 1e3, 0.0))
    found = step([layer(2e9, 1), layer(1e9, 1)], 1, 2, machine, bucket_bytes=math.inf)
    assert found.waiting_s == found.communication_s == pytest.approx(2)


def test_one_gpu_waits_for_nobody():
    found = step([layer(1e9, 100)], 1, 1, Machine(1e9, 4, SLOW, SLOW))
    assert (found.waiting_s, found.efficiency) == (0, 1)


def test_doubling_pays_as_long_as_it_makes_a_stage_half_as_fast_again():
    assert model.largest_worthwhile({1: 100, 2: 55, 4: 33, 8: 25}) == 4
    assert model.largest_worthwhile({1: 100, 2: 50}) == 2


def test_a_stage_takes_whole_steps_and_its_start():
    one = model.Step(2, 20, compute_s=1.0, communication_s=0.5, waiting_s=0.5)
    seconds = model.stage_seconds(one, 0.1, epochs=3, training=41, validation=9)
    assert seconds == pytest.approx(model.estimate.START_S + 3 * (3 * 1.5 + 5 * 0.1))
