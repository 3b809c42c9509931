from __future__ import annotations

import os

import pytest


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Commands of Slurm that note how they are called; `squeue` says what is in the file `queue`, of which a line may
    end after job and state."""
    folder = tmp_path / "bin"
    folder.mkdir()
    commands = {
        "sbatch": 'echo $(($(wc -l <calls) + 41)); echo "$*" >>calls\n',
        "squeue": "awk -F'|' -v OFS='|' '{ $7 = $7; print }' queue\n",
        "scancel": 'echo "scancel $*" >>calls\n',
    }
    for name, text in commands.items():
        (folder / name).write_text(f"#!/bin/sh\ncd {tmp_path}\n{text}")
        (folder / name).chmod(0o755)
    (tmp_path / "calls").touch()
    (tmp_path / "queue").touch()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return tmp_path
