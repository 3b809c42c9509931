from __future__ import annotations

import math
import re

import pytest

from cloudseg.core import attempt
from cloudseg.core.errors import UsageError
from cloudseg.job.launcher import srun_command
from cloudseg.training import placement


def slurm(rank: int, local_rank: int, node: int, tasks: str) -> dict[str, str]:
    return {
        "SLURM_JOB_ID": "7",
        "SLURM_STEP_ID": "0",
        "SLURM_RESTART_COUNT": "2",
        "SLURM_STEP_TASKS_PER_NODE": tasks,
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(local_rank),
        "SLURM_NODEID": str(node),
    }


@pytest.mark.parametrize(
    ("text", "tasks"), [("4", (4,)), ("4(x2)", (4, 4)), ("2(x3),1", (2, 2, 2, 1)), ("3,1", (3, 1))]
)
def test_slurms_run_lengths(text, tasks):
    assert placement.parse_tasks_per_node(text) == tasks


def test_a_task_of_srun_knows_its_place():
    place = placement.read(slurm(rank=5, local_rank=1, node=1, tasks="4(x2)"))
    assert (place.rank, place.size, place.local_rank, place.local_size) == (5, 8, 1, 4)
    assert (place.cross_rank, place.cross_size) == (1, 2)


def test_horovod_counts_nodes_per_local_rank_when_they_differ():
    place = placement.read(slurm(rank=3, local_rank=1, node=2, tasks="1(x2),2"))
    assert (place.cross_rank, place.cross_size) == (0, 1)


def test_a_requeued_job_meets_under_another_name():
    first, second = (attempt.current_key({**slurm(0, 0, 0, "2"), "SLURM_RESTART_COUNT": n}) for n in "01")
    assert first != second


def test_ranks_dealt_in_turn_are_refused_with_the_cure():
    with pytest.raises(UsageError, match="--distribution=block"):
        placement.read(slurm(rank=1, local_rank=0, node=1, tasks="2(x2)"))


def test_a_batch_script_or_a_laptop_is_alone():
    assert placement.read({"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_TASKS_PER_NODE": "2(x2)"}) is None
    assert placement.read({}) is None


@pytest.mark.parametrize(
    ("asked", "cpus", "local_size", "threads"),
    [("10", 10, 4, 10), ("10", 40, 4, 10), ("10", 2, 2, 1), ("", 8, 2, 4), ("", 1, 4, 1)],
)
def test_a_rank_takes_its_share_of_the_cpus(asked, cpus, local_size, threads):
    environ = {"SLURM_CPUS_PER_TASK": asked} if asked else {}
    assert placement.threads_per_rank(environ, cpus, local_size) == threads


def test_an_elastic_job_has_the_work_of_the_ranks_it_was_meant_to_have():
    assert placement.planned_ranks({}, 4) == 4
    assert placement.planned_ranks({"CLOUDSEG_RANKS": "8"}, 4) == 8
    with pytest.raises(UsageError, match="8 ranks cannot be distributed evenly to 3"):
        placement.planned_ranks({"CLOUDSEG_RANKS": "8"}, 3)


def test_a_signal_that_may_come_too_late_is_warned_of():
    assert placement.late_signal_warning(placement.signal_lead_s({}), 1000, 1000) == ""
    lead = placement.signal_lead_s({"CLOUDSEG_LEAD_S": "120"})
    assert placement.late_signal_warning(lead, 60, 20) == ""
    assert "may take 140 s" in placement.late_signal_warning(lead, 60, 40)


def test_the_size_of_images_for_preprocessing_is_no_number_of_ranks():
    environ = {"SLURM_CPUS_PER_TASK": "10", "CLOUDSEG_SIZE": "320x480"}
    assert placement.threads_per_rank(environ, 10, 4) == 10


@pytest.mark.parametrize("text", ["abc", "0", "-8", "8.0", "²"])
def test_variables_that_are_no_numbers_are_named(text):
    for read in (lambda environ: placement.planned_ranks(environ, 4), lambda environ: srun_command(environ, [])):
        with pytest.raises(UsageError, match=re.escape(f"CLOUDSEG_RANKS={text}: must be a whole number from 1 on")):
            read({"CLOUDSEG_RANKS": text})
    with pytest.raises(UsageError, match=re.escape(f"CLOUDSEG_SIZE={text}: must be")):
        placement.read({"CLOUDSEG_RANK": "0", "CLOUDSEG_SIZE": text})


def test_an_empty_variable_is_none():
    assert placement.planned_ranks({"CLOUDSEG_RANKS": ""}, 4) == 4
    assert placement.signal_lead_s({"CLOUDSEG_LEAD_S": ""}) == math.inf


@pytest.mark.parametrize("text", ["x", "0", "-1", "nan", "inf"])
def test_a_lead_that_is_no_time_is_named(text):
    with pytest.raises(UsageError, match=f"CLOUDSEG_LEAD_S={text}: must be seconds, above 0"):
        placement.signal_lead_s({"CLOUDSEG_LEAD_S": text})


@pytest.mark.parametrize("environ", [{"CLOUDSEG_RANK": "1"}, {"CLOUDSEG_RANK": "2", "CLOUDSEG_SIZE": "2"}])
def test_a_rank_without_its_launcher_is_told_to_unset_it(environ):
    with pytest.raises(UsageError, match="type: unset CLOUDSEG_RANK"):
        placement.read(environ)
