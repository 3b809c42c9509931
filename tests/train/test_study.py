"""A learning-rate study on this machine: the rates train one after the other, one of them diverges."""

from __future__ import annotations

import subprocess
import sys

from tests import processes
from tests.train.conftest import ROOT, SMALL, done, environment, losses


def test_rates_are_trained_and_compared_and_one_that_diverges_is_named(data, tmp_path):
    study = tmp_path / "study"
    settings = [option for setting in SMALL for option in ("--set", setting)]
    process = processes.run(
        [sys.executable, "-m", "cloudseg.launch", "--study", "lr", "--values", "1e-3,3e38", "--epochs", "1",
         "--cluster", "local", "--run", str(study), "--data", str(data), *settings],
        cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stdout
    trained, diverged = (line.split() for line in process.stdout.splitlines() if line.startswith("  "))
    (loss,) = losses(study / "lr-0.001", "frozen", "val_loss")
    assert trained == ["0.001", f"{done(study / 'lr-0.001', 'frozen')['dice']:.4f}", "1", f"{loss:.4f}"]
    log = study / "jobs" / "trial-1.log"
    assert (diverged[0], diverged[4], diverged[-1]) == ("3e+38", "failed,", str(log))
    assert "the loss is nan" in log.read_text()
    assert (study / "study.png").read_bytes().startswith(b"\x89PNG")
