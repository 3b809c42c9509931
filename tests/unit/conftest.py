from __future__ import annotations

import os

import pytest


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Commands of Slurm that note how they are called; `squeue` says what is in the file `queue`, of which a line may
    end after job and state. `sbatch --test-only` refuses partitions in lines "PARTITION MESSAGE" of the file `refused`,
    and notes its scripts in `asked`; `config`, `associations` and `qos` are what scontrol and
    sacctmgr say, `nodes` what sinfo says."""
    folder = tmp_path / "bin"
    folder.mkdir()
    commands = {
        "sbatch": """
if [ "$*" = --test-only ]; then
  tee -a asked >script
  partition=$(sed -n 's/^#SBATCH --partition=//p' script)
  said=$(sed -n "s/^$partition //p" refused)
  [ -z "$said" ] || { echo "allocation failure: $said" >&2; exit 1; }
  echo "sbatch: Job 7 to start at 2026-11-28T10:00:00 using 8 processors on nodes n1 in partition $partition" >&2
else
  echo $(($(wc -l <calls) + 41)); echo "$*" >>calls
fi
""",
        "scontrol": '[ "$2" = config ] && cat config\n',
        "sinfo": "cat nodes\n",
        "sacctmgr": 'case $4 in associations | qos) cat "$4" ;; esac\n',
        "squeue": "awk -F'|' -v OFS='|' '{ $7 = $7; print }' queue\n",
        "scancel": 'echo "scancel $*" >>calls\n',
    }
    for name, text in commands.items():
        (folder / name).write_text(f"#!/bin/sh\ncd {tmp_path}\n{text}")
        (folder / name).chmod(0o755)
    for name in ("calls", "queue", "refused", "asked", "config", "associations", "qos", "nodes"):
        (tmp_path / name).touch()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return tmp_path
