"""env/setup.sh up to where it installs: what stops it before, and the job that compiles."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BASE = Path(sys.base_prefix) / "bin" / "python3.11"
NOT_AN_ENVIRONMENT = "is not a Python environment: move it away"
"""What setup.sh says of the folder of these tests, once nothing has stopped it before."""

PYTHON = f"""#!/bin/sh
case "$*" in
  "-m venv "*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; touch "$3/pyvenv.cfg" ;;
  "-m pip "*) echo "$*" >>"$CALLS/pip" ;;
  *) exec {BASE} "$@" ;;
esac
"""
"""A Python that makes environments of itself and only notes what pip is told."""


@pytest.fixture
def bin_(tmp_path) -> Path:
    """A folder of commands, first in PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    return folder


def command(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


def nvcc(folder: Path, version: str, *capabilities: int) -> None:
    """An nvcc of CUDA `version` that compiles for these compute capabilities, 70 for 7.0."""
    archs = " ".join(f"compute_{each}" for each in capabilities)
    text = f'case $1 in --version) echo "release {version}, V{version}.1" ;; *) printf "%s\\n" {archs} ;; esac'
    command(folder, "nvcc", f"#!/bin/sh\n{text}\n")


@pytest.fixture
def setup(tmp_path, bin_):
    """Run setup.sh with these options; it stops at a folder that is no environment, unless `venv` names another."""
    venv = tmp_path / "venv"
    venv.mkdir()
    (venv / "file").touch()

    def run(*options: str, **environ: str) -> subprocess.CompletedProcess[str]:
        variables = ("CLOUDSEG_", "CUDA_", "HOROVOD_", "PIP_", "SBATCH_", "SLURM_")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(variables)}
        own = {
            "PATH": f"{bin_}:/usr/bin:/bin",
            "PYTHON": str(BASE),
            "CLOUDSEG_VENV": str(venv),
            "CLOUDSEG_CACHE": str(tmp_path / "cache"),
            "CALLS": str(tmp_path),
        }
        return subprocess.run(
            [ROOT / "env" / "setup.sh", *options],
            env={**clean, **own, **environ},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_without_nvcc_a_setup_for_gpus_stops_before_it_writes_anything(setup, tmp_path):
    process = setup("--gpu", "--no-mpi", CLOUDSEG_VENV=str(tmp_path / "new"))
    assert process.returncode == 1
    (line,) = process.stderr.splitlines()
    assert "there is no nvcc here. Without NCCL" in line and "module load cuda/12.2" in line
    assert line.endswith("env/setup.sh --gpu --no-mpi --allow-cpu-allreduce")
    assert not (tmp_path / "new").exists() and not (tmp_path / "cache").exists()


def test_who_accepts_allreduce_on_the_cpu_goes_on(setup):
    process = setup("--gpu", "--allow-cpu-allreduce")
    assert (process.returncode, NOT_AN_ENVIRONMENT in process.stderr) == (2, True)


def test_without_gpus_no_nvcc_is_needed(setup):
    assert NOT_AN_ENVIRONMENT in setup().stderr


@pytest.mark.parametrize(
    ("version", "capabilities", "site", "said"),
    [
        ("12.2", (70, 80, 90), "ruche", NOT_AN_ENVIRONMENT),
        ("12.2", (80, 90), "ruche", "cannot compile for the GPUs of .*ruche.toml, which have compute capability 7.0"),
        (
            "11.2",
            (70, 80),
            "h100.toml",
            "compile for the GPUs of .*h100.toml, which have compute capability 9.0",
        ),
        ("12.2", (80, 90), "template", NOT_AN_ENVIRONMENT),
        ("13.0", (80, 90), "ruche", "cannot compile for V100; .* export HOROVOD_BUILD_CUDA_CC_LIST=90"),
    ],
)
def test_an_nvcc_that_cannot_compile_for_the_gpus_of_the_site_stops_it_too(
    setup, bin_, tmp_path, version, capabilities, site, said
):
    nvcc(bin_, version, *capabilities)
    own = (ROOT / "env" / "sites" / "ruche.toml").read_text().replace('"7.0"', '"9.0"')
    (tmp_path / "h100.toml").write_text(own)
    process = setup("--gpu", CLOUDSEG_SITE=str(tmp_path / site) if site.endswith(".toml") else site)
    assert re.search(said, process.stderr), process.stderr


def test_cuda_13_is_used_where_the_architectures_are_named(setup, bin_, tmp_path):
    nvcc(bin_, "13.0", 80, 90)
    site = tmp_path / "h100.toml"
    site.write_text((ROOT / "env" / "sites" / "ruche.toml").read_text().replace('"7.0"', '"9.0"'))
    process = setup("--gpu", CLOUDSEG_SITE=str(site), HOROVOD_BUILD_CUDA_CC_LIST="90")
    assert NOT_AN_ENVIRONMENT in process.stderr


def test_a_site_that_is_not_there_is_named(setup):
    process = setup(CLOUDSEG_SITE="rouche")
    assert process.returncode == 2
    assert "rouche.toml is not there" in process.stderr


def test_as_a_job_what_needs_internet_is_done_here_and_the_rest_is_queued(setup, bin_, tmp_path):
    command(bin_, "python-stand-in", PYTHON)
    command(
        bin_, "sbatch", f'#!/bin/sh\necho "$*" >{tmp_path}/asked\nenv >{tmp_path}/env\ncat >{tmp_path}/script\necho 7\n'
    )
    venv = tmp_path / "new"
    process = setup(
        "--no-mpi", "--as-job", PYTHON=str(bin_ / "python-stand-in"), CLOUDSEG_VENV=str(venv), CLOUDSEG_SITE="jeanzay"
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines()[-1] == f"setup: follow: tail -F {venv}/setup-job-7.log"
    asked = (tmp_path / "asked").read_text().split()
    assert {"--partition=compil", "--time=01:00:00", f"--output={venv}/setup-job-%j.log"} <= set(asked)
    assert (tmp_path / "script").read_text() == f"#!/usr/bin/env bash\nexec {ROOT}/env/setup.sh --no-mpi \n"
    variables = dict(line.partition("=")[::2] for line in (tmp_path / "env").read_text().splitlines())
    assert variables["PIP_NO_INDEX"] == "1"
    assert variables["PIP_FIND_LINKS"] == str(tmp_path / "cache" / "sources")
    assert variables["CLOUDSEG_VENV"] == str(venv)
    install, *downloads = [line for line in (tmp_path / "pip").read_text().splitlines() if "--version" not in line]
    assert "install --require-hashes" in install
    assert [line.rpartition("/")[2] for line in downloads] == ["horovod.txt", "cmake.txt"]
    assert re.fullmatch(r"horovod==[\d.]+ --hash=sha256:\w{64}\n", (tmp_path / "cache/sources/horovod.txt").read_text())
    assert not (venv / "setup.stamp").exists()


def test_a_refused_job_says_what_to_type(setup, bin_, tmp_path):
    command(bin_, "python-stand-in", PYTHON)
    command(bin_, "sbatch", "#!/bin/sh\ncat >/dev/null\necho 'sbatch: error: Invalid partition' >&2\nexit 1\n")
    process = setup("--as-job", PYTHON=str(bin_ / "python-stand-in"), CLOUDSEG_VENV=str(tmp_path / "new"))
    assert process.returncode == 1
    assert "change `compile` in" in process.stderr and "Invalid partition" in process.stderr


def test_without_sbatch_there_is_no_job(setup, bin_):
    for tool in Path("/usr/bin").iterdir():
        if tool.name != "sbatch":
            (bin_ / tool.name).symlink_to(tool)
    process = setup("--as-job", PATH=str(bin_))
    assert (process.returncode, "there is no sbatch on this machine" in process.stderr) == (2, True)


@pytest.mark.parametrize("cluster", ["Ruche", "Jean Zay"])
def test_quickstarts_name_the_folders_of_caches_before_the_first_command_that_writes(cluster):
    text = (ROOT / "docs" / "quickstart.md").read_text()
    lines = text.partition(f"## {cluster}")[2].partition("```sh\n")[2].partition("```")[0].splitlines()
    first = {word: next(i for i, line in enumerate(lines) if word in line) for word in ("CLOUDSEG_CACHE", "git clone")}
    assert first["CLOUDSEG_CACHE"] < first["git clone"]
    assert "PIP_CACHE_DIR" in lines[first["CLOUDSEG_CACHE"]]
    assert lines[first["git clone"]].startswith("cd $WORK")
