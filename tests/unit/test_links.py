"""Links of a site, and what doctor makes of them."""

from __future__ import annotations

import dataclasses

import pytest

from cloudseg.cluster import findings, links, scaling
from cloudseg.cluster.links import Measured
from cloudseg.cluster.scaling import Link, Machine
from cloudseg.cluster.sites import Resources
from cloudseg.errors import UsageError

SITE = Machine(1e12, 4, Link(10e9, 10e-6), Link(10e9, 10e-6))


def measured(nodes: int, per_node: int, seconds: float) -> Measured:
    return Measured(nodes, per_node, 64_000_000, seconds, "2026-11-26")


@pytest.mark.parametrize(
    "found",
    [
        [measured(1, 4, 0.02)],
        [measured(2, 1, 0.05)],
        [measured(2, 4, 0.05)],
        [measured(2, 4, 0.05), measured(1, 4, 0.02)],
    ],
)
def test_with_what_was_measured_the_model_says_what_was_measured(found):
    machine = links.as_measured(SITE, found)
    for each in found:
        seconds = scaling.allreduce(
            each.nodes * each.per_node, each.size, dataclasses.replace(machine, per_node=each.per_node)
        )
        assert seconds == pytest.approx(each.seconds)


def test_what_was_not_measured_is_as_the_site_says():
    machine = links.as_measured(SITE, [measured(2, 1, 0.05)])
    assert machine.inside == SITE.inside
    assert links.as_measured(SITE, [measured(1, 4, 0.02)]).between == SITE.between
    assert links.as_measured(SITE, []) == SITE


def test_nodes_that_were_faster_together_than_their_inside_alone_say_nothing():
    assert links.as_measured(SITE, [measured(2, 4, 0.001)]) == SITE


def test_doctor_leaves_what_it_measured_for_its_site(tmp_path):
    ranks = [{"allreduce_bytes": 64_000_000, "allreduce_bytes_per_s": speed} for speed in (2e9, 1e9)]
    found = findings.links(ranks, Resources("gpu", "1", nodes=2), "2026-11-26")
    assert found == measured(2, 1, 0.064)
    for day in ("2026-11-25", "2026-11-26"):
        links.save(dataclasses.replace(found, day=day), "ruche", tmp_path)
    assert list(links.load("ruche", tmp_path)) == [found]
    assert list(links.load("jeanzay", tmp_path)) == []


def test_a_site_is_known_as_doctor_measured_it(tmp_path):
    links.save(measured(2, 1, 0.064), "ruche", tmp_path)
    machine, found = links.known("ruche", "float32", tmp_path)
    assert found == [measured(2, 1, 0.064)]
    assert machine.between.bytes_per_s == pytest.approx(1e9, rel=1e-3)
    assert links.known("jeanzay", "float32", tmp_path)[1] == []


def test_a_precision_that_there_is_not_is_refused(tmp_path):
    with pytest.raises(UsageError, match="precision: there is no 'half'"):
        links.known("ruche", "half", tmp_path)


def test_a_rank_alone_or_one_that_is_missing_measures_no_link():
    one = {"allreduce_bytes": 64_000_000, "allreduce_bytes_per_s": None}
    assert findings.links([one], Resources("gpu", "1"), "") is None
    assert findings.links([{**one, "allreduce_bytes_per_s": 1e9}], Resources("gpu", "1", nodes=2), "") is None
