"""The layouts and codecs that are compared, as arguments of h5py's `create_dataset`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Job:
    """Shards to take samples from, the file of this codec, and how to read it."""

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
"""From the module hdf5plugin; plain h5py does not read what they write."""
CODECS = (*BUILT_IN, *PLUGINS)


def options(codec: str, sample: tuple[int, ...]) -> dict[str, Any]:
    """For a dataset whose samples have this shape; all but `contiguous` hold one sample a chunk.

    Raises ModuleNotFoundError where hdf5plugin is needed and missing.
    """
    if codec == "contiguous":
        return {}
    chosen = BUILT_IN.get(codec)
    if chosen is None:
        import hdf5plugin

        chosen = {"compression": PLUGINS[codec](hdf5plugin)}
    return chosen | {"chunks": (1, *sample)}
