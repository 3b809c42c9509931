"""The benchmark `scaling`."""

from __future__ import annotations

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
BASELINES = ("independent", "mwms", "ddp")


def run(rounds: int, size: str, ranks: int, network: str, batch: int, steps: int, only: str) -> Report:
    names.parse(network)
    height, width = map(int, size.split("x"))
    report = Report()
    for suffix, encoder in STAGES.items():
        with tempfile.TemporaryDirectory(prefix="cloudseg-bench-") as folder, ExitStack() as stack:
            job = Job(Path(folder), 0, ranks, (), network, (height, width), batch, encoder, steps)
            groups = {}
            for name in ("ours", *(name for name in BASELINES if not only or name == only)):
                say(f"{name}{suffix}: {ranks} processes start")
                group = Group(f"bench.scaling.{name}", job)
                stack.callback(group.close)
                if group.missing:
                    report.notes.append(f"{name}{suffix} is left out: {group.missing} is not installed")
                else:
                    groups[name] = group
            ours = groups.pop("ours")
            pairs = alternate(ours, groups, rounds)
            for name, group in {"ours": ours, **groups}.items():
                report.figures[f"{name}{suffix}"] = figure(group.values, "images/s", group.peak_mib)
            report.ratios |= {f"over_{name}{suffix}": ratio(found) for name, found in pairs.items()}
    report.notes += [
        f"{ranks} processes, each bound to its share of the CPUs, {batch} images a step and process, {steps} steps a "
        "measurement; one constant batch; nothing else runs meanwhile (what idles is stopped)",
        "independent: the same processes without communication; what over_independent is below 1 goes to talking",
        "_frozen: the encoder does not train",
    ]
    return report
