"""A real Slurm cluster on this machine: two nodes with four pretended V100 each, and Ruche's partitions."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.chain import Chain
from tests.cluster.lab import CHAIN, IMAGES, PATIENCE_S, ROOT, lab


@pytest.fixture(scope="session")
def mounts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which nodes see what is mounted, if it was there before they came up."""
    folder = tmp_path_factory.mktemp("mounts")
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    subprocess.run(["mount", "--make-shared", folder], check=True)
    yield folder
    subprocess.run(["umount", "--recursive", folder], check=False)


@pytest.fixture(scope="session", autouse=True)
def cluster(request: pytest.FixtureRequest) -> Iterator[None]:
    """Up for these tests and down after them. One that is up belongs to somebody else, or to tests that were killed."""
    possible = lab("check")
    if possible.returncode:
        pytest.skip(f"no Slurm cluster can run here: {(possible.stderr or possible.stdout).strip()}")
    lab("down")
    request.getfixturevalue("mounts")
    up = lab("up", "--set", "SlurmdTimeout=15")
    assert up.returncode == 0, up.stdout + up.stderr
    yield
    lab("down")


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's folder as a user has it, with logs and runs of its own."""
    folder = tmp_path_factory.mktemp("project")
    for part in ("cloudseg", "preprocess", "env", "jobs"):
        (folder / part).symlink_to(ROOT / part)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


@pytest.fixture(scope="session")
def shell(project: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Type a command in the project's folder, on the login node."""

    def type_(command: str, expect: int | None = 0, **environ: str) -> subprocess.CompletedProcess[str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("CLOUDSEG_", "SLURM_", "SBATCH_"))}
        clean["CLOUDSEG_FEED_WORKERS"] = "0"  # a process for each rank costs a second; chains to be struck have them
        process = subprocess.run(
            ["bash", "-c", command],
            cwd=project,
            env={**clean, "PATH": f"{sys.prefix}/bin:{clean['PATH']}", **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        if expect is not None:
            logs = "".join(f"\n--- {log}\n{log.read_text()}" for log in project.rglob("*.log"))
            assert process.returncode == expect, process.stdout + process.stderr + logs
        return process

    return type_


@pytest.fixture(scope="session")
def images(project: Path, shell: Callable) -> Path:
    """Generated images with labels."""
    shell(f"python -m cloudseg.demo --out images --images {IMAGES} --test-images 1")
    return project / "images"


@pytest.fixture(scope="session")
def data(project: Path, shell: Callable, images: Path) -> Path:
    """Shards, made by an array job."""
    shell(
        "sbatch --wait --array=0-2 jobs/preprocess.slurm",
        CLOUDSEG_CSV=str(images / "train.csv"),
        CLOUDSEG_IMAGES=str(images / "train_images"),
        CLOUDSEG_DATA=str(project / "shards"),
        CLOUDSEG_SIZE="64x96",
    )
    return project / "shards"


@pytest.fixture(scope="session")
def undisturbed(shell: Callable, project: Path, data: Path) -> Chain:
    """A chain of all stages and the evaluation that nothing happened to. Not to be changed."""
    chain = Chain(shell, project, data, "runs/undisturbed", CHAIN)
    chain.launch("all")
    assert chain.states() == ["COMPLETED"] * 4
    return chain
