"""The benchmark `predict`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench import options, source
from bench.contender import alternate, contenders
from bench.predict.job import Job
from bench.report import Report, figure, ratio
from cloudseg.data import image_size
from cloudseg.nets import names

UNIT = "pictures/s"


def run(data: Path | None, rounds: int, size: str, network: str, batch: int, images: int) -> Report:
    names.parse(network)
    report = Report()
    with tempfile.TemporaryDirectory(prefix="cloudseg-bench-") as folder:
        temporary = Path(folder)
        pictures = source.take(data, images, temporary, report.notes).images
        job = Job(pictures, temporary, image_size.parse(size), network, batch)

        def module(name: str) -> tuple[str, Job]:
            return f"bench.predict.{name}", job

        for ours, baselines in (("ours", ("bare_network", "usual_loop")), ("free_network", ("bare_decode",))):
            with contenders({name: module(name) for name in (ours, *baselines)}, report.notes) as running:
                pairs = alternate(running[ours], {name: running[name] for name in baselines}, rounds)
                for name, each in running.items():
                    report.figures[name] = figure(each.values, UNIT, each.peak.total_mib)
            times = 1 if ours == "ours" else options.CORES
            report.ratios |= {f"{ours}_over_{name}": ratio(found, times) for name, found in pairs.items()}
        with contenders({"seam": module("seam")}, report.notes) as running:
            report.figures["seam"] = figure([running["seam"].measure()], "levels of 255")
    report.notes += [
        f"free_network_over_bare_decode: no cost of the network, over decoding in one thread x {options.CORES} cores",
        "seam: largest difference of probability between two ways of cutting the same raster; random weights",
    ]
    return report
