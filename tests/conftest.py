from __future__ import annotations

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
