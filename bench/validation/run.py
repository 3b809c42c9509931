"""The benchmark `validation`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench import source
from bench.contender import say
from bench.ranks import run_ranks
from bench.report import Report, figure, ratio
from bench.validation.job import Answer, Job
from cloudseg.nets import names


def run(
    data: Path | None, shards: Path | None, rounds: int, size: str, ranks: int, network: str, batch: int, images: int
) -> Report:
    names.parse(network)
    report = Report()
    with tempfile.TemporaryDirectory(prefix="cloudseg-bench-") as folder:
        temporary = Path(folder)
        used = shards or source.shards_to_train_with(data, size, ranks, batch, temporary, report.notes)
        job = Job(str(used), network, batch, images, rounds)
        say(f"{ranks} ranks, {rounds} times {images} images through {network}")
        answer = run_ranks("bench.validation.blocks", job, Answer, ranks, temporary)
    report.figures = {
        "validation": figure(answer.validation, "images/s, all ranks"),
        "forward": figure(answer.forward, "images/s, all ranks"),
    }
    report.ratios["speed_over_forward"] = ratio(list(zip(answer.validation, answer.forward, strict=True)))
    report.notes.append(f"{ranks} ranks, each on {answer.device}; random weights")
    report.notes.append("speed_over_forward: 1 is a validation that costs no more than the forward pass")
    return report
