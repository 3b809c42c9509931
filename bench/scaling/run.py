"""The benchmark `scaling`."""

from __future__ import annotations

import dataclasses
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench.contender import alternate, say
from bench.report import Report, figure, ratio
from bench.scaling.group import Group
from bench.scaling.job import Job
from cloudseg.nets import names

STAGES = {"": 1.0, "_frozen": 0.0}
"""Suffix of a ratio's name -> share of the encoder that trains."""
AWAKE = ("mwms",)
"""Baselines whose processes are not suspended, as they time out after ten seconds; between measurements they idle."""


def run(rounds: int, size: str, ranks: int, network: str, batch: int, steps: int, only: list[str]) -> Report:
    names.parse(network)
    height, width = map(int, size.split("x"))
    report = Report()
    for suffix, encoder in STAGES.items():
        job = Job(Path(), 0, ranks, (), network, (height, width), batch, encoder, steps)
        for baseline in only:
            _compare(report, job, baseline, suffix, rounds)
    report.notes += [
        f"{ranks} processes, each bound to its share of the CPUs, {batch} images per step and process, {steps} steps "
        "per measurement; one constant batch; the processes of other contenders are suspended meanwhile",
        "independent: the same processes without communication; 1 - over_independent is the share of communication",
        "ungrouped: Horovod's fusion depends on timing, and weights differ in their last bits from run to run",
        "_frozen: the encoder does not train",
    ]
    return report


def _compare(report: Report, job: Job, baseline: str, suffix: str, rounds: int) -> None:
    """Compare with one baseline at a time, to limit the memory."""
    with tempfile.TemporaryDirectory(prefix="cloudseg-bench-") as folder, ExitStack() as stack:
        groups = {}
        for name in (baseline, "ours"):
            say(f"{name}{suffix}: {job.ranks} processes start")
            groups[name] = Group(
                f"bench.scaling.{name}", dataclasses.replace(job, folder=Path(folder) / name), name in AWAKE
            )
            stack.callback(groups[name].close)
            if missing := groups[name].missing:
                report.notes.append(f"{name}{suffix} is left out: {missing} is not installed")
                return
        pairs = alternate(groups["ours"], {baseline: groups[baseline]}, rounds)[baseline]
    for name, group in groups.items():
        title = f"{name}{suffix}" if name != "ours" else f"ours{suffix}, beside {baseline}"
        report.figures[title] = figure(group.values, "images/s", group.peak_mib)
    if baseline == "independent":
        shares = [100 * (1 - ours / alone) for ours, alone in pairs]
        report.figures[f"ours{suffix}, communication"] = figure(shares, "% of a step")
    report.ratios[f"over_{baseline}{suffix}"] = ratio(pairs)
