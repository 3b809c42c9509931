"""Small data sets of random pixels, written by the product itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cloudseg.data.shards import TRUTH_SIZE, Manifest, Shards
from preprocess.assemble import assemble
from preprocess.samples import MadeSample
from preprocess.write import Target, write_record, write_shard


def random_shards(folder: Path, counts: tuple[int, ...], size: tuple[int, int] = (64, 96)) -> Shards:
    """So many samples a shard."""
    fingerprint = {"shards": len(counts), "folds": 2, "seed": 0}
    for index, count in enumerate(counts):
        target = Target(folder, index, len(counts), size, fingerprint)
        first = sum(counts[:index])
        samples = [random_sample(number, size) for number in range(first, first + count)]
        write_record(target, *write_shard(target, samples), [], {})
    assert assemble(folder, fingerprint, size)
    return Shards(Manifest.load(folder))


def random_sample(number: int, size: tuple[int, int]) -> MadeSample:
    random = np.random.default_rng(number)
    image = random.integers(0, 256, (*size, 3), np.uint8)
    mask = random.integers(0, 16, size, np.uint8)
    return MadeSample(f"{number:03}.jpg", number % 2, image, mask, random.integers(0, 16, TRUTH_SIZE, np.uint8))


def flip(path: Path, place: int, bits: int = 0xFF) -> None:
    """Change some bits of one byte of a file."""
    with path.open("r+b") as handle:
        handle.seek(place)
        (byte,) = handle.read(1)
        handle.seek(place)
        handle.write(bytes([byte ^ bits]))


def spoil(shards: Shards, number: int) -> None:
    """Flip one bit of a sample's image on disk."""
    path = shards.manifest.folder / shards.manifest.shards[0].file
    flip(path, path.read_bytes().index(shards.image(number).tobytes()) + 100, bits=1)
