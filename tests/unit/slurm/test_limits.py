"""Limits of a cluster on numbers of jobs."""

from __future__ import annotations

import dataclasses

import pytest

from cloudseg.core.errors import UsageError
from cloudseg.slurm import limits, script, sites
from cloudseg.slurm.limits import Limits

RUCHE = sites.load("ruche")
SHARDS = script.preprocess_job(RUCHE, "0-31")
STAGE = script.stage_job("full", RUCHE, "r", "log")
LONG = dataclasses.replace(STAGE, sbatch=("--qos=short", "-qlong"))


@pytest.mark.parametrize(("array", "tasks", "last"), [("0-31", 32, 31), ("0,2,4", 3, 4), ("1-2,7", 3, 7), ("5", 1, 5)])
def test_tasks_of_an_array_are_counted(array, tasks, last):
    job = dataclasses.replace(STAGE, array=array)
    assert (job.tasks, max(job.indices)) == (tasks, last)


def test_a_job_that_is_no_array_is_one():
    assert (STAGE.tasks, STAGE.indices) == (1, ())


def test_the_largest_array_is_read_from_the_configuration():
    assert limits.parse_array_size("MaxArraySize            = 1001\nMaxBatchRequeue = 5\n") == 1001
    assert limits.parse_array_size("") is None


@pytest.mark.parametrize(
    ("text", "account", "limit"),
    [
        ("clouds|100\n", "", 100),
        ("clouds|100\nstorms|200\n", "", 200),
        ("clouds|100\nstorms|200\n", "clouds", 100),
        ("clouds|100\nstorms|\n", "", None),
        ("clouds|100\nstorms|\n", "clouds", 100),
        ("", "", None),
        ("clouds|100\n", "other", None),
    ],
)
def test_the_limit_of_an_account(text, account, limit):
    assert limits.parse_associations(text, account) == limit


def test_a_quality_of_service_without_a_limit_has_none():
    assert limits.parse_qos("normal|\nlong|4\n") == {"long": 4}


def test_the_last_option_applies():
    assert limits.option_value(LONG.sbatch, "--qos", "-q") == "long"
    assert limits.option_value(("--quiet",), "--qos", "-q") == ""


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (Limits(array_size=20), "its last array index is 31, and this cluster has MaxArraySize=20; type: --shards 20"),
        (Limits(account=10), "these are 34 jobs, .* and your account takes 10 of a user at a time; type: --shards 8"),
        (Limits(account=2), "queue fewer stages at a time, with --stages"),
        (Limits(qos={"long": 0}), "these are 1 jobs, .* the quality of service long takes 0"),
        (
            Limits(qos={"part": 1}, partition_qos={"gpu": "part"}),
            "these are 2 jobs, .* service part takes 1",
        ),
    ],
)
def test_more_jobs_than_a_cluster_takes_are_refused(known, said):
    with pytest.raises(UsageError, match=said):
        limits.require([SHARDS, STAGE, LONG], known)


@pytest.mark.parametrize("known", [Limits(), Limits(32, 34, {"long": 1, "other": 0}, {"gpu": "more"})])
def test_as_many_as_it_takes_are_not(known):
    limits.require([SHARDS, STAGE, LONG], known)
