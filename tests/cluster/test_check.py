"""`launch --check`: what a real Slurm says of jobs, before any is written or queued."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.cluster.lab import ROOT

CHAIN = "--stages preprocess,all --csv train.csv --images DIR --data shards --run runs/checked --set weights=none"


def site(project: Path, **of_kinds: str) -> Path:
    """Ruche's file with further lines in tables of kinds of jobs."""
    text = (ROOT / "env" / "sites" / "ruche.toml").read_text()
    for kind, line in of_kinds.items():
        text = text.replace(f"[{kind}]\n", f"[{kind}]\n{line}\n")
    file = project / "checked.toml"
    file.write_text(text)
    return file


def test_slurm_accepts_the_jobs_of_a_chain_and_none_is_written_or_queued(shell, project):
    said = shell(f"python -m cloudseg.launch {CHAIN} --throttle 8 --begin now+1hour --check").stdout
    _, *lines = said.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["preprocess", "frozen, partial, full", "evaluate"], said
    assert all("accepted; could start at 20" in line for line in lines), said
    assert not (project / "runs" / "checked").exists()
    queue = subprocess.run(["squeue", "--noheader", "--format=%j"], capture_output=True, text=True, check=True).stdout
    assert "preprocess" not in queue


def test_a_kind_of_job_that_slurm_refuses_is_named_with_what_to_change(shell, project):
    file = site(project, preprocess='sbatch = ["--constraint=v100-32g"]', evaluate='gpu_type = "a100"')
    process = shell(f"python -m cloudseg.launch {CHAIN} --site {file} --check", expect=2)
    assert "refused: Invalid feature specification" in process.stdout
    assert f"preprocess: change --constraint in sbatch under [preprocess] in {file}" in process.stderr
    assert "evaluate: change nodes, the CPUs, GPUs and mem of a node" in process.stderr
    assert process.stderr.startswith("error: Slurm refuses 2 of 3 kinds of jobs; ")


def test_an_array_beyond_the_largest_of_the_cluster_is_refused_with_the_largest(shell):
    process = shell(f"python -m cloudseg.launch {CHAIN} --shards 2000 --check", expect=2)
    assert "MaxArraySize=1001; type: --shards 1001" in process.stderr
    shell(f"python -m cloudseg.launch {CHAIN} --shards 1001 --check")
