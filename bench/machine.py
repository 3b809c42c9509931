"""Describes the machine and the package versions of a benchmark, without importing the packages."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "albumentations", "h5py", "hdf5plugin", "horovod", "numpy", "opencv-python-headless", "simplejpeg",
    "tensorflow", "tensorflow-cpu", "webdataset",
)  # fmt: skip


def machine() -> dict[str, Any]:
    versions = {"python": platform.python_version(), "kernel": platform.release()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {"cpu": _cpu(), "cores": len(os.sched_getaffinity(0)), "versions": versions}


def file_system(path: Path) -> str:
    """File system of `path`, as "ext4 at /"; it shows whether the path is on a disk or a tmpfs."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    # Of two mounts at one place, the later one hides the other.
    _, place, kind = max(
        (len(place), place, kind) for _, place, kind, *_ in mounts if path.resolve().is_relative_to(place)
    )
    return f"{kind} at {place}"


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
