"""Slurm's commands do what their options say, whatever the shell around them."""

from __future__ import annotations

import subprocess

import pytest

from cloudseg.slurm import commands

SHELL = {"HOME": "/home/u", "PATH": "/bin", "CLOUDSEG_DATA": "D"}
ASKED = {"SBATCH_ACCOUNT": "clouds", "SLURM_CONF": "/etc/slurm.conf", "SLURM_CLUSTERS": "east", "SLURM_JWT": "token"}


@pytest.mark.parametrize(
    "name",
    [
        "SLURM_JOB_ID", "SLURM_CPU_BIND", "SLURM_EXPORT_ENV", "SLURM_TIME_FORMAT", "SRUN_EXPORT_ENV",
        "SBATCH_PARTITION", "SBATCH_EXPORT", "SQUEUE_STATES", "SQUEUE_FORMAT2", "SACCT_LOCAL", "SCANCEL_INTERACTIVE",
        "SCONTROL_ALL", "SALLOC_PARTITION",
    ],
)  # fmt: skip
def test_a_variable_of_the_shell_does_not_decide(name):
    assert commands.environment({**SHELL, **ASKED, name: "x"}) == {**SHELL, **ASKED}


def test_a_step_keeps_what_tells_of_its_job():
    job = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "8", "SLURM_CPUS_PER_TASK": "10", "SLURM_HINT": "nomultithread"}
    leaked = {"SLURM_MEM_PER_NODE": "8192", "SLURM_TRES_BIND": "gres/gpu:single:1", "SRUN_EXPORT_ENV": "NONE"}
    assert commands.step_environment({**SHELL, **job, **leaked}) == {**SHELL, **job}


def test_a_command_that_another_library_starts_is_cleaned_too(tmp_path):
    line = commands.without_options(["sh", "-c", "env"], {**SHELL, "SBATCH_TIMELIMIT": "10"})
    found = subprocess.run(line, env={**SHELL, "SBATCH_TIMELIMIT": "10"}, capture_output=True, text=True, check=True)
    assert "CLOUDSEG_DATA=D" in found.stdout and "SBATCH_TIMELIMIT" not in found.stdout
    assert commands.without_options(["sbatch", "x"], SHELL) == ["sbatch", "x"]


def test_variables_that_are_not_heeded_are_named():
    assert commands.ignored({**SHELL, **ASKED, "SBATCH_QOS": "long", "SLURM_JOB_ID": "7"}) == ["SBATCH_QOS"]


def test_a_command_that_is_not_there_or_fails_has_no_answer():
    assert commands.query(["no-such-command-of-slurm"]) is None
    assert commands.query(["sh", "-c", "echo 7; exit 1"]) is None
    assert commands.query(["sh", "-c", "echo 'Invalid job id specified' >&2; exit 1"]) == ""
