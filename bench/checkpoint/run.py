"""The benchmark `checkpoint`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench import source
from bench.checkpoint.job import Blocks, Saved, Saving, Trained
from bench.contender import say
from bench.machine import file_system
from bench.ranks import run_ranks
from bench.report import Report, figure, ratio
from cloudseg.data.shards import Manifest
from cloudseg.nets import names


def run(data: Path | None, rounds: int, size: str, ranks: int, network: str, batch: int, seconds: float) -> Report:
    names.parse(network)
    report = Report()
    with tempfile.TemporaryDirectory(prefix="cloudseg-bench-") as folder:
        temporary = Path(folder)
        shards = source.shards_to_train_with(data, size, ranks, batch, temporary, report.notes)
        say(f"saving and restoring {network}")
        saving = Saving(network, list(Manifest.load(shards).size), rounds)
        add_saving(report, run_ranks("bench.checkpoint.saving", saving, Saved, 1, temporary / "saving"))
        say(f"{ranks} ranks train {network}, {rounds} times {seconds:g} s each without a checkpoint and with one")
        blocks = Blocks(str(shards), network, batch, seconds, rounds)
        add_training(report, run_ranks("bench.checkpoint.blocks", blocks, Trained, ranks, temporary / "training"))
        report.notes.append(f"checkpoints and raw writes include fsync; file system: {file_system(temporary)}")
    return report


def add_saving(report: Report, found: Saved) -> None:
    """Add the results of saving and restoring in one process."""
    megabytes = found.megabytes
    report.figures |= {
        "size": figure([megabytes], "MB"),
        "snapshot": figure(found.snapshot, "s"),
        "save": figure(found.save, "s"),
        "save_cpu": figure(found.cpu, "s of CPU"),
        "raw_write": figure(found.raw, "s"),
        "restore": figure(found.restore, "s"),
        "save_speed": figure([megabytes / seconds for seconds in found.save], "MB/s"),
        "raw_write_speed": figure([megabytes / seconds for seconds in found.raw], "MB/s"),
        "restore_speed": figure([megabytes / seconds for seconds in found.restore], "MB/s"),
    }
    report.ratios["save_over_raw_write"] = ratio(list(zip(found.save, found.raw, strict=True)))
    report.notes += [
        f"save: weights and Adam's state, with snapshot and sha256, by one process on {found.device}; training waits "
        "for the snapshot only",
        "raw_write: the same number of bytes from memory; the disk is idle before it and before save",
        "save_over_raw_write: ratio of seconds, 1 is as fast as the disk",
        "restore: sha256 and loading, from the disk",
    ]


def add_training(report: Report, found: Trained) -> None:
    """Add the results of training with and without checkpoints."""
    pairs = list(zip(found.having, found.without, strict=True))
    peak = sum(found.peak_mib)
    report.figures |= {
        "training_without": figure([seconds / found.steps for seconds in found.without], "s per step", peak),
        "training_with": figure([seconds / found.steps for seconds in found.having], "s per step", peak),
        "block_without": figure(found.without, "s"),
        "checkpoint_delays": figure([having - without for having, without in pairs], "s"),
        "checkpoint_written": figure(found.writing, "s, in the background"),
    }
    report.ratios["training_with_over_without"] = ratio(pairs)
    report.notes += [
        f"{len(found.peak_mib)} ranks, each on {found.device}, real feed, random weights, all layers train; blocks of "
        f"{found.steps} steps",
        "training_with: one checkpoint per block, on rank 0; training_with_over_without: 1 is no cost",
        "peak: all ranks with their feeds",
    ]
