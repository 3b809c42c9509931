"""The two commands that users type, on a real cluster of two nodes."""

from __future__ import annotations

import itertools
import json
import subprocess
import time

from tests.cluster.chain import STAGES
from tests.cluster.lab import CHAIN_STEPS, EPOCH_STEPS, IMAGES, ONE_EPOCH, PATIENCE_S, SMALL, accounts, wait_for_end


def test_an_array_job_makes_every_shard(data):
    manifest = json.loads((data / "manifest.json").read_text())
    assert len(manifest["shards"]) == 3
    assert len(manifest["samples"]) == IMAGES


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


def test_a_signalled_stage_submitted_by_hand_saves_requeues_itself_and_goes_on(shell, project, data):
    job = shell(
        "sbatch --parsable --nodes=1 --ntasks-per-node=1 --gres=gpu:1 jobs/train_stage1.slurm",
        CLOUDSEG_DATA=str(data),
        CLOUDSEG_RUN="runs/signalled",
        CLOUDSEG_SET=f"{SMALL} checkpoint.every_steps=2 stage.frozen.epochs=1",
    ).stdout.strip()
    checkpoints = project / "runs/signalled/1-frozen/checkpoints"
    deadline = time.monotonic() + PATIENCE_S
    while not list(checkpoints.glob("step-*.json")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    subprocess.run(["scancel", "--signal=USR2", job], check=True)
    assert wait_for_end(job)[0]["State"] == "COMPLETED"
    log = (project / f"cloudseg-stage1-{job}.log").read_text()
    assert log.count(f"job {job} is requeued and resumes from its last checkpoint") == 1
    assert json.loads((project / "runs/signalled/1-frozen/DONE.json").read_text())["steps"] == 2 * EPOCH_STEPS


def test_the_launched_chain_completes_in_order_each_stage_from_the_one_before(shell, undisturbed):
    rows = accounts(*undisturbed.ids.values())
    assert list(undisturbed.ids) == [*STAGES, "evaluate"]
    assert [row["State"] for row in rows] == ["COMPLETED"] * 4
    assert all(before["End"] <= after["Start"] for before, after in itertools.pairwise(rows))
    done = [json.loads((undisturbed.stage(stage) / "DONE.json").read_text()) for stage in STAGES]
    assert [(stage["ranks"], stage["steps"]) for stage in done] == [(2, CHAIN_STEPS)] * 3
    for before, after in itertools.pairwise(done):
        assert after["started_from"]["weights_sha256"] == before["weights_sha256"]
    metrics = json.loads((undisturbed.path / "evaluate" / "metrics.json").read_text())
    assert metrics["weights_sha256"] == done[-1]["weights_sha256"]
    assert "all done" in shell(f"python -m cloudseg.launch --stages all --run {undisturbed.run}").stdout
