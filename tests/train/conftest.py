from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests import processes

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("network=vanilla", "weights=none", "recipe=demo", "batch=2")
"""Settings that train in seconds."""


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of generated images, made by the commands that users type."""
    folder = tmp_path_factory.mktemp("data")
    for command in (
        ["cloudseg.demo", "--out", str(folder / "demo"), "--images", "15", "--test-images", "1"],
        ["preprocess", "--csv", str(folder / "demo" / "train.csv"), "--images", str(folder / "demo" / "train_images"),
         "--out", str(folder / "shards"), "--size", "64x96", "--shards", "2", "--folds", "3"],
    ):  # fmt: skip
        processes.run([sys.executable, "-m", *command], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return folder / "shards"


@pytest.fixture(scope="session")
def chain(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose three stages of one epoch and evaluation the launcher ran here, on 2 ranks. Not to be changed."""
    run = tmp_path_factory.mktemp("chain") / "run"
    short = (*(f"stage.{stage}.epochs=1" for stage in ("frozen", "partial", "full")), "stage.full.hold_epochs=0")
    settings = [option for setting in (*SMALL, *short) for option in ("--set", setting)]
    process = processes.run(
        [sys.executable, "-m", "cloudseg.launch", "--stages", "all", "--cluster", "local", "--tasks-per-node", "2",
         "--run", str(run), "--data", str(data), *settings],
        cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stdout
    return run


def environment(**more: str) -> dict[str, str]:
    """Ours, without what would change a run: settings, a Slurm job around the tests, GPUs."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("CLOUDSEG_", "SLURM_", "HOROVOD_"))}
    return {**clean, "CUDA_VISIBLE_DEVICES": "", **more}


def command(run: Path, stage: str, data: Path, ranks: int, *settings: str) -> list[str]:
    """The command line of one stage on `ranks` processes of this machine."""
    options = [option for setting in settings for option in ("--set", setting)]
    return [
        sys.executable, "-m", "cloudseg.job", "--run", str(run), "--stage", stage, "--ranks", str(ranks),
        "--data", str(data), *options,
    ]  # fmt: skip


@pytest.fixture
def train(data: Path) -> Callable[..., str]:
    """Train a stage to its end on `ranks` processes; returns what it printed."""

    def run_stage(run: Path, stage: str, ranks: int, *settings: str, expect: int = 0, **environ: str) -> str:
        process = processes.run(
            command(run, stage, data, ranks, *settings),
            cwd=ROOT,
            env=environment(**environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert process.returncode == expect, process.stdout
        return process.stdout

    return run_stage


def stage_folder(run: Path, stage: str) -> Path:
    return next(run.glob(f"?-{stage}"))


def done(run: Path, stage: str) -> dict:
    return json.loads((stage_folder(run, stage) / "DONE.json").read_text())


def losses(run: Path, stage: str, column: str = "loss") -> list[float]:
    with (stage_folder(run, stage) / "history.csv").open(newline="") as file:
        return [float(row[column]) for row in csv.DictReader(file)]


def last_checkpoint(run: Path, stage: str) -> dict[str, np.ndarray]:
    """Every array of the newest checkpoint, weights and optimizer, by its name in the file."""
    with np.load(max((stage_folder(run, stage) / "checkpoints").glob("step-*.npz"))) as file:
        return dict(file)


def assert_identical(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    """Bit for bit, weights and optimizer alike."""
    assert one.keys() == other.keys()
    differing = [name for name in one if not np.array_equal(one[name], other[name])]
    assert differing == []


def run_ranks(
    script: str, ranks: int, *arguments: object, killed: bool = False, fresh: bool = False, **environ: str
) -> None:
    """Run a script beside this file as so many ranks of this machine, to its end or until it is `killed`; `fresh` as
    in `processes`."""
    words = [str(Path(__file__).with_name(script)), *map(str, arguments)]
    code = start_ranks(ranks, *words, fresh=fresh, **environ)
    assert (code != 0) is killed


def start_ranks(ranks: int, *words: str, fresh: bool = False, **environ: str) -> int:
    """Run `python WORDS` as so many ranks of this machine; returns their exit code."""
    return processes.run(
        [sys.executable, str(ROOT / "tests" / "start_ranks.py"), str(ranks), *words],
        cwd=ROOT, env=environment(PYTHONPATH=str(ROOT), **environ), fresh=fresh,
    ).returncode  # fmt: skip
