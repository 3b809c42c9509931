"""Writes a shard from samples, and then its record, whose existence shows that the shard is complete."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from isal import isal_zlib

from cloudseg.core.atomic import replacing
from cloudseg.core.errors import UsageError
from cloudseg.data.labels import LabelTable, Rejection
from cloudseg.data.shards import FORMAT, TRUTH_SIZE, Sample, ShardFile, fingerprint_digest, shard_file
from preprocess.plan import PlannedImage
from preprocess.samples import MadeSample, Outcome, make_sample

Map = Callable[[Callable[[PlannedImage], Outcome], tuple[PlannedImage, ...]], Iterable[Outcome]]


@dataclass(frozen=True)
class Target:
    """Shard `index` of `count` with images of `size` (height, width), in folder `out`."""

    out: Path
    index: int
    count: int
    size: tuple[int, int]
    fingerprint: dict[str, Any]

    @property
    def path(self) -> Path:
        """Path of the shard."""
        return self.out / shard_file(self.index, self.count)


@dataclass(frozen=True)
class ShardJob(Target):
    """Arguments of `build_shard`: a shard, and the `images` in it."""

    table: LabelTable
    any_size: bool
    strict: bool
    images: tuple[PlannedImage, ...]


def build_shard(job: ShardJob, over: Map = map) -> int:
    """Make one shard and its record; returns the number of images. `over` is the map function, which may be parallel.

    The bytes depend only on the job. Raises UsageError at the first rejected image of a strict job, CloudsegError if
    the disk is full.
    """
    samples: list[MadeSample] = []
    rejected: list[Rejection] = []
    digests: dict[str, str | None] = {}
    make = partial(make_sample, table=job.table, size=job.size, any_size=job.any_size)
    for planned, outcome in zip(job.images, over(make, job.images), strict=True):
        digests[planned.labels.name] = outcome.sha256
        if isinstance(outcome.made, MadeSample):
            samples.append(outcome.made)
        elif job.strict:
            raise UsageError(strict_text(outcome.made))
        else:
            rejected.append(outcome.made)
    write_record(job, *write_shard(job, samples), rejected, digests)
    return len(job.images)


def read_record(out: Path, index: int, fingerprint: dict[str, Any]) -> dict[str, Any] | None:
    """Read the record of a shard; None unless the shard is complete (has its recorded size) and of this fingerprint."""
    path = out / shard_file(index, fingerprint["shards"])
    try:
        record: dict[str, Any] = json.loads(path.with_suffix(".json").read_bytes())
        whole = record["fingerprint"] == fingerprint and path.stat().st_size == record["file"]["bytes"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record if whole else None


def write_shard(target: Target, samples: list[MadeSample]) -> tuple[ShardFile, list[Sample]]:
    """Write the HDF5 file that `cloudseg.data.shards` describes; returns its entries of the manifest.

    The same samples give the same bytes.
    """
    # Built in memory: HDF5 crashes the process if the disk is full; a Python file raises an error.
    with replacing(target.path) as temporary, os.fdopen(os.memfd_create("shard"), "w+b") as content:
        with h5py.File(content, "w") as file:
            _fill(file, target, samples)
            file.flush()
            # HDF5 leaves the pixels as holes in this file. They are written to the shard without a copy.
            image, mask = (file[name].id.get_offset() or 0 for name in ("image", "mask"))
            truths = [file["truth"].id.get_chunk_info(i) for i in range(len(samples))]
        content.flush()
        digest, size = hashlib.sha256(), 0
        with temporary.open("wb") as handle:
            for part in _parts(mmap.mmap(content.fileno(), 0), samples, image, mask):
                handle.write(part)
                digest.update(part)
                size += part.nbytes
    entries = [
        Sample(
            s.name, target.index, i, s.fold, s.areas, s.no_data, s.crc32, (truth.byte_offset, truth.size),
            s.weight, s.label_source,
        )
        for i, (s, truth) in enumerate(zip(samples, truths, strict=True))
    ]  # fmt: skip
    return ShardFile(target.path.name, size, digest.hexdigest(), len(samples), image, mask), entries


def _parts(written: mmap.mmap, samples: list[MadeSample], images: int, masks: int) -> list[memoryview]:
    """The bytes of a shard in order: HDF5's, with the samples' images and masks at the offsets `images` and `masks`."""
    content = memoryview(written)
    if not samples:
        return [content]
    arrays = {images: [sample.image for sample in samples], masks: [sample.mask for sample in samples]}
    parts, place = [], 0
    for offset in sorted(arrays):
        parts += [content[place:offset], *(array.reshape(-1).data for array in arrays[offset])]
        place = offset + sum(array.nbytes for array in arrays[offset])
    return [*parts, content[place:]]


def _fill(file: h5py.File, target: Target, samples: list[MadeSample]) -> None:
    count, (height, width) = len(samples), target.size
    file.attrs["format"] = FORMAT
    file.attrs["shard"] = target.index
    file.attrs["count"] = count
    file.attrs["fingerprint"] = fingerprint_digest(target.fingerprint)
    file["crc32"] = np.array([sample.crc32 for sample in samples], np.uint32)
    file.create_dataset("name", (count,), h5py.string_dtype(), data=[sample.name for sample in samples])
    # Extensible, as HDF5 does not accept a chunk larger than the dataset, which is empty if all images are rejected.
    limit, chunk = (None, *TRUTH_SIZE), (1, *TRUTH_SIZE)
    truth = file.create_dataset(
        "truth", (count, *TRUTH_SIZE), np.uint8, maxshape=limit, chunks=chunk, compression="gzip"
    )
    for i, sample in enumerate(samples):
        truth.id.write_direct_chunk((i, 0, 0), isal_zlib.compress(sample.truth, 1))
    # Allocated now, so that their offsets are known, and not filled.
    allocated = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    allocated.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    allocated.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    file.create_dataset("image", (count, height, width, 3), np.uint8, dcpl=allocated)
    file.create_dataset("mask", (count, height, width), np.uint8, dcpl=allocated)


def write_record(
    target: Target,
    file: ShardFile,
    samples: list[Sample],
    rejected: list[Rejection],
    digests: dict[str, str | None],
) -> None:
    """Write the record of a finished shard: its fingerprint, its entries of the manifest, the rejected images, and the
    SHA-256 of each image."""
    record = {
        "fingerprint": target.fingerprint,
        "file": asdict(file),
        "samples": [sample.entry() for sample in samples],
        "rejected": [asdict(rejection) for rejection in rejected],
        "image_digests": digests,
    }
    with replacing(target.path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def strict_text(rejection: Rejection) -> str:
    """Error message for the first rejection with --strict."""
    return f"{rejection}. Repair it, or leave out --strict to continue without this image"
