"""Format and reader of a data set: DATA/manifest.json and shards such as DATA/shard-00007-of-00064.h5.

A shard is an HDF5 file of n samples. `image`, RGB uint8 (n, H, W, 3), and `mask`, uint8 (n, H, W), are contiguous and
uncompressed. `truth`, uint8 (n, 350, 525), is the mask at the size of the competition's scores, one gzip chunk per
sample. `name` (n,) is UTF-8, `crc32`, uint32 (n,), the checksum of the image's and then the mask's bytes. In both masks
bit i is class i of `labels.CLASSES`, and bit 7 (`labels.NO_DATA`) is a no-data pixel, which has no class.

The manifest holds the offsets of all arrays, so samples are read from a memory map without the HDF5 library, which
holds one lock per process, and crashes or hangs on some damaged files. `python -m preprocess` writes the data set.
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
import zlib
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from isal.isal_zlib import crc32

from cloudseg.core.errors import DataError, UsageError, to_type
from cloudseg.core.provenance import MANIFEST
from cloudseg.core.recipes import PSEUDO

FORMAT = 4
"""Version of the format that preprocess writes. Raise it also if the same input would give other pixels."""
READABLE = (3, 4)
"""Formats that can be read. 3 has the layout of 4; its pixels, of another JPEG decoder, differ by at most 2 of 255."""
TRUTH_SIZE = (350, 525)
"""Height and width of the masks that the competition scores."""
NO_FOLD = -1
"""Fold of samples with pseudo-labels, which never validate."""
TABLE = "table"
"""Source of labels that preprocess read from a label table."""
FINGERPRINT = "fingerprint.json"
"""File with the inputs and settings of a folder's shards; preprocess writes it before the first shard."""


def shard_file(index: int, count: int) -> str:
    """File name of shard `index` (from 0) of `count`."""
    return f"shard-{index:05d}-of-{count:05d}.h5"


def fingerprint_digest(fingerprint: dict[str, Any]) -> str:
    """SHA-256, hexadecimal, of the inputs and settings of a data set; each of its shards carries it."""
    return hashlib.sha256(json.dumps(fingerprint, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Sample:
    """One sample: row `index` of shard `shard`.

    `fold` is the fold in which it is a validation image, or NO_FOLD. `areas` (one per class) and `no_data` are numbers
    of pixels of the stored mask, out of H * W. `crc32` is the one of the shard. `truth` is offset and length in bytes
    of the gzip stream of its ground truth in the shard; the stream has its own checksum. `weight` is its weight in the
    loss. `label_source` is TABLE, or `pseudo_labels.source` of the weights that labelled it.
    """

    name: str
    shard: int
    index: int
    fold: int
    areas: tuple[int, ...]
    no_data: int
    crc32: int
    truth: tuple[int, int]
    weight: float = 1.0
    label_source: str = TABLE

    def entry(self) -> dict[str, Any]:
        """Its entry in the manifest, without the fields that have their default: so manifests of labels from a table,
        and their digests, are those of versions without these fields."""
        return {
            field.name: value
            for field, value in zip(fields(self), asdict(self).values(), strict=True)
            if value != field.default
        }


@dataclass(frozen=True)
class ShardFile:
    """One shard: file name, size in bytes, SHA-256 of the file, number of samples (may be 0), and the offsets in bytes
    of `image` and `mask`."""

    file: str
    bytes: int
    sha256: str
    count: int
    image: int
    mask: int


@dataclass(frozen=True)
class Manifest:
    """Content of a data set. A sample's number is its index in `samples`; `size` and `truth_size` are (height, width).
    `digest` is the SHA-256 of manifest.json, which identifies the whole data set, as it holds the shards' digests."""

    folder: Path
    classes: tuple[str, ...]
    size: tuple[int, int]
    truth_size: tuple[int, int]
    folds: int
    seed: int
    fingerprint: dict[str, Any]
    shards: tuple[ShardFile, ...]
    samples: tuple[Sample, ...]
    rejected: int
    digest: str

    @classmethod
    def load(cls, folder: Path | str) -> Manifest:
        """Read `folder`/manifest.json. Raises UsageError if it is not there or of another format version,
        DataError if it is damaged."""
        path = Path(folder) / MANIFEST
        try:
            text = path.read_bytes()
        except OSError as error:
            if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
                raise UsageError(f"{path} cannot be read: {error.strerror}") from error
            raise UsageError(f"{path} is not there; make the shards first: {remake(folder)}") from error
        try:
            content = json.loads(text)
            if content["format"] not in READABLE:
                raise UsageError(
                    f"{path} has format {content['format']}, this version reads {' and '.join(map(str, READABLE))}; "
                    f"make the shards again in a new folder: {remake(folder, 'NEW')}"
                )
            return cls(
                folder=Path(folder),
                classes=tuple(content["classes"]),
                size=(content["size"][0], content["size"][1]),
                truth_size=(content["truth_size"][0], content["truth_size"][1]),
                folds=content["folds"],
                seed=content["seed"],
                fingerprint=content["fingerprint"],
                shards=tuple(ShardFile(**shard) for shard in content["shards"]),
                samples=tuple(
                    Sample(**(s | {"areas": tuple(s["areas"]), "truth": tuple(s["truth"])})) for s in content["samples"]
                ),
                rejected=content["rejected"],
                digest=hashlib.sha256(text).hexdigest(),
            )
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise DataError(
                f"{path} is damaged ({type(error).__name__}: {error}); the command that made the shards "
                f"writes it again: {remake(folder)}"
            ) from error

    def indices(self, fold: int, training: bool) -> np.ndarray:
        """Numbers of the training samples (all folds except `fold`) or of the validation samples (`fold`): int64 (n,),
        ascending. Samples without a fold are in neither. Raises UsageError for a fold that does not exist."""
        if not 0 <= fold < self.folds:
            raise UsageError(f"fold {fold}: {self.folder} has folds 0 to {self.folds - 1}")
        folds = self._folds()
        return np.flatnonzero(((folds == fold) != training) & (folds != NO_FOLD))

    def without_fold(self) -> np.ndarray:
        """Numbers of the samples with pseudo-labels: int64 (n,), ascending."""
        return np.flatnonzero(self._folds() == NO_FOLD)

    def _folds(self) -> np.ndarray:
        return np.array([sample.fold for sample in self.samples], np.int64)


def joined(base: Manifest, more: Manifest) -> Manifest:
    """Both data sets as one: the samples of `base` keep their numbers, those of `more` follow. It is on no disk.

    Raises DataError if their images have different sizes.
    """
    if base.size != more.size:
        raise DataError(f"{more.folder} has images of {more.size}, {base.folder} of {base.size}")
    # Absolute paths, as the folder of the joined data set is that of `base`.
    shards = [replace(shard, file=str((more.folder / shard.file).absolute())) for shard in more.shards]
    samples = [replace(sample, shard=sample.shard + len(base.shards)) for sample in more.samples]
    return replace(
        base,
        shards=(*base.shards, *shards),
        samples=(*base.samples, *samples),
        rejected=base.rejected + more.rejected,
        digest=hashlib.sha256(f"{base.digest} {more.digest}".encode()).hexdigest(),
    )


def remake(folder: Path | str, out: Path | str | None = None, size: tuple[int, int] | None = None) -> str:
    """The command that makes the shards of `folder` again, there or in `out`, with the settings that its fingerprint or
    manifest records, or with another `size` (height, width). Shards of an earlier format are made in a new folder:
    formats are not mixed."""
    options: list[str] = []
    table = "--csv", "train.csv"
    for file in (FINGERPRINT, MANIFEST):
        try:
            recorded = json.loads((Path(folder) / file).read_bytes())["fingerprint"]
            if recorded.get("labels") == PSEUDO:
                return to_type("cloudseg.launch", "--stages", PSEUDO, "--run", "RUN")
            changed = {"size": f"{size[0]}x{size[1]}"} if size else {}
            for name in ("size", "shards", "folds", "seed"):
                options += [f"--{name}", str(changed.get(name, recorded[name]))]
            if recorded["allow_resize"]:
                options.append("--allow-resize")
            if groups := recorded.get("groups"):
                options += ["--groups", "provenance.csv" if groups == "table" else groups]
            content, _, label_size = recorded.get("labels", "").partition(" of ")
            if content == "boxes":
                table = "--boxes", "FILE"
            if label_size:
                options += ["--label-size", label_size]
            if recorded.get("format", FORMAT) != FORMAT:
                out = out or "NEW"
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            options = []
            continue
        break
    return to_type("preprocess", *table, "--images", "DIR", "--out", out or folder, *options)


class Shards:
    """Reads the samples of a data set by number. A shard is mapped into memory at its first use.

    Safe to use from many threads and across fork. Returned views are read-only.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self._opened: dict[int, _Shard] = {}
        self._opening = threading.Lock()

    def __len__(self) -> int:
        return len(self.manifest.samples)

    def name(self, number: int) -> str:
        """File name of the image."""
        return self.manifest.samples[number].name

    def image(self, number: int) -> np.ndarray:
        """RGB image, uint8 (H, W, 3): a view of the file. Raises DataError if the shard is damaged."""
        shard, index = self._find(number)
        return shard.image[index]

    def mask(self, number: int) -> np.ndarray:
        """Packed mask, uint8 (H, W): a view of the file. Raises DataError if the shard is damaged."""
        shard, index = self._find(number)
        return shard.mask[index]

    def truth(self, number: int) -> np.ndarray:
        """Packed ground truth, uint8 (350, 525). Raises DataError if the shard is damaged."""
        shard, _ = self._find(number)
        start, length = self.manifest.samples[number].truth
        try:
            raw = zlib.decompress(shard.bytes[start : start + length].data)
            return np.frombuffer(raw, np.uint8).reshape(self.manifest.truth_size)
        except (zlib.error, ValueError) as error:
            raise self._damaged(number, str(error)) from error

    def check(self, number: int, image: np.ndarray, mask: np.ndarray) -> None:
        """Raises DataError, naming sample and shard, if `image` and `mask` (contiguous) do not have the checksum of the
        sample. Takes some hundredths of a millisecond."""
        if crc32(mask.data, crc32(image.data)) != self.manifest.samples[number].crc32:
            raise self._damaged(number, "its checksum is not the one that was written")

    def verify(self, number: int) -> None:
        """Raises DataError, naming sample and shard, if image, mask or ground truth of the sample is damaged."""
        self.check(number, self.image(number), self.mask(number))
        self.truth(number)

    def _damaged(self, number: int, reason: str) -> DataError:
        sample = self.manifest.samples[number]
        path = self.manifest.folder / self.manifest.shards[sample.shard].file
        return DataError(
            f"{path} is damaged at sample {sample.index} ({sample.name}): {reason}; delete this file and "
            f"make it again: {remake(path.parent)}"
        )

    def _find(self, number: int) -> tuple[_Shard, int]:
        sample = self.manifest.samples[number]
        shard = self._opened.get(sample.shard)
        if shard is None:
            with self._opening:
                shard = self._opened.get(sample.shard) or _Shard(self.manifest, sample.shard)
                self._opened[sample.shard] = shard
        return shard, sample.index


class _Shard:
    """One shard, mapped into memory."""

    def __init__(self, manifest: Manifest, index: int) -> None:
        entry = manifest.shards[index]
        path = manifest.folder / entry.file
        try:
            size = path.stat().st_size
            if size != entry.bytes:
                raise DataError(
                    f"{path} has {size} bytes instead of {entry.bytes}; the command that made it makes it again: "
                    f"{remake(path.parent)}"
                )
            self.bytes = np.asarray(np.memmap(path, np.uint8, mode="r"))
        except OSError as error:
            raise DataError(
                f"{path} cannot be read ({error.strerror}); if it is gone, the command that made it makes it again: "
                f"{remake(path.parent)}"
            ) from error
        self.image = self._view(entry.image, (entry.count, *manifest.size, 3))
        self.mask = self._view(entry.mask, (entry.count, *manifest.size))

    def _view(self, start: int, shape: tuple[int, ...]) -> np.ndarray:
        return self.bytes[start : start + math.prod(shape)].reshape(shape)
