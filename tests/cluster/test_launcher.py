"""What users type every day, on a real cluster: folds, what is left of them, and the doctor."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time

from tests.cluster.chain import ask
from tests.cluster.lab import ONE_EPOCH, PATIENCE_S, SMALL, wait_for_end

SETS = " ".join(f"--set {setting}" for setting in f"{SMALL} {ONE_EPOCH}".split())

FOLDS = int(os.environ.get("CLOUDSEG_FOLDS", "2"))
"""Each takes three jobs' start."""


def test_folds_from_images_to_one_score_though_a_stage_of_one_is_killed(shell, project, images):
    said = shell(
        f"python -m cloudseg.launch --stages preprocess,all --csv {images}/train.csv --images {images}/train_images "
        f"--size 64x96 --shards 2 --data {project}/of-folds --run runs/cv --folds 0-{FOLDS - 1} "
        f"--nodes 1 --tasks-per-node 1 {SETS}"
    ).stdout
    ids = dict(re.findall(r"^(\w+)(?: of folds [\d, ]+)? +job (\d+):", said, re.MULTILINE))
    assert list(ids) == ["preprocess", "frozen", "partial", "full", "evaluate"], said
    # Of a task that is cancelled while it waits, accounting may never hear.
    deadline = time.monotonic() + PATIENCE_S
    while ask("squeue", "--noheader", f"--jobs={ids['partial']}_1", "--format=%T") != "RUNNING":
        assert time.monotonic() < deadline
    subprocess.run(["scancel", f"{ids['partial']}_1"], check=True)

    ended = {row["JobID"]: row["State"].split()[0] for row in wait_for_end(
        *(f"{ids['preprocess']}_{shard}" for shard in range(2)),
        *(f"{ids[stage]}_{fold}" for stage in ("frozen", "partial", "full") for fold in range(FOLDS)), ids["evaluate"],
    )}  # fmt: skip
    cancelled = {f"{ids['partial']}_1", f"{ids['full']}_1", ids["evaluate"]}
    assert {job for job, state in ended.items() if state == "CANCELLED"} == cancelled
    assert {state for job, state in ended.items() if job not in cancelled} == {"COMPLETED"}

    shown = shell("python -m cloudseg.status runs/cv").stdout
    assert re.search(r"^fold-1 partial +cancelled", shown, re.MULTILINE), shown
    assert re.search(r"^fold-0 full +done", shown, re.MULTILINE), shown
    assert "python -m cloudseg.resume" in shown

    said = shell("python -m cloudseg.resume runs/cv").stdout
    again = dict(re.findall(r"^(\w+)(?: of folds [\d, ]+)? +job (\d+):", said, re.MULTILINE))
    assert list(again) == ["partial", "full", "evaluate"], said
    rows = wait_for_end(f"{again['partial']}_1", f"{again['full']}_1", again["evaluate"])
    assert {row["State"] for row in rows} == {"COMPLETED"}
    metrics = json.loads((project / "runs" / "cv" / "evaluate" / "metrics.json").read_text())
    samples = json.loads((project / "of-folds" / "manifest.json").read_text())["samples"]
    assert metrics["folds"] == list(range(FOLDS))
    assert metrics["images"] == sum(sample["fold"] < FOLDS for sample in samples)
    assert "all done" in shell("python -m cloudseg.status runs/cv").stdout


def test_the_doctor_finds_the_cluster_well_but_for_the_gpus_that_are_only_pretended(shell):
    process = shell("python -m cloudseg.doctor --nodes 2 --tasks-per-node 1", expect=1)
    faults = [line for line in process.stdout.splitlines() if line.startswith("FAULT")]
    assert len(faults) == 1 and "GPUs" in faults[0], process.stdout
    for word in ("USR2 reached every rank", "ran again after", "one of them gets the lock", "GB/s over all ranks"):
        assert word in process.stdout
    predicted = shell("python -m cloudseg.scaling --gpus 2 --set network=vanilla --set weights=none").stdout
    assert "measured between CPUs, not between GPUs" in predicted


def test_five_hundred_tries_at_a_stage_are_asked_about_in_one_call_each(shell, project, undisturbed):
    run = project / "runs" / "tried"
    shutil.copytree(undisturbed.path, run)
    submit = "sbatch --parsable --partition=cpu_short --array=0-499 --mem=10M --output=/dev/null --wrap=true"
    array = ask(*submit.split())
    undisturbed.until(lambda: not ask("squeue", "--noheader", f"--jobs={array}"))
    with (run / "jobs" / "frozen.attempts.jsonl").open("a") as file:
        for task in range(500):
            line = {
                "job": f"{array}_{task}",
                "how": "stopped",
                "reason": "",
                "from_step": 0,
                "to_step": 1,
                "reached": 1,
            }
            file.write(json.dumps(line) + "\n")
    for command in ("squeue", "sacct"):  # the real ones, counted
        counted = project / "counted" / command
        counted.parent.mkdir(exist_ok=True)
        counted.write_text(f'#!/bin/sh\necho called >>"$0.calls"\nexec /usr/bin/{command} "$@"\n')
        counted.chmod(0o755)
    shown = shell(f"PATH={project}/counted:$PATH python -m cloudseg.status {run}").stdout
    assert re.search(r"^frozen +done .* 500 ", shown, re.MULTILINE), shown
    for command in ("squeue", "sacct"):
        assert (project / "counted" / f"{command}.calls").read_text() == "called\n"
