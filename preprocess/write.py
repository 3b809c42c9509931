"""Samples -> one shard, and the record beside it, which is written last and says that the shard is whole."""

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
from preprocess.samples import MadeSample, Outcome, look_at

Map = Callable[[Callable[[PlannedImage], Outcome], tuple[PlannedImage, ...]], Iterable[Outcome]]


@dataclass(frozen=True)
class ShardJob:
    """Shard `index` of `count`, to be made of `images` at `size` (height, width) into the folder `out`."""

    out: Path
    index: int
    count: int
    size: tuple[int, int]
    fingerprint: dict[str, Any]
    table: LabelTable
    any_size: bool
    strict: bool
    images: tuple[PlannedImage, ...]

    @property
    def path(self) -> Path:
        """Where the shard goes."""
        return self.out / shard_file(self.index, self.count)


def build_shard(job: ShardJob, over: Map = map) -> int:
    """Make one shard and its record, and give back the number of images looked at. `over` says how to map
    over them.

    The bytes depend on the job alone. Raises UsageError at the first rejected image of a strict job,
    CloudsegError if the disk is full.
    """
    samples: list[MadeSample] = []
    rejected: list[Rejection] = []
    digests: dict[str, str | None] = {}
    look = partial(look_at, table=job.table, size=job.size, any_size=job.any_size)
    for planned, outcome in zip(job.images, over(look, job.images), strict=True):
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
    """The record of a shard of this fingerprint that is there as a whole (its size is what was written), or
    None."""
    path = out / shard_file(index, fingerprint["shards"])
    try:
        record: dict[str, Any] = json.loads(path.with_suffix(".json").read_bytes())
        whole = record["fingerprint"] == fingerprint and path.stat().st_size == record["file"]["bytes"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record if whole else None


def write_shard(job: ShardJob, samples: list[MadeSample]) -> tuple[ShardFile, list[Sample]]:
    """Write the HDF5 file that `cloudseg.data.shards` describes; gives what the manifest says of it.

    The same samples give the same bytes.
    """
    # In memory first: HDF5 crashes the process when it meets a full disk; a file of Python raises an error.
    with replacing(job.path) as temporary, os.fdopen(os.memfd_create("shard"), "w+b") as content:
        with h5py.File(content, "w") as file:
            _fill(file, job, samples)
            file.flush()
            # HDF5 leaves room for the pixels, holes in this file; they are written to the real one without a copy.
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
        Sample(s.name, job.index, i, s.fold, s.areas, s.no_data, s.crc32, (truth.byte_offset, truth.size))
        for i, (s, truth) in enumerate(zip(samples, truths, strict=True))
    ]
    return ShardFile(job.path.name, size, digest.hexdigest(), len(samples), image, mask), entries


def _parts(written: mmap.mmap, samples: list[MadeSample], images: int, masks: int) -> list[memoryview]:
    """The bytes of a shard in order: what HDF5 wrote, with the samples' images and masks at their offsets."""
    content = memoryview(written)
    if not samples:
        return [content]
    arrays = {images: [sample.image for sample in samples], masks: [sample.mask for sample in samples]}
    parts, place = [], 0
    for offset in sorted(arrays):
        parts += [content[place:offset], *(array.reshape(-1).data for array in arrays[offset])]
        place = offset + sum(array.nbytes for array in arrays[offset])
    return [*parts, content[place:]]


def _fill(file: h5py.File, job: ShardJob, samples: list[MadeSample]) -> None:
    count, (height, width) = len(samples), job.size
    file.attrs["format"] = FORMAT
    file.attrs["shard"] = job.index
    file.attrs["count"] = count
    file.attrs["fingerprint"] = fingerprint_digest(job.fingerprint)
    file["crc32"] = np.array([sample.crc32 for sample in samples], np.uint32)
    file.create_dataset("name", (count,), h5py.string_dtype(), data=[sample.name for sample in samples])
    # Extensible, because HDF5 takes no chunk larger than the dataset, and every image may be rejected.
    most, chunk = (None, *TRUTH_SIZE), (1, *TRUTH_SIZE)
    truth = file.create_dataset(
        "truth", (count, *TRUTH_SIZE), np.uint8, maxshape=most, chunks=chunk, compression="gzip"
    )
    for i, sample in enumerate(samples):
        truth.id.write_direct_chunk((i, 0, 0), isal_zlib.compress(sample.truth, 1))
    # At once, so that their places are known, and unwritten.
    room = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    room.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    room.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    file.create_dataset("image", (count, height, width, 3), np.uint8, dcpl=room)
    file.create_dataset("mask", (count, height, width), np.uint8, dcpl=room)


def write_record(
    job: ShardJob,
    file: ShardFile,
    samples: list[Sample],
    rejected: list[Rejection],
    digests: dict[str, str | None],
) -> None:
    """Write the record of a shard that is in place: what it belongs to, what the manifest says of it, what was left
    out, and the SHA-256 of each image that was looked at."""
    record = {
        "fingerprint": job.fingerprint,
        "file": asdict(file),
        "samples": [asdict(sample) for sample in samples],
        "rejected": [asdict(rejection) for rejection in rejected],
        "image_digests": digests,
    }
    with replacing(job.path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def strict_text(rejection: Rejection) -> str:
    """What a strict run says when it stops."""
    return f"{rejection}. Mend it, or leave out --strict to go on without this image"
