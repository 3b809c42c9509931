"""The benchmark `feed`."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

from bench import source
from bench.contender import alternate, contenders
from bench.feed.job import Job
from bench.report import Pair, Report, figure, ratio
from cloudseg.data.shards import Manifest

BASELINES = ("tfrecord", "memcpy", "h5py_generator", "webdataset", "keras_sequence")
UNIT = "samples/s"


def run(
    data: Path | None,
    shards: Path | None,
    rounds: int,
    size: str,
    samples: int,
    batch: int,
    workers: int,
    seconds: float,
) -> Report:
    report = Report()
    with tempfile.TemporaryDirectory(prefix="cloudseg-bench-") as folder:
        temporary = Path(folder)
        # Only the baseline that decodes JPEGs needs the images.
        images = source.take(data, samples, temporary, report.notes) if data or not shards else None
        made = shards or source.make_shards(images, size, workers, temporary / "shards")  # type: ignore[arg-type]
        held = min(samples, len(Manifest.load(made).samples))
        job = Job(made, images, temporary, held, batch, workers, seconds)
        _measure(job, rounds, report)
    return report


def _measure(job: Job, rounds: int, report: Report) -> None:
    # Without augmentation, worker processes have nothing to do.
    jobs = {"ours": dataclasses.replace(job, workers=0), **dict.fromkeys(BASELINES, job)}
    if job.images is None:
        del jobs["keras_sequence"]
        report.notes.append("keras_sequence is left out: it needs the images, give them with --data")
    modules = {name: (f"bench.feed.{name}", given) for name, given in jobs.items()}
    pairs = _measure_pairs("ours", modules, rounds, report)
    report.ratios |= {f"over_{name}": ratio(found) for name, found in pairs.items()}

    bare, at_once = "bare_augmentation", f"bare_augmentation_{job.workers}_processes"
    modules = {
        "augmented": ("bench.feed.ours", dataclasses.replace(job, augment=True)),
        bare: ("bench.feed.bare_augmentation", dataclasses.replace(job, workers=1)),
        at_once: ("bench.feed.bare_augmentation", job),
    }
    pairs = _measure_pairs("augmented", modules, rounds, report)
    report.ratios["augmented_over_bare"] = ratio(pairs[bare], times=job.workers)
    report.ratios["augmented_over_bare_at_once"] = ratio(pairs[at_once])
    report.notes += [
        "memcpy: one thread, one batch in memory, no TensorFlow, no checksums",
        f"augmented_over_bare: augmented over bare_augmentation (one process) x {job.workers}",
        "peak: all processes of a contender; shared pages (mapped shards, batches) count in each of them",
    ]


def _measure_pairs(
    first: str, modules: dict[str, tuple[str, Job]], rounds: int, report: Report
) -> dict[str, list[Pair]]:
    """Measure `first` in alternating pairs with each of the others, and add their figures to the report."""
    with contenders(modules, report.notes) as running:
        pairs = alternate(running[first], {k: v for k, v in running.items() if k != first}, rounds)
        for name, contender in running.items():
            report.figures[name] = figure(contender.values, UNIT, contender.peak.total_mib)
    return pairs
