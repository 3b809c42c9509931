"""The test cluster, and what Slurm says of its jobs."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LAB = ROOT / "tests" / "lab" / "slurm-lab.sh"
LAB_STATE = Path(os.environ.get("CLOUDSEG_LAB_DIR", "/var/lib/cloudseg-lab"))
SMALL = "network=vanilla weights=none recipe=demo batch=1 checkpoint.every_steps=4"
"""Two ranks train some ten steps a second."""
ONE_EPOCH = "stage.frozen.epochs=1 stage.partial.epochs=1 stage.full.epochs=1 stage.full.hold_epochs=0"
IMAGES = 45
"""A fifth of them is for validation. An epoch costs more than its steps (curves, best weights), so they are few, and of
more steps."""
EPOCH_STEPS = 18
"""Of two ranks."""
CHAIN = "stage.frozen.epochs=2 stage.partial.epochs=2 stage.full.epochs=2 stage.full.hold_epochs=0"
"""Of the chain that nothing happens to, and of those that are compared with it."""
CHAIN_STEPS = 2 * EPOCH_STEPS
"""Of each of its stages."""
PATIENCE_S = 900


def lab(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([LAB, *arguments], capture_output=True, text=True, check=False)


def accounts(*jobs: str) -> list[dict[str, str]]:
    """What sacct says of the jobs, in the order of their ids."""
    columns = ("JobID", "State", "Start", "End", "NNodes", "ExitCode")
    answer = subprocess.run(
        ["sacct", "--allocations", "--noheader", "--parsable2", f"--jobs={','.join(jobs)}",
         f"--format={','.join(columns)}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    rows = [dict(zip(columns, line.split("|"), strict=True)) for line in answer.stdout.splitlines()]
    return sorted(rows, key=lambda row: int(row["JobID"].split("_")[0]))


def wait_for_end(*jobs: str) -> list[dict[str, str]]:
    """Wait until none of the jobs is queued or running; returns what sacct says of them."""
    deadline = time.monotonic() + PATIENCE_S
    ended = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")
    while time.monotonic() < deadline:
        queue = subprocess.run(["squeue", "--noheader", "--format=%i"], capture_output=True, text=True, check=False)
        if queue.returncode == 0 and not set(jobs) & set(queue.stdout.split()):
            rows = accounts(*jobs)
            if len(rows) == len(jobs) and all(row["State"].startswith(ended) for row in rows):
                return rows
        time.sleep(0.5)
    raise TimeoutError(f"jobs {jobs} did not end in {PATIENCE_S} s: {accounts(*jobs)}")
