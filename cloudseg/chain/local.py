"""Runs stages on this machine, without Slurm."""

from __future__ import annotations

import time

from cloudseg.core.run import Run
from cloudseg.job import batch


def run_stages(prepared: Run, stages: list[str], ranks: int) -> None:
    """Run `stages` on this machine, one after the other, with `ranks` processes each."""
    for stage in stages:
        began = time.monotonic()
        batch.run_stage(prepared.path, stage, ranks)
        print(f"{stage} done in {time.monotonic() - began:.0f} s", flush=True)
