"""What users would lose: cases from bug reports of people who do this job, each with the right outcome.

Everything is real but Slurm, whose commands are stand-ins here; `tests/cluster` has the real ones.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cloudseg.data.labels import CLASSES
from tests import processes

ROOT = Path(__file__).resolve().parents[2]
Type = Callable[..., subprocess.CompletedProcess[str]]
VARIABLES = ("CLOUDSEG_", "SLURM_", "SBATCH_", "SQUEUE_", "SACCT_", "SCANCEL_", "HOROVOD_")
"""What the environment of the tests must not decide."""
TINY = ("recipe=demo", "network=vanilla", "weights=none", "batch=2")
ONE_EPOCH = tuple(f"stage.{stage}.epochs=1" for stage in ("frozen", "partial", "full"))


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(VARIABLES)}


def settings(*chosen: str) -> list[str]:
    """As options of a command line."""
    return [option for setting in chosen for option in ("--set", setting)]


def type_command(*words: object, expect: int | None = 0, cwd: Path = ROOT, fresh: bool = False, **environ: str):
    """Run `python -m WORDS` as a user would; `expect` is the exit code that it must have, `fresh` as in `processes`."""
    process = processes.run(
        [sys.executable, "-m", *map(str, words)],
        cwd=cwd,
        env={**clean_environment(), "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        fresh=fresh,
    )
    if expect is not None:
        assert process.returncode == expect, process.stdout + process.stderr
    return process


@pytest.fixture(scope="session", name="type_")
def type_fixture() -> Type:
    return type_command


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated images in the competition's format: train.csv, train_images, test_images, sample_submission.csv."""
    folder = tmp_path_factory.mktemp("demo") / "demo"
    type_command("cloudseg.demo", "--out", folder, "--images", 8)
    return folder


@pytest.fixture(scope="session")
def data(demo: Path) -> Path:
    """Shards of `demo`."""
    out = demo.parent / "data"
    options = ["--size", "64x96", "--folds", 4, "--workers", 1]
    type_command("preprocess", "--csv", demo / "train.csv", "--images", demo / "train_images", "--out", out, *options)
    return out


@pytest.fixture(scope="session")
def run(data: Path) -> Path:
    """A scored run, trained for one epoch a stage. Tests may predict with it, and change nothing else."""
    path = data.parent / "run"
    options = ["--stages", "all", "--cluster", "local", "--run", path, "--data", data]
    type_command("cloudseg.launch", *options, *settings(*TINY, *ONE_EPOCH))
    return path


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """For `predict --thresholds`: masks of nearly all pixels that have data, so that polygons tell the mean probability
    of a picture."""
    path = tmp_path / "rules.json"
    path.write_text(json.dumps({name: {"threshold": 0.01} for name in CLASSES}))
    return path


@dataclasses.dataclass(frozen=True)
class StandIn:
    """A Slurm that only notes what it is told."""

    folder: Path

    @property
    def environ(self) -> dict[str, str]:
        """What a shell has that finds it."""
        return {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "STAND_IN": str(self.folder)}

    def holds(self, number: str, state: str, reason: str = "None", nodes: str = "") -> None:
        """One more job in the queue."""
        with (self.folder / "jobs").open("a") as file:
            file.write(f"{number}|{state}|{reason}|1:00|59:00|{nodes}|(null)|gpu\n")

    def forget(self) -> None:
        """No job is in the queue."""
        (self.folder / "jobs").write_text("")

    def account(self, line: str) -> None:
        """One more line that sacct says."""
        with (self.folder / "accounts").open("a") as file:
            file.write(line + "\n")

    def calls(self, command: str) -> list[str]:
        lines = (self.folder / "calls").read_text().splitlines()
        return [line for line in lines if line.split()[0] == command]

    def submitted(self) -> list[dict[str, str]]:
        """Slurm's variables as each call of sbatch had them."""
        return [json.loads(path.read_text()) for path in sorted(self.folder.glob("environment-*"))]


@pytest.fixture
def slurm(tmp_path: Path) -> StandIn:
    folder = tmp_path / "slurm"
    (folder / "bin").mkdir(parents=True)
    script = f"#!{sys.executable}\n" + Path(__file__).with_name("stand_ins.py").read_text()
    for name in ("sbatch", "squeue", "sacct", "scancel", "scontrol", "sacctmgr", "srun"):
        (folder / "bin" / name).write_text(script)
        (folder / "bin" / name).chmod(0o755)
    for name in ("jobs", "accounts", "calls"):
        (folder / name).touch()
    return StandIn(folder)
