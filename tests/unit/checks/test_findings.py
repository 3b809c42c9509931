"""What doctor makes of what it saw."""

from __future__ import annotations

import dataclasses

import pytest

from cloudseg.checks import findings
from cloudseg.checks.findings import FAULT, FINE, NOTE
from cloudseg.slurm import sites
from cloudseg.slurm.sites import Resources

ASKED = Resources("gpu", "00:15:00", nodes=2, tasks_per_node=1, gpus_per_node=1)
LOGIN = {"python": "3.11.7", "tensorflow": "2.15.1"}
RANK = {
    "rank": 0, "host": "a", "versions": LOGIN, "cpus": 10, "gpus": ["V100"], "gpu_memory": ["32510 MiB"],
    "meeting_s": 4.0, "allreduce_bytes_per_s": 2e9, "won": True, "sees": 2, "shared_bytes_per_s": 4e8,
    "tmpdir": "/tmp", "tmpdir_free_bytes": 4e11, "tmpdir_bytes_per_s": 1e9, "internet": False,
}  # fmt: skip


def worst_findings(asked: Resources = ASKED, **second) -> dict[str, findings.Finding]:
    """The worst finding of each kind, of two ranks of which the second differs in what is given."""
    ranks = [RANK, {**RANK, "rank": 1, "host": "b", "won": False, **second}]
    found: dict[str, findings.Finding] = {}
    for each in findings.of_ranks(ranks, asked, LOGIN):
        if each.what not in found or found[each.what].state == FINE:
            found[each.what] = each
    return found


def test_two_ranks_on_a_cluster_as_it_should_be_have_no_fault():
    assert {each.state for each in worst_findings().values()} == {FINE}


@pytest.mark.parametrize(
    ("seen", "what", "state", "words"),
    [
        ({"versions": {**LOGIN, "tensorflow": "2.16"}}, "versions", FAULT, "other than on the login node: tensorflow"),
        ({"gpus": []}, "GPUs", FAULT, "ranks 1 see none; the job has 1 per node"),
        ({"meeting_s": 90.0}, "start-up", NOTE, "took 90.0 s"),
        ({"allreduce_bytes_per_s": 1e8}, "allreduce", NOTE, "0.10 GB/s"),
        ({"won": True}, "shared folder", FAULT, "2 ranks created the same file"),
        ({"sees": 1}, "shared folder", FAULT, "b does not see files of other ranks"),
        ({"shared_bytes_per_s": 1e7}, "shared folder", NOTE, "10 MB/s"),
        ({"tmpdir_free_bytes": 1e9}, "TMPDIR", NOTE, "1 GB free"),
    ],
)
def test_what_is_not_as_it_should_be_is_named_with_what_to_do(seen, what, state, words):
    found = worst_findings(**seen)[what]
    assert (found.state, found.todo != "") == (state, True)
    assert words in found.found


def test_a_rank_that_left_nothing_is_a_fault():
    (found,) = [each for each in findings.of_ranks([RANK], ASKED, LOGIN) if each.what == "ranks"]
    assert (found.state, found.found) == (FAULT, "1 of 2 finished their checks")


def test_a_job_without_gpus_needs_none():
    assert worst_findings(dataclasses.replace(ASKED, gpus_per_node=0), gpus=[])["GPUs"].state == FINE


def test_a_signal_that_does_not_reach_all_and_a_job_that_does_not_come_back_are_faults():
    assert [each.state for each in findings.of_signals({"0": 0.1, "1": 0.2}, 2, 9.0)] == [FINE, FINE]
    assert [each.state for each in findings.of_signals({"0": 0.1}, 2, None)] == [FAULT, FAULT]


def test_a_partition_is_held_against_what_slurm_says_of_it():
    site = sites.load("ruche")
    need = dataclasses.replace(site.train, time="02:00:00")
    assert [each.state for each in findings.of_partition(site, need, {})] == [FAULT]
    as_written = {"MaxTime": "1-00:00:00", "TotalNodes": "10"}
    assert [each.state for each in findings.of_partition(site, need, as_written)] == [FINE]
    short, note = findings.of_partition(site, need, {"MaxTime": "01:00:00", "TotalNodes": "10"})
    assert (short.state, short.found) == (FAULT, "its limit is 01:00:00, and 02:00:00 is requested")
    assert note.found == "has 24:00:00 for gpu, Slurm has 01:00:00"
