"""`python -m preprocess` as it is typed: options, mistakes, help and progress."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cloudseg.data import image_size
from cloudseg.data.labels import RunTable
from preprocess.progress import Progress
from preprocess.settings import Settings, available_cpus
from tests.preprocess_source import ROOT, run

# The command line


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"table": RunTable(Path("nowhere.csv"))},
            "error: nowhere.csv is not there: give the competition's label table with --csv",
        ),
        ({"images": Path("nowhere")}, "error: nowhere is not a folder: give the folder of the JPEGs with --images DIR"),
        ({"out": ROOT / "pyproject.toml"}, "is not a folder: give a folder for the shards with --out DATA"),
        ({"shards": 13}, "error: --shards 13: there are only 12 images"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(source: Settings, change: dict[str, object], said: str) -> None:
    failed = run(dataclasses.replace(source, **change))
    assert failed.returncode == 2
    assert said in failed.stderr
    assert len(failed.stderr.splitlines()) == 1


@pytest.mark.parametrize("index", ["3", "-1"])
def test_a_shard_that_is_not_there_is_exit_code_2(source: Settings, index: str) -> None:
    failed = run(source, "--shard-index", index)
    assert failed.returncode == 2
    assert f"--shard-index {index}: the shards are numbered 0 to 2" in failed.stderr


@pytest.mark.parametrize(
    ("option", "value"), [("--size", "320"), ("--size", "100x480"), ("--workers", "0"), ("--folds", "1")]
)
def test_an_impossible_option_is_exit_code_2(source: Settings, option: str, value: str) -> None:
    failed = run(source, option, value)
    assert failed.returncode == 2
    assert value in failed.stderr
    assert "Traceback" not in failed.stderr


def test_help_has_examples_and_imports_nothing_slow() -> None:
    code = (
        "import runpy, sys\n"
        "sys.argv = ['preprocess', '--help']\n"
        "try:\n    runpy.run_module('preprocess', run_name='__main__')\n"
        "except SystemExit as left:\n    assert not left.code\n"
        "print(sorted({'cv2', 'h5py', 'numpy', 'pandas', 'tensorflow'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "python -m preprocess --csv train.csv --images train_images --out data/320x480" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("size", ["32x32", "320x480", "1376x2080"])
def test_sizes_that_can_be(size: str) -> None:
    assert "x".join(map(str, image_size.parse(size))) == size


@pytest.mark.parametrize(
    "size", ["", "320", "320x", "x480", "0x480", "-32x32", "321x480", "1408x2080", "1376x2112", "3 2x32"]
)
def test_sizes_that_cannot_be(size: str) -> None:
    with pytest.raises(ValueError, match=r"HEIGHTxWIDTH|multiples of 32"):
        image_size.parse(size)


def test_a_slurm_task_uses_no_more_processors_than_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    assert available_cpus() == len(os.sched_getaffinity(0))
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    assert available_cpus() == 1


def test_a_log_gets_some_ten_lines_of_progress(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(1000) as progress:
        for _ in range(1000):
            progress.advance(1)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("100 of 1000 images, ")
    assert lines[-1].startswith("1000 of 1000 images, ")
