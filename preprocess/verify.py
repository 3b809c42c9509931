"""Verifies the digests of a data set: `python -m preprocess --verify DATA`."""

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
    """Check the SHA-256 of every shard, and the checksums of all samples of a damaged shard; returns a summary line.

    Raises DataError that names each damaged shard and sample, UsageError if there is no manifest.
    """
    manifest = Manifest.load(folder)
    shards = Shards(manifest)
    problems: list[str] = []
    # Threads suffice, as digests are computed without the interpreter lock.
    with Progress(len(manifest.samples)) as progress, ThreadPoolExecutor(workers) as pool:
        for i, found in enumerate(pool.map(partial(_problems, shards), range(len(manifest.shards)))):
            problems += found
            progress.advance(manifest.shards[i].count)
    if problems:
        again = f"delete each damaged file and the .json beside it, then make it again: {remake(folder)}"
        raise DataError("\n".join([*problems, again]))
    size = sum(shard.bytes for shard in manifest.shards) / 1e6
    return f"{len(manifest.samples)} samples in {len(manifest.shards)} shards, {size:.0f} MB: every digest is right"


def _problems(shards: Shards, index: int) -> list[str]:
    """Problems of one shard: first that of the shard, then those of its damaged samples; empty for an intact shard."""
    manifest = shards.manifest
    entry = manifest.shards[index]
    path = manifest.folder / entry.file
    try:
        with path.open("rb") as handle:
            if hashlib.file_digest(handle, "sha256").hexdigest() == entry.sha256:
                return _disagreement(manifest, index)
    except OSError as error:
        return [f"{path} cannot be read: {error.strerror}"]
    problems = [f"{path} is damaged: its SHA-256 is not the one that was written"]
    for number, sample in enumerate(manifest.samples):
        if sample.shard == index:
            try:
                shards.verify(number)
            except CloudsegError as error:
                problems.append(f"  {str(error).partition(';')[0]}")
    return problems


def _disagreement(manifest: Manifest, index: int) -> list[str]:
    """The problem that the manifest and the shard's record differ; empty if they agree or there is no record."""
    record = read_record(manifest.folder, index, manifest.fingerprint)
    if record is None:
        return []
    samples = [sample.entry() for sample in manifest.samples if sample.shard == index]
    expected = {"file": asdict(manifest.shards[index]), "samples": samples}
    if json.loads(json.dumps(expected)) == {key: record[key] for key in expected}:
        return []
    name = manifest.folder / Path(manifest.shards[index].file).with_suffix(".json")
    return [f"{manifest.folder / MANIFEST} and {name} do not agree"]
