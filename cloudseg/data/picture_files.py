"""Which files of a folder are pictures. Opens none of them."""

from __future__ import annotations

from pathlib import Path

from cloudseg.core.errors import UsageError

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")


def is_picture(path: Path) -> bool:
    """Whether a path in a folder is a picture: it has a suffix of SUFFIXES and is not hidden (as macOS's ._a.jpg), a
    folder or a pipe. A broken link counts as a picture, which cannot be read."""
    named = path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    return named and (path.is_file() or (path.is_symlink() and not path.exists()))


def names(folder: Path, option: str) -> list[str]:
    """The names of the pictures of a folder, sorted. Raises UsageError, which names the command line's `option` for the
    folder, if it is not a folder or has no picture."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; give one with pictures: {option} DIR")
    found = sorted(path.name for path in folder.iterdir() if is_picture(path))
    if not found:
        raise UsageError(f"{folder} holds no picture ({', '.join(SUFFIXES)}); give a folder with some: {option} DIR")
    return found
