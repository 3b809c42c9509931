"""The files of the competition "Understanding Clouds from Satellite Images": download, unpack, count.

Sources: the competition's pages "Data" (counts); documentation of Kaggle's client (github.com/Kaggle/kaggle-api).
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from cloudseg.core import atomic
from cloudseg.core.errors import CloudsegError, DataError, UsageError, to_type
from cloudseg.data import csv_rows

COMPETITION = "understanding_cloud_organization"
ARCHIVE = f"{COMPETITION}.zip"
ROWS = 22_184
"""Rows of train.csv without its header: four for each training image."""
IMAGES = {"train_images": 5_546, "test_images": 3_698}
"""Folder -> number of its images."""
_MEMBER = re.compile(rf"(?:train|sample_submission)\.csv|(?:{'|'.join(IMAGES)})/[\w-]+\.jpg")
_PARTIAL = ".kaggle-download"
"""Folder in which the client writes, so that an interrupted download never has the archive's final name."""


def fetch(out: Path, environ: Mapping[str, str]) -> str:
    """Complete the competition's files in `out` and return a line that says what is there.

    Files that are there are kept, and an archive that is there is unpacked. Raises UsageError, with what to type, if
    a download is needed and Kaggle's client or its token is missing; CloudsegError if the client fails; DataError for
    a damaged archive, or if the numbers of rows and images are not those of the competition.
    """
    if not _problems(out):
        return _summary(out)
    archive = out / ARCHIVE
    if not archive.exists():
        _download(out, environ)
    _unpack(archive, out)
    if problems := _problems(out):
        raise DataError(
            f"{out}: {'; '.join(problems)}. Remove {archive}, then type: {_again(out)}. It downloads the archive again"
        )
    return _summary(out)


def has_token(environ: Mapping[str, str]) -> bool:
    """Whether Kaggle's client finds a token: in its variables, or in a file of its folder."""
    if environ.get("KAGGLE_API_TOKEN") or (environ.get("KAGGLE_USERNAME") and environ.get("KAGGLE_KEY")):
        return True
    home = Path(environ.get("HOME", "~")).expanduser()
    folders = [Path(environ["KAGGLE_CONFIG_DIR"])] if environ.get("KAGGLE_CONFIG_DIR") else []
    folders += [home / ".kaggle", Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "kaggle"]
    return any((folder / name).is_file() for folder in folders for name in ("kaggle.json", "access_token"))


def _download(out: Path, environ: Mapping[str, str]) -> None:
    client = shutil.which("kaggle", path=environ.get("PATH"))
    if not client or not has_token(environ):
        lacking = "its token is not found" if client else "the command `kaggle` is not found"
        raise UsageError(
            f"the competition's files are downloaded by Kaggle's client, and {lacking}. Accept the rules at "
            f"https://www.kaggle.com/c/{COMPETITION}, then type on a machine that has the client (pip install kaggle) "
            "and its token (~/.kaggle/kaggle.json, made at https://www.kaggle.com/settings):\n"
            f"  {_by_hand(out)}\n  {_again(out)}"
        )
    partial = out / _PARTIAL
    partial.mkdir(parents=True, exist_ok=True)
    command = [client, "competitions", "download", "-c", COMPETITION, "-p", str(partial)]
    code = subprocess.run(command, env=dict(environ), check=False).returncode
    if code or not zipfile.is_zipfile(partial / ARCHIVE):
        raise CloudsegError(
            f"Kaggle's client ended with exit code {code} and without {ARCHIVE}; see its lines above. Accept the "
            f"rules at https://www.kaggle.com/c/{COMPETITION}, then type: {_again(out)}"
        )
    (partial / ARCHIVE).replace(out / ARCHIVE)
    shutil.rmtree(partial)


def _unpack(archive: Path, out: Path) -> None:
    """Extract what belongs to the competition's data; each file is whole or absent. Files of the right size are kept.
    `zipfile` checks the CRC-32 of each."""
    atomic.remove_temporary_files(out, r".*")
    for folder in IMAGES:
        (out / folder).mkdir(parents=True, exist_ok=True)
        atomic.remove_temporary_files(out / folder, r".*")
    print(f"unpacking {archive}", flush=True)
    try:
        with zipfile.ZipFile(archive) as file:
            for member in file.infolist():
                path = out / member.filename
                if _MEMBER.fullmatch(member.filename) and not _is_there(path, member.file_size):
                    with atomic.replacing(path, sync=False) as temporary, temporary.open("wb") as target:
                        _copy(file, member, target)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{archive} is damaged: {error}. Remove it, then type: {_again(out)}") from None


def _copy(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: BinaryIO) -> None:
    with archive.open(member) as source:
        shutil.copyfileobj(source, target)


def _is_there(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _problems(out: Path) -> list[str]:
    """What is not as in the competition, a phrase each."""
    table = out / "train.csv"
    rows = _count_rows(table) if table.is_file() else 0
    found = [f"train.csv has {rows:,} rows in place of {ROWS:,}"] if rows != ROWS else []
    for folder, number in IMAGES.items():
        images = sum(1 for path in (out / folder).glob("*.jpg") if not path.name.startswith("."))
        if images != number:
            found.append(f"{folder} has {images:,} images in place of {number:,}")
    return found


def _count_rows(table: Path) -> int:
    with table.open("rb") as file:
        return max(0, sum(1 for _ in csv_rows.rows(file)) - 1)


def _summary(out: Path) -> str:
    images = " and ".join(f"{number:,} in {folder}" for folder, number in IMAGES.items())
    return f"{out}: complete, {ROWS:,} rows in train.csv, images: {images}"


def _by_hand(out: Path) -> str:
    return shlex.join(["kaggle", "competitions", "download", "-c", COMPETITION, "-p", str(out)])


def _again(out: Path) -> str:
    return to_type("cloudseg.fetch", "kaggle", "--out", out)
