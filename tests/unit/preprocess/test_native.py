"""The compiled part is that of the source at hand, or says what to type."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudseg.core.errors import CloudsegError
from preprocess import native


@pytest.fixture
def afresh() -> Iterator[None]:
    """The library is loaded anew within the test, and after it."""
    native.library.cache_clear()
    yield
    native.library.cache_clear()


def test_a_missing_library_is_answered_with_the_command_that_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, afresh: None
) -> None:
    monkeypatch.setattr(native, "LIBRARY", tmp_path / "libcloudseg-native.so")
    with pytest.raises(CloudsegError, match=r"libcloudseg-native\.so.*run env/setup\.sh"):
        native.library()


def test_a_library_of_another_source_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, afresh: None) -> None:
    folder = shutil.copytree(native.FOLDER, tmp_path / "native")
    with (folder / "cover.cpp").open("a") as file:
        file.write("\n")
    monkeypatch.setattr(native, "FOLDER", folder)
    with pytest.raises(CloudsegError, match=r"another version of .*run env/setup\.sh"):
        native.library()
