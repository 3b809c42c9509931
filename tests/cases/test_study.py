"""Learning-rate studies: no rate that was launched is forgotten."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys

from tests import processes
from tests.cases.conftest import ROOT, TINY, clean_environment, settings

COMMANDS = {
    # Notes what each job asks for, under an id that no other has.
    "sbatch": 'number=41; until mkdir "$FOLDER/job-$number" 2>/dev/null; do number=$((number + 1)); done\n'
    'cp "$2" "$FOLDER/job-$number/script"; echo $number\n',
    "squeue": "exit 0\n",
    # As on a slow disk: both launches have looked before one of them writes.
    "git": f'sleep 1; exec {shutil.which("git")} "$@"\n',
}


def test_two_launches_of_a_study_at_once_keep_the_rates_of_both(data, tmp_path):
    (tmp_path / "bin").mkdir()
    for name, text in COMMANDS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}")
        (tmp_path / "bin" / name).chmod(0o755)
    environ = {**clean_environment(), "PYTHONPATH": str(ROOT), "FOLDER": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""}
    environ["PATH"] = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    study = tmp_path / "study"
    rates = [["0.1", "0.01"], ["0.03"], ["0.001", "0.01"], ["0.003"]]
    for pair in (rates[:2], rates[2:]):
        launches = [
            processes.Popen(
                [
                    sys.executable, "-m", "cloudseg.launch", "--study", "lr", "--values", ",".join(values),
                    "--cluster", "slurm", "--run", study, "--data", data, *settings(*TINY),
                ],
                cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )
            for values in pair
        ]  # fmt: skip
        for launch in launches:
            text = launch.communicate(timeout=600)[0]
            assert launch.returncode == 0, text
    trials = json.loads((study / "study.json").read_text())["trials"]
    assert sorted(trial["lr"] for trial in trials) == [0.001, 0.003, 0.01, 0.03, 0.1]
    arrays = json.loads((study / "jobs" / "arrays.json").read_text())
    assert len(set(arrays)) == len(rates)
    trained = set()
    for number in arrays:
        (tasks,) = re.findall("^#SBATCH --array=(.*)$", (tmp_path / f"job-{number}" / "script").read_text(), re.M)
        trained |= {trials[int(task)]["lr"] for task in tasks.split(",")}
    assert trained == {0.001, 0.003, 0.01, 0.03, 0.1}
