"""What variables of the user's shell did to a chain: another partition, jobs queued twice, ranks without settings."""

from __future__ import annotations

import json

import pytest

from tests.cases.conftest import ONE_EPOCH, TINY, StandIn, settings

INTERACTIVE = {
    "SLURM_JOB_ID": "4242",
    "SLURM_CPU_BIND": "quiet,mask_cpu:0x1",
    "SLURM_CPU_BIND_TYPE": "mask_cpu:",
    "SLURM_CPU_BIND_LIST": "0x1",
    "SLURM_MEM_PER_NODE": "8192",
    "SLURM_TRES_BIND": "gres/gpu:single:1",
    "SLURM_EXPORT_ENV": "NONE",
}
"""What a shell of `srun --pty` has of its job."""
DEFAULTS = {
    "SBATCH_PARTITION": "gpu_test",
    "SBATCH_TIMELIMIT": "10",
    "SBATCH_NO_REQUEUE": "1",
    "SBATCH_ARRAY_INX": "0-3",
}
"""What users set for jobs of other kinds."""


@pytest.fixture
def chain(type_, slurm: StandIn, tmp_path, data):
    """Launch a chain of a run of one's own, in an environment with so much more."""
    run = tmp_path / "r"

    def launch(*options: object, **environ: str):
        arguments = ["--cluster", "slurm", "--site", "ruche", "--run", run, "--data", data, "--no-snapshot"]
        return type_("cloudseg.launch", *arguments, *settings(*TINY), *options, **{**slurm.environ, **environ})

    return launch


@pytest.mark.parametrize("options", [["--stages", "frozen"], ["--stages", "frozen,partial", "--folds", "0,1"]])
def test_sbatch_does_what_launch_says_in_a_shell_with_defaults_and_within_a_job(chain, slurm, options):
    said = chain(*options, **INTERACTIVE, **DEFAULTS, SBATCH_ACCOUNT="clouds")
    assert slurm.submitted() and all(each == {"SBATCH_ACCOUNT": "clouds"} for each in slurm.submitted())
    assert "SBATCH_PARTITION, SBATCH_TIMELIMIT" in said.stderr.replace("SBATCH_NO_REQUEUE, ", "")


@pytest.mark.parametrize("defaults", [{"SQUEUE_STATES": "RUNNING"}, {"SQUEUE_PARTITION": "cpu_short"}])
def test_a_chain_in_the_queue_is_seen_whatever_squeue_shows_by_default(chain, type_, slurm, tmp_path, defaults):
    chain("--stages", "all")
    again = chain("--stages", "all", **defaults)
    assert "queued already" in again.stdout
    assert len(slurm.calls("sbatch")) == 4
    said = type_("cloudseg.status", tmp_path / "r", "--json", **slurm.environ, **defaults)
    assert {stage["state"] for stage in json.loads(said.stdout)["stages"]} == {"queued"}
    type_("cloudseg.cancel", tmp_path / "r", **slurm.environ, **defaults)
    assert slurm.calls("scancel") == ["scancel 104 103 102 101"]


def test_trials_in_the_queue_are_seen_whatever_squeue_shows_by_default(type_, slurm, tmp_path, data):
    study = ["--study", "lr", "--values", "1e-2,1e-3", "--cluster", "slurm", "--site", "ruche", "--run", tmp_path / "s"]
    study += ["--data", data, "--no-snapshot", *settings(*TINY)]
    type_("cloudseg.launch", *study, **slurm.environ)
    slurm.forget()
    slurm.holds("101_0", "PENDING")
    slurm.holds("101_1", "PENDING")
    again = type_("cloudseg.launch", *study, **slurm.environ, SQUEUE_STATES="RUNNING", SBATCH_QOS="long")
    assert "note: SBATCH_QOS: ignored" in again.stderr
    assert len(slurm.calls("sbatch")) == 2  # the array and the job that compares


def test_time_in_the_queue_is_known_whatever_the_format_of_times(chain, type_, slurm, tmp_path):
    chain("--stages", "frozen")
    slurm.forget()
    times = "2026-11-25T10:00:00|2026-11-25T10:05:00|2026-11-25T11:05:00"
    slurm.account(f"101|TIMEOUT|0:0|{times}|3600|cpu=4,gres/gpu=2,node=1")
    said = type_("cloudseg.status", tmp_path / "r", "--json", **slurm.environ, SLURM_TIME_FORMAT="relative")
    assert json.loads(said.stdout)["stages"][0]["queued_s"] == 300


@pytest.mark.parametrize("variable", ["CLOUDSEG_RANKS", "CLOUDSEG_LEAD_S"])
def test_a_variable_that_is_no_number_is_a_line_and_no_traceback(type_, tmp_path, data, variable):
    command = ["cloudseg.train", "--run", tmp_path / "r", "--stage", "frozen", "--data", data]
    said = type_(*command, *settings(*TINY, *ONE_EPOCH), expect=2, **{variable: "abc"}).stderr
    assert f"error: {variable}=abc: must be " in said
    assert "Traceback" not in said


@pytest.mark.parametrize("ours", [True, False])
def test_ranks_train_what_was_asked_for_in_a_job_submitted_from_within_another(type_, slurm, tmp_path, data, ours):
    leaked = {
        **INTERACTIVE,
        "SLURM_MEM_PER_CPU": "1000",
        "SLURM_JOB_ID": "7",
        **({"CLOUDSEG_JOB": "7"} if ours else {}),
    }
    command = ["cloudseg.job", "--run", tmp_path / "r", "--stage", "frozen", "--data", data]
    type_(*command, *settings(*TINY, *ONE_EPOCH), **slurm.environ, **leaked, CLOUDSEG_SITE="local")
    done = json.loads((tmp_path / "r" / "1-frozen" / "DONE.json").read_text())
    assert done["epochs"] == 1
    assert slurm.calls("scontrol") == []
