"""Users who type our commands within a job of their own (`srun --pty bash`, salloc), with defaults of their own set."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import subprocess

import pytest

from tests.cluster.lab import CHAIN, SMALL, wait_for_end

SETS = " ".join(f"--set {setting}" for setting in f"{SMALL} {CHAIN}".split())
LEAKED = (
    "export SBATCH_PARTITION=cpu_short SBATCH_TIMELIMIT=1 SQUEUE_STATES=RUNNING SQUEUE_PARTITION=cpu_short "
    "SACCT_FORMAT=jobid SLURM_TIME_FORMAT=relative SLURM_EXPORT_ENV=NONE SLURM_CPU_BIND=quiet,mask_cpu:0x1 "
    "SLURM_CPU_BIND_LIST=0x1 SLURM_CPU_BIND_TYPE=mask_cpu:"
)


def launch(run: str, data) -> str:
    return (
        f"python -m cloudseg.launch --stages frozen,partial --cluster slurm --nodes 2 --tasks-per-node 1 "
        f"--data {data} --run {run} {SETS}"
    )


def queued(said: str) -> list[str]:
    return re.findall(r"^\w+ +job (\d+):", said, re.MULTILINE)


@pytest.mark.parametrize(("session", "stages"), [("srun-pty", ["frozen", "partial"]), ("salloc", ["frozen"])])
def test_a_chain_launched_within_a_job_is_the_same_chain_and_is_queued_once(
    shell, project, data, undisturbed, session, stages
):
    """`stages` are trained; what a session leaves in the environment of one job it leaves in that of the others."""
    run = f"runs/from-{session}"
    typed = project / f"typed-{session}"
    typed.write_text(
        f"set -e\nenv | grep ^SLURM_JOB_ID\n{LEAKED}\n{launch(run, data)}\necho AGAIN\n{launch(run, data)}\n"
    )
    within = f"bash {shlex.quote(str(typed))}"
    begin = {
        "srun-pty": f'script --quiet --return --command "srun --pty --partition=gpu --mem=2000 {within}" /dev/null',
        "salloc": f"salloc --quiet --partition=gpu --mem=2000 {within}",
    }[session]
    first, again = shell(begin).stdout.replace("\r", "").split("AGAIN")
    assert "SLURM_JOB_ID=" in first
    ids = queued(first)
    assert len(ids) == 2
    assert "queued already" in again and queued(again) == []
    trained, left = ids[: len(stages)], ids[len(stages) :]
    assert [row["State"] for row in wait_for_end(*trained)] == ["COMPLETED"] * len(stages)
    if left:
        subprocess.run(["scancel", *left], check=True)
    for stage in stages:
        best = next((project / run).glob(f"?-{stage}")) / "best.weights.h5"
        assert hashlib.sha256(best.read_bytes()).hexdigest() == undisturbed.weights(stage)


def test_a_command_typed_in_the_shell_of_a_step_of_several_tasks_does_not_wait_for_the_others(shell, project, data):
    typed = project / "typed-train"
    only_in_the_shell = (
        "[ -t 0 ] || exit 0"  # as the shells of the other tasks end, which have no terminal to read from
    )
    typed.write_text(
        f"{only_in_the_shell}\npython -m cloudseg.train --run runs/typed --stage frozen --data {data} {SETS} "
        f"--set stage.frozen.epochs=1\n"
    )
    shell(f'script --quiet --return --command "srun --pty --partition=gpu --ntasks=2 bash {typed}" /dev/null')
    assert json.loads((project / "runs/typed/1-frozen/DONE.json").read_text())["ranks"] == 1


def test_a_launch_on_the_spot_does_not_make_the_session_ours(shell, project, data):
    """It is stopped, shown as stopped and cancelled, and the session lives on."""
    typed = project / "typed-on-the-spot"
    typed.write_text(
        f"""
python -m cloudseg.launch --stages frozen --cluster local --run runs/on-the-spot --data {data} {SETS} \\
  --set stage.frozen.epochs=100000 >on-the-spot.log 2>&1 & launched=$!
until [ -e runs/on-the-spot/1-frozen/history.csv ]; do kill -0 $launched || exit 1; sleep 0.2; done
kill -TERM $launched; wait $launched; echo "launch ended with $?"
{LEAKED}
python -m cloudseg.status runs/on-the-spot --json
python -m cloudseg.cancel runs/on-the-spot
unset SQUEUE_STATES SQUEUE_PARTITION
squeue --noheader --job=$SLURM_JOB_ID --format="the session is %T"
"""
    )
    said = shell(f"salloc --quiet --partition=gpu --mem=2000 bash {typed}").stdout
    assert "launch ended with 75" in said
    assert '"state": "stopped"' in said
    assert "none of its jobs is queued or running" in said
    assert "the session is RUNNING" in said


def test_cancel_within_a_session_ends_the_chain_and_not_the_session(shell, project, data):
    typed = project / "typed-cancel"
    typed.write_text(
        f"""{LEAKED}
{launch("runs/cancelled-within", data)}
python -m cloudseg.cancel runs/cancelled-within
unset SQUEUE_STATES SQUEUE_PARTITION
squeue --noheader --job=$SLURM_JOB_ID --format="the session is %T"
"""
    )
    said = shell(f"salloc --quiet --partition=gpu --mem=2000 bash {typed}").stdout
    ids = queued(said)
    assert "the session is RUNNING" in said
    assert f"cancelled: cancelled-within frozen {ids[0]}, cancelled-within partial {ids[1]}" in said
    assert [row["State"].split()[0] for row in wait_for_end(*ids)] == ["CANCELLED"] * 2
