"""The benchmark `step`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench import source
from bench.contender import say
from bench.ranks import run_ranks
from bench.report import Report, figure, ratio
from bench.step.job import Answer, Job
from cloudseg.nets import names


def run(data: Path | None, rounds: int, size: str, ranks: int, network: str, batch: int, steps: int) -> Report:
    names.parse(network)
    report = Report()
    with tempfile.TemporaryDirectory(prefix="cloudseg-bench-") as folder:
        temporary = Path(folder)
        shards = source.shards_to_train_with(data, size, ranks, batch, temporary, report.notes)
        job = Job(str(shards), network, batch, steps, rounds)
        say(f"{ranks} ranks, {2 * rounds * steps} steps of {network}")
        answer = run_ranks("bench.step.blocks", job, Answer, ranks, temporary)
    peak = sum(answer.peak_mib)
    report.figures = {
        "constant_batch": figure(answer.constant, "s per step", peak),
        "with_feed": figure(answer.fed, "s per step", peak),
        "waiting": figure([w / fed for w, fed in zip(answer.waited, answer.fed, strict=True)], "of a step"),
        "images": figure([batch * ranks / seconds for seconds in answer.fed], "images/s, all ranks"),
    }
    report.ratios["over_constant_batch"] = ratio(list(zip(answer.fed, answer.constant, strict=True)))
    report.notes.append(f"{ranks} ranks, each on {answer.device}; random weights, all layers train")
    report.notes.append("over_constant_batch: 1 is a feed without cost; peak: all ranks with their feeds")
    return report
