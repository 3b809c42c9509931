"""The benchmark `storage`."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import source
from bench.contender import alternate, contenders
from bench.report import Report, figure, ratio
from bench.storage.codecs import CODECS, Job
from cloudseg.data.shards import Manifest

OPENS = "import h5py, sys; f = h5py.File(sys.argv[1]); f['image'][0], f['mask'][0]"


def run(data: Path | None, rounds: int, size: str, samples: int, seconds: float) -> Report:
    report = Report()
    with tempfile.TemporaryDirectory(prefix="cloudseg-bench-") as folder:
        temporary = Path(folder)
        images = source.take(data, samples, temporary, report.notes)
        shards = source.make_shards(images, size, 2, temporary / "shards")
        count = len(Manifest.load(shards).samples)
        jobs = {codec: Job(shards, count, codec, temporary / f"{codec}.h5", seconds) for codec in CODECS}
        height, width = Manifest.load(shards).size
        _measure(jobs, count * height * width * 4, rounds, report)
    return report


def _measure(jobs: dict[str, Job], pixels: int, rounds: int, report: Report) -> None:
    with contenders({codec: ("bench.storage.write", job) for codec, job in jobs.items()}, report.notes) as writers:
        for _ in range(rounds):
            for writer in writers.values():
                writer.measure()
        for codec, writer in writers.items():
            report.figures[f"{codec}_write"] = figure(writer.values, "MB/s", writer.peak.total_mib)
    written = {codec: job for codec, job in jobs.items() if codec in writers}
    for codec, job in written.items():
        report.figures[f"{codec}_size"] = figure([job.file.stat().st_size / pixels], "of the pixels' bytes")
    modules = {f"{codec}_h5py": ("bench.storage.read", job) for codec, job in written.items()}
    mapped = dataclasses.replace(jobs["contiguous"], mapped=True)
    with contenders({"contiguous_memmap": ("bench.storage.read", mapped), **modules}, report.notes) as readers:
        ours = readers.pop("contiguous_memmap")
        pairs = alternate(ours, readers, rounds)
        for name, reader in {"contiguous_memmap": ours, **readers}.items():
            report.figures[f"{name}_read"] = figure(reader.values, "samples/s", reader.peak.total_mib)
    report.ratios |= {f"memmap_over_{name}": ratio(found) for name, found in pairs.items()}
    opens = {codec: opens_with_plain_h5py(job.file) for codec, job in written.items()}
    for answer in (True, False):
        named = ", ".join(codec for codec, opened in opens.items() if opened == answer) or "none"
        report.notes.append(f"plain h5py {'opens' if answer else 'does not open'}: {named}")
    report.notes.append("writes go to the page cache; reads are from it, in random order, in one thread")


def opens_with_plain_h5py(file: Path) -> bool:
    """Whether a process that does not import hdf5plugin can read the file."""
    return subprocess.run([sys.executable, "-c", OPENS, str(file)], capture_output=True, check=False).returncode == 0
