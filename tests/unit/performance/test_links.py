"""Links of a site, and what doctor makes of them."""

from __future__ import annotations

import dataclasses
import json

import pytest

from cloudseg.checks import findings
from cloudseg.core.errors import UsageError
from cloudseg.performance import links, model
from cloudseg.performance.links import Measured
from cloudseg.performance.model import Link, Machine
from cloudseg.slurm import sites
from cloudseg.slurm.sites import Resources

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
    machine = links.with_measured_links(SITE, found)
    for each in found:
        seconds = model.allreduce(
            each.nodes * each.per_node, each.size, dataclasses.replace(machine, per_node=each.per_node)
        )
        assert seconds == pytest.approx(each.seconds)


def test_what_was_not_measured_is_as_the_site_says():
    machine = links.with_measured_links(SITE, [measured(2, 1, 0.05)])
    assert machine.inside == SITE.inside
    assert links.with_measured_links(SITE, [measured(1, 4, 0.02)]).between == SITE.between
    assert links.with_measured_links(SITE, []) == SITE


def test_nodes_that_were_faster_together_than_their_inside_alone_say_nothing():
    assert links.with_measured_links(SITE, [measured(2, 4, 0.001)]) == SITE


GPU = "Tesla V100-SXM2-32GB"


def left(folder, site: str = "ruche", **changes) -> Measured:
    """What doctor leaves of two nodes of the site as it is now, but for `changes`."""
    under = links.conditions(sites.load(site))
    each = dataclasses.replace(measured(2, 1, 0.064), **{"gpu": GPU, "conditions": under, **changes})
    links.save(each, site, folder)
    return each


def test_doctor_leaves_what_it_measured_for_its_site(tmp_path):
    ranks = [{"allreduce_bytes": 64_000_000, "allreduce_bytes_per_s": speed, "gpus": [GPU]} for speed in (2e9, 1e9)]
    found = findings.links(ranks, Resources("gpu", "1", nodes=2), "2026-11-26", {"partition": "gpu"})
    assert found == dataclasses.replace(measured(2, 1, 0.064), gpu=GPU, conditions={"partition": "gpu"})
    for day in ("2026-11-25", "2026-11-26"):
        links.save(dataclasses.replace(found, day=day), "ruche", tmp_path)
    assert [each for _, each in links.load("ruche", tmp_path)] == [found]
    assert list(links.load("jeanzay", tmp_path)) == []


def test_a_site_is_known_as_doctor_measured_it(tmp_path):
    each = left(tmp_path)
    known = links.known("ruche", "float32", tmp_path)
    assert (known.measured, known.notes) == ([each], [])
    assert known.machine.between.bytes_per_s == pytest.approx(1e9, rel=1e-3)
    assert links.known("jeanzay", "float32", tmp_path).measured == []


def test_what_cpus_measured_is_not_taken_for_gpus(tmp_path):
    left(tmp_path, gpu="")
    known = links.known("ruche", "float32", tmp_path)
    assert known.machine == links.machine(sites.load("ruche"), "float32")
    assert "measured between CPUs" in known.notes[0]


def test_ranks_of_which_some_had_no_gpu_measure_no_link():
    one = {"allreduce_bytes": 64_000_000, "allreduce_bytes_per_s": 1e9, "gpus": [GPU]}
    assert findings.links([one, {**one, "gpus": []}], Resources("gpu", "1", nodes=2), "", {}) is None


@pytest.mark.parametrize(
    ("changed", "was"),
    [
        ("partition", "gpu_test"),
        ("environment", {"NCCL_SOCKET_IFNAME": "ib0"}),
        ("sbatch", ["--constraint=a100"]),
        ("horovod", ["mpi=none", "cuda=none", "digest=0"]),
    ],
)
def test_what_was_measured_under_other_conditions_is_named_and_not_taken_up(changed, was, tmp_path):
    left(tmp_path, conditions={**links.conditions(sites.load("ruche")), changed: was})
    known = links.known("ruche", "float32", tmp_path)
    assert known.measured == []
    assert f"measured with another {changed}; measure again: python -m cloudseg.doctor --site ruche" in known.notes[0]


def test_a_partition_of_its_own_has_a_measurement_of_its_own(tmp_path):
    site = sites.load("ruche")
    test = left(tmp_path, conditions=links.conditions(site, "gpu_test"), seconds=0.6)
    usual = left(tmp_path)
    assert links.known("ruche", "float32", tmp_path).measured == [usual]
    assert links.known("ruche", "float32", tmp_path, partition="gpu_test").measured == [test]


def test_the_interface_that_the_shell_names_decides(tmp_path, monkeypatch):
    left(tmp_path)
    monkeypatch.setenv("CLOUDSEG_INTERFACE", "ib0")
    assert links.known("ruche", "float32", tmp_path).measured == []


def test_what_an_earlier_version_measured_does_not_count_and_what_is_damaged_is_refused(tmp_path):
    old = dataclasses.asdict(measured(2, 1, 0.064))
    del old["gpu"], old["conditions"]
    (tmp_path / "links-ruche-2x1.json").write_text(json.dumps(old))
    known = links.known("ruche", "float32", tmp_path)
    assert known.measured == [] and len(known.notes) == 1
    (tmp_path / "links-ruche-2x1.json").write_text('{"nodes": 2')
    with pytest.raises(UsageError, match=r"links-ruche-2x1.json is no measurement of doctor; type: rm "):
        links.known("ruche", "float32", tmp_path)


def test_a_site_whose_name_begins_like_anothers_has_its_own_measurements(tmp_path):
    left(tmp_path)
    (tmp_path / "links-ruche-gpu-2x1-0.json").write_text("another site's")
    assert len(links.known("ruche", "float32", tmp_path).measured) == 1


def test_a_precision_that_there_is_not_is_refused(tmp_path):
    with pytest.raises(UsageError, match="precision: there is no 'half'"):
        links.known("ruche", "half", tmp_path)


def test_a_rank_alone_or_one_that_is_missing_measures_no_link():
    one = {"allreduce_bytes": 64_000_000, "allreduce_bytes_per_s": None, "gpus": [GPU]}
    assert findings.links([one], Resources("gpu", "1"), "", {}) is None
    assert findings.links([{**one, "allreduce_bytes_per_s": 1e9}], Resources("gpu", "1", nodes=2), "", {}) is None
