"""The benchmark `search`."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from pathlib import Path

from bench.contender import alternate, contenders, say
from bench.report import Report, figure, ratio
from bench.search import job as jobs
from bench.search import ours

BRUTE_FORCE_IMAGES = 2
"""The usual loop takes seconds per image, and its speed does not depend on the number of images."""


def run(rounds: int, images: int, threads: int) -> Report:
    report = Report()
    with tempfile.TemporaryDirectory(prefix="cloudseg-bench-") as folder:
        say(f"generating {images} images")
        jobs.make(Path(folder), images)
        job = jobs.Job(Path(folder), images, threads)
        began = time.monotonic()
        ours.contender(job)()
        report.figures["all_images"] = figure([time.monotonic() - began], "s")
        few = dataclasses.replace(job, images=min(images, BRUTE_FORCE_IMAGES))
        modules = {"ours": ("bench.search.ours", few), "brute_force": ("bench.search.brute_force", few)}
        with contenders(modules, report.notes) as running:
            contender = running.pop("ours")
            pairs = alternate(contender, running, rounds)
            for name, each in {"ours": contender, **running}.items():
                report.figures[name] = figure(each.values, "images/s", each.peak.total_mib)
            report.ratios |= {f"over_{name}": ratio(found) for name, found in pairs.items()}
    report.notes.append(
        f"{len(jobs.THRESHOLDS)} thresholds, four classes, {threads} threads each; ours: all areas, brute_force: "
        f"{len(jobs.AREAS)}; all_images: {images} images, by ours; pairs: {few.images} images"
    )
    return report
