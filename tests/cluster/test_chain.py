"""The two commands that users type, on a real cluster of two nodes."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import time

from tests.cluster.conftest import PATIENCE_S, SMALL, accounts, wait_for_end

ONE_EPOCH = " ".join(f"stage.{stage}.epochs=1" for stage in ("frozen", "partial", "full")) + " stage.full.hold_epochs=0"


def launch(shell, run: str, data, settings: str, *options: str) -> list[str]:
    """Launch; returns the job ids that it prints, in order."""
    sets = " ".join(f"--set {setting}" for setting in f"{SMALL} {settings}".split())
    said = shell(
        f"python -m cloudseg.launch --data {data} --run {run} --tasks-per-node 1 {sets} {' '.join(options)}"
    ).stdout
    return re.findall(r"^\w+ +job (\d+):", said, re.MULTILINE)


def test_an_array_job_makes_every_shard(data):
    manifest = json.loads((data / "manifest.json").read_text())
    assert len(manifest["shards"]) == 3
    assert len(manifest["samples"]) == 15


def test_stage_one_submitted_by_hand_trains_on_four_ranks(shell, project, data):
    submitted = shell(
        "sbatch --wait --parsable --ntasks-per-node=2 --gres=gpu:2 jobs/train_stage1.slurm",
        CLOUDSEG_DATA=str(data),
        CLOUDSEG_RUN="runs/by-hand",
        CLOUDSEG_SET=f"{SMALL} {ONE_EPOCH}",
    )
    assert json.loads((project / "runs/by-hand/1-frozen/DONE.json").read_text())["ranks"] == 4
    job = accounts(submitted.stdout.strip())[0]
    assert (job["State"], job["NNodes"]) == ("COMPLETED", "2")


def test_the_launched_chain_completes_in_order_each_stage_from_the_one_before(shell, project, data):
    ids = launch(shell, "runs/chain", data, ONE_EPOCH, "--stages all")
    assert len(ids) == 4
    again = shell("python -m cloudseg.launch --stages all --run runs/chain")
    assert "queued already" in again.stdout
    rows = wait_for_end(*ids)
    assert [row["State"] for row in rows] == ["COMPLETED"] * 4
    assert all(before["End"] <= after["Start"] for before, after in itertools.pairwise(rows))
    run = project / "runs" / "chain"
    done = [json.loads((run / stage / "DONE.json").read_text()) for stage in ("1-frozen", "2-partial", "3-full")]
    assert [stage["ranks"] for stage in done] == [2, 2, 2]
    for before, after in itertools.pairwise(done):
        assert after["started_from"]["weights_sha256"] == before["weights_sha256"]
    metrics = json.loads((run / "evaluate" / "metrics.json").read_text())
    assert metrics["weights_sha256"] == done[-1]["weights_sha256"]
    assert "all done" in shell("python -m cloudseg.launch --stages all --run runs/chain").stdout


def test_dependents_of_a_stage_that_fails_are_cancelled(shell, data):
    ids = launch(shell, "runs/diverges", data, f"{ONE_EPOCH} stage.frozen.lr=1e30", "--stages all")
    states = [row["State"].split()[0] for row in wait_for_end(*ids)]
    assert states == ["FAILED", "CANCELLED", "CANCELLED", "CANCELLED"]


def test_a_signalled_stage_submitted_by_hand_saves_requeues_itself_and_goes_on(shell, project, data):
    job = shell(
        "sbatch --parsable --nodes=1 --ntasks-per-node=2 --gres=gpu:2 jobs/train_stage1.slurm",
        CLOUDSEG_DATA=str(data),
        CLOUDSEG_RUN="runs/signalled",
        CLOUDSEG_SET=f"{SMALL} checkpoint.every_steps=2 stage.frozen.epochs=8",
    ).stdout.strip()
    checkpoints = project / "runs/signalled/1-frozen/checkpoints"
    deadline = time.monotonic() + PATIENCE_S
    while not list(checkpoints.glob("step-*.json")):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    subprocess.run(["scancel", "--signal=USR2", job], check=True)
    assert wait_for_end(job)[0]["State"] == "COMPLETED"
    log = (project / f"cloudseg-stage1-{job}.log").read_text()
    assert log.count(f"job {job} is requeued and resumes from its last checkpoint") == 1
    assert json.loads((project / "runs/signalled/1-frozen/DONE.json").read_text())["steps"] == 6 * 8
