"""docs/extending.md, followed to the letter in a copy of the code."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import processes
from tests.train.conftest import ROOT, environment

PAGE = (ROOT / "docs" / "extending.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def type_(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Callable[..., str]:
    """Type a line of the page in a copy of the code to which its changes were made."""
    folder = tmp_path_factory.mktemp("extended")
    for part in ("cloudseg", "env", "jobs"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for change in blocks("diff"):
        processes.run(["git", "apply", "-"], input=change, cwd=folder, text=True, check=True)
    (folder / "mine.toml").write_text(blocks("toml")[0])

    def run(line: str, expect: int = 0, **environ: str) -> str:
        words = [sys.executable if word == "python" else word.replace("DATA", str(data)) for word in shlex.split(line)]
        process = processes.run(
            words, cwd=folder, env=environment(PYTHONPATH=str(folder), **environ),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        assert process.returncode == expect, process.stdout
        return process.stdout

    run.folder = folder
    return run


def test_the_network_and_the_loss_of_the_page_train_a_chain(type_):
    listing, chain = blocks("sh")[0].splitlines()
    said = type_(listing)
    assert re.search(r"^small +8,564 .* 31\.3% in 1 layers, from down3 on", said, re.MULTILINE), said
    type_(chain)
    metrics = json.loads((type_.folder / "runs" / "small" / "evaluate" / "metrics.json").read_text())
    assert 0 < metrics["dice"] <= 1


def test_the_site_of_the_page_is_planned_for_and_its_limit_holds(type_):
    *exports, plan, dry, refused, _ = blocks("sh")[1].splitlines()
    environ = dict(line.removeprefix("export ").replace("$PWD", str(type_.folder)).split("=") for line in exports)
    assert re.search(r"^full .* 2 x 2 +a100 +12:00:00", type_(plan, **environ), re.MULTILINE)
    script = type_(dry, **environ)
    for line in ("#SBATCH --partition=a100", "#SBATCH --qos=normal", "#SBATCH --gres=gpu:2"):
        assert line in script
    assert "3 nodes x 2 GPUs are 6 GPUs, and this site limits a user to 4" in type_(refused, expect=2, **environ)
