"""Layouts and codecs to compare, as arguments of h5py's `create_dataset`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Job:
    """Shards with the samples, the codec and its file. With `mapped` the file is read through a memory map."""

    shards: Path
    samples: int
    codec: str
    file: Path
    seconds: float
    mapped: bool = False


BUILT_IN: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "chunked": {},
    "lzf": {"compression": "lzf"},
    "gzip1": {"compression": "gzip", "compression_opts": 1},
}
PLUGINS: dict[str, Callable[[Any], Any]] = {
    "lz4": lambda plugin: plugin.LZ4(),
    "zstd": lambda plugin: plugin.Zstd(),
    "blosc2": lambda plugin: plugin.Blosc2(cname="lz4"),
}
"""Codecs of the package hdf5plugin; h5py alone cannot read their files."""
CODECS = (*BUILT_IN, *PLUGINS)


def options(codec: str, sample: tuple[int, ...]) -> dict[str, Any]:
    """Arguments for a dataset with samples of this shape; except for `contiguous`, one sample per chunk.

    Raises ModuleNotFoundError if hdf5plugin is needed and not installed.
    """
    if codec == "contiguous":
        return {}
    chosen = BUILT_IN.get(codec)
    if chosen is None:
        import hdf5plugin

        chosen = {"compression": PLUGINS[codec](hdf5plugin)}
    return chosen | {"chunks": (1, *sample)}
