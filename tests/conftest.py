from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from preprocess.build import build
from preprocess.settings import Settings
from tests.preprocess_source import write_source

# Hypothesis fails an example that takes long; on a busy machine any may.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Twelve images in three shards, not yet made. Not to be changed."""
    return write_source(tmp_path_factory.mktemp("source"), 12)


@pytest.fixture(scope="session")
def undisturbed(source: Settings) -> Path:
    """The data set made of them in one go. Not to be changed."""
    build(source, None, 2, strict=True)
    return source.out


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A disk of so many kB; called again, the same disk made larger."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = False

    def of(size: int) -> Path:
        nonlocal mounted
        options = f"{'remount,' if mounted else ''}size={size}k"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
        mounted = True
        return place

    if os.geteuid():
        pytest.skip("only root can mount a small disk")
    yield of
    if mounted:
        subprocess.run(["umount", str(place)], check=True)
