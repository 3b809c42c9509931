"""The benchmark `preprocess`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench import source
from bench.contender import between, contenders, say
from bench.preprocess.job import Job
from bench.preprocess.ours import Command
from bench.report import Report, figure, ratio
from cloudseg.data import image_size

KERNEL_WAY_PART = 8
"""The kernel's baseline gets every 8th image: it is slow, and its speed does not depend on their number."""
UNIT = "images/s per process"
GENERATED = 2000
"""Number of images without --data: start-up time hardly matters, as with a full data set."""


def run(data: Path | None, rounds: int, size: str, images: int | None, workers: int) -> Report:
    report = Report()
    images = images if images is not None else 0 if data else GENERATED
    with tempfile.TemporaryDirectory(prefix="cloudseg-bench-") as folder:
        temporary = Path(folder)
        taken = source.take(data, images, temporary, report.notes)
        rows, paths = taken.rows(), taken.paths()
        pairs = tuple((path, tuple(rows[path.name])) for path in paths)
        modules = {
            "decode": ("bench.preprocess.decode", Job(pairs, workers, image_size.parse(size), temporary)),
            "kernel_way": (
                "bench.preprocess.kernel_way",
                Job(pairs[::KERNEL_WAY_PART], workers, image_size.parse(size), temporary / "kernel_way"),
            ),
        }
        ours = Command(taken, len(paths), size, workers, temporary)
        with contenders(modules, report.notes) as baselines:
            measured = between(baselines["decode"], ours, baselines["kernel_way"], rounds)
            report.figures["ours"] = figure(ours.values, UNIT, ours.total_mib)
            for (name, baseline), pairs_with_ours in zip(baselines.items(), measured, strict=True):
                report.figures[name] = figure(baseline.values, UNIT, baseline.peak.total_mib)
                report.ratios[f"over_{name}"] = ratio(pairs_with_ours)
        report.notes.append("ours: the command with start-up; decode, kernel_way: processes that are running already")
        report.notes.append(f"ours: parent and largest worker {ours.parent_and_largest_worker_mib:.0f} MiB at most")
        _accuracy(report, taken.images, ours.out)
    return report


def _accuracy(report: Report, images: Path, shards: Path) -> None:
    try:
        from bench.preprocess import accuracy
    except ModuleNotFoundError as error:
        report.notes.append(f"accuracy is left out: {error.name} is not installed (env/setup.sh brings it)")
        return
    say("accuracy of the pixels")
    for name, errors in accuracy.compare(images, shards).items():
        report.figures[f"{name}_psnr"] = figure([psnr for psnr, _ in errors], "dB")
        report.figures[f"{name}_mean_error"] = figure([mean for _, mean in errors], "levels of 255")
    report.notes.append(f"psnr, mean_error: against full decoding and float area average, {len(errors)} images")
