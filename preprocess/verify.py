"""Is every byte of a data set what was written? `python -m preprocess --verify DATA`."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path

from cloudseg.core.errors import CloudsegError, DataError
from cloudseg.data.shards import MANIFEST, Manifest, Shards, remake
from preprocess.progress import Progress
from preprocess.write import read_record


def verify(folder: Path, workers: int) -> str:
    """Check the SHA-256 of every shard, and of a damaged one the checksum of every sample; say in a line that all
    is well.

    Raises DataError that names each damaged shard and sample, UsageError if there is no manifest.
    """
    manifest = Manifest.load(folder)
    shards = Shards(manifest)
    faults: list[str] = []
    # Threads will do: digests are computed outside Python's lock.
    with Progress(len(manifest.samples)) as progress, ThreadPoolExecutor(workers) as pool:
        for i, found in enumerate(pool.map(partial(_faults, shards), range(len(manifest.shards)))):
            faults += found
            progress.advance(manifest.shards[i].count)
    if faults:
        again = f"delete each damaged file and the .json beside it, then make it again: {remake(folder)}"
        raise DataError("\n".join([*faults, again]))
    size = sum(shard.bytes for shard in manifest.shards) / 1e6
    return f"{len(manifest.samples)} samples in {len(manifest.shards)} shards, {size:.0f} MB: every digest is right"


def _faults(shards: Shards, index: int) -> list[str]:
    """What is wrong with one shard: nothing, or the shard first and then each damaged sample that can be told."""
    manifest = shards.manifest
    entry = manifest.shards[index]
    path = manifest.folder / entry.file
    try:
        with path.open("rb") as handle:
            if hashlib.file_digest(handle, "sha256").hexdigest() == entry.sha256:
                return _disagreement(manifest, index)
    except OSError as error:
        return [f"{path} cannot be read: {error.strerror}"]
    faults = [f"{path} is damaged: its SHA-256 is not the one that was written"]
    for number, sample in enumerate(manifest.samples):
        if sample.shard == index:
            try:
                shards.verify(number)
            except CloudsegError as error:
                faults.append(f"  {str(error).partition(';')[0]}")
    return faults


def _disagreement(manifest: Manifest, index: int) -> list[str]:
    """Whether the manifest says the same of a shard as the record beside it, where there is one."""
    record = read_record(manifest.folder, index, manifest.fingerprint)
    if record is None:
        return []
    samples = [asdict(sample) for sample in manifest.samples if sample.shard == index]
    there = {"file": asdict(manifest.shards[index]), "samples": samples}
    if json.loads(json.dumps(there)) == {key: record[key] for key in there}:
        return []
    name = manifest.folder / Path(manifest.shards[index].file).with_suffix(".json")
    return [f"{manifest.folder / MANIFEST} and {name} do not agree"]
