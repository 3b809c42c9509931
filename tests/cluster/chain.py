"""A small chain of stages on the test cluster, and what may happen to it."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from cloudseg.core.attempt import FAILED
from tests.cluster.lab import LAB_STATE, PATIENCE_S, SMALL, lab, wait_for_end

STAGES = ("frozen", "partial", "full")
TWO_NODES = "--nodes 2 --tasks-per-node 1"
ONE_NODE = "--nodes 1 --tasks-per-node 1"
SILENCE_S = 20.0
"""CLOUDSEG_SILENCE_S: a rank may stand still for so long."""


@dataclasses.dataclass
class Chain:
    """A run of the project that `shell` types in."""

    shell: Callable[..., subprocess.CompletedProcess[str]]
    project: Path
    data: Path
    run: str
    settings: str = ""
    feed_workers: str = "0"
    """CLOUDSEG_FEED_WORKERS; "" for the default, a process beside each rank."""
    ids: dict[str, str] = dataclasses.field(default_factory=dict)
    _tries_before: dict[str, int] = dataclasses.field(default_factory=dict)
    """Of each stage, before it was launched last."""
    saved: int = 0
    """For tests: a step of which there was a checkpoint."""

    @property
    def path(self) -> Path:
        return self.project / self.run

    def launch(self, stages: str, options: str = TWO_NODES, silence_s: float = SILENCE_S) -> None:
        """Queue stages; they are in `ids` then. Ranks may stand still for `silence_s`."""
        sets = " ".join(f"--set {setting}" for setting in f"{SMALL} {self.settings}".split())
        self._tries_before = {stage: len(self.past_attempts(stage)) for stage in STAGES}
        said = self.shell(
            f"python -m cloudseg.launch --stages {stages} --data {self.data} --run {self.run} {options} {sets}",
            CLOUDSEG_SILENCE_S=f"{silence_s:.0f}",
            CLOUDSEG_FEED_WORKERS=self.feed_workers,
        ).stdout
        self.ids = dict(re.findall(r"^(\w+) +job (\d+):", said, re.MULTILINE))
        assert self.ids, said

    def states(self) -> list[str]:
        """How the jobs ended, in order, once all have."""
        return [row["State"].split()[0] for row in wait_for_end(*self.ids.values())]

    def cancel(self) -> None:
        """Cancel what is left of it, and wait until it has ended."""
        subprocess.run(["scancel", *self.ids.values()], check=False, capture_output=True)
        self.states()

    def is_over(self, stage: str) -> bool:
        done = list(self.path.glob(f"?-{stage}/DONE.json"))
        return bool(done) or any(end["how"] == FAILED for end in self.past_attempts(stage))

    def restarts(self, stage: str) -> int:
        answers: list[str] = []

        def look() -> bool:
            answers.append(ask("scontrol", "show", "job", self.ids[stage]))
            return "Restarts=" in answers[-1]

        self.until(look)
        return int(re.search(r"Restarts=(\d+)", answers[-1])[1])

    def until_requeued(self, stage: str, times: int = 1) -> None:
        """Wait until the job is in the queue again, and spare it the pause that Slurm makes then."""
        self.until(lambda: self.restarts(stage) >= times)
        # Slurm sets the pause when the last process has left.
        self.until(lambda: ask("squeue", "-h", "-j", self.ids[stage], "-o", "%T") != "COMPLETING")
        time.sleep(2)  # a node refuses a job that it has ended within the same second
        subprocess.run(["scontrol", "update", f"jobid={self.ids[stage]}", "StartTime=now"], check=False)

    def stage(self, stage: str) -> Path:
        return next(self.path.glob(f"?-{stage}"))

    def checkpoints(self, stage: str) -> list[Path]:
        """Those that are whole, oldest first."""
        return sorted(path.with_suffix(".npz") for path in self.path.glob(f"?-{stage}/checkpoints/step-*.json"))

    def steps(self, stage: str) -> int:
        return max((int(path.stem.removeprefix("step-")) for path in self.checkpoints(stage)), default=0)

    def arrays(self, stage: str, step: int | None = None) -> dict[str, np.ndarray]:
        """Weights and optimizer of a checkpoint, by default the last."""
        file = self.checkpoints(stage)[-1]
        with np.load(file if step is None else file.with_name(f"step-{step:07d}.npz")) as arrays:
            return dict(arrays)

    def weights(self, stage: str) -> str:
        """sha256 of the file that a finished stage hands on."""
        return hashlib.sha256((self.stage(stage) / "best.weights.h5").read_bytes()).hexdigest()

    def log(self, stage: str) -> str:
        return (self.path / "jobs" / f"{stage}.log").read_text()

    def past_attempts(self, stage: str) -> list[dict]:
        file = self.path / "jobs" / f"{stage}.attempts.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def until(self, condition: Callable[[], object]) -> None:
        """Wait for something to happen to the chain, which it cannot once its first stage has failed."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            tries = [
                end for stage in list(self.ids)[:1] for end in self.past_attempts(stage)[self._tries_before[stage] :]
            ]
            assert all(end["how"] != FAILED for end in tries) and time.monotonic() < deadline, f"{self.run}: {tries}"
            time.sleep(0.02)

    def until_step(self, stage: str, step: int) -> None:
        """Wait for a checkpoint of `step` or later."""
        self.until(lambda: self.steps(stage) >= step)

    def heartbeat(self, rank: int) -> dict:
        """What the rank that runs now says of itself."""
        found: list[dict] = []

        def look() -> bool:
            for file in self.path.glob(f"jobs/attempts/*/rank-{rank}.json"):
                with contextlib.suppress(OSError, ValueError):
                    table = json.loads(file.read_text())
                    if "cloudseg" in Path(f"/proc/{table['pid']}/cmdline").read_text():
                        found.append(table)
            return bool(found)

        self.until(look)
        return found[0]

    def kill(self, rank: int, number: signal.Signals = signal.SIGKILL) -> None:
        os.kill(self.heartbeat(rank)["pid"], number)

    def kill_while_saving(self, stage: str) -> None:
        """Kill rank 0 while it writes a checkpoint."""
        folder, pid = self.path.glob(f"?-{stage}/checkpoints"), self.heartbeat(0)["pid"]
        writing = re.compile(r"\.tmp-.*\.step-\d+\.npz")
        checkpoints = next(folder)
        deadline = time.monotonic() + PATIENCE_S
        while not any(writing.fullmatch(path.name) for path in checkpoints.iterdir()):
            assert time.monotonic() < deadline
        os.kill(pid, signal.SIGKILL)

    def damage_newest(self, stage: str) -> Path:
        """Flip a byte in the newest checkpoint."""
        file = self.checkpoints(stage)[-1]
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
        return file


def differing(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> list[str]:
    """Names of arrays that are not bit for bit the same."""
    assert one.keys() == other.keys()
    return [name for name in one if one[name].tobytes() != other[name].tobytes()]


def slurm(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def ask(*command: str) -> str:
    """What Slurm says, "" if it does not answer: asked too often, its commands die of a broken pipe now and then."""
    time.sleep(0.2)
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def preempt(seconds: int = 3) -> None:
    """Let an urgent job take both nodes for some seconds."""
    slurm("sbatch", "--wait", "--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null",
          f"--wrap=sleep {seconds}")  # fmt: skip


def kill_accounting() -> None:
    """Until the cluster is brought up again, which starts what is missing."""
    os.kill(int((LAB_STATE / "run" / "slurmdbd.pid").read_text()), signal.SIGKILL)


def node_is_down(node: str) -> bool:
    return "down" in ask("sinfo", "-h", "-N", "-n", node, "-o", "%T")


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """Leave no room on the file system of `folder` while within."""
    file = folder / "filler"
    try:
        with contextlib.suppress(OSError), file.open("wb", buffering=0) as out:
            while True:
                out.write(b"\0" * 65536)
        yield
    finally:
        file.unlink()


def crash(node: str) -> None:
    assert lab("crash", node).returncode == 0


def cut(node: str) -> None:
    assert lab("cut", node).returncode == 0


def revive(node: str) -> None:
    assert lab("revive", node).returncode == 0
