"""Copies the code into the folder of a run. Jobs run this copy, so that later edits do not change queued jobs."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from cloudseg.core import atomic
from cloudseg.core.errors import UsageError
from cloudseg.core.provenance import CODE, ROOT, changes, revision

MAX_BYTES = 20_000_000
"""Maximum size of a copy, about twenty times the size of the project."""


def code(run: Path, live: bool, dry_run: bool = False) -> str:
    """The folder of the code that jobs of the run in `run` execute.

    A copy of this code, which is made unless `dry_run`; with `live` the folder of this code itself.
    """
    if live:
        return str(ROOT)
    folder = run / "code"
    return str(folder / "SNAPSHOT" if dry_run else take(folder))


def take(folder: Path) -> Path:
    """Copy the code into `folder`/DIGEST unless this copy exists; returns the folder of the copy.

    The copy has SNAPSHOT.json and, if the code differs from its git revision, CHANGES.diff. The digest is of the
    content of the files, so equal code is copied once. Raises UsageError if the code has more than MAX_BYTES.
    """
    files = sorted(
        path for part in CODE for path in (ROOT / part).rglob("*") if path.is_file() and "__pycache__" not in path.parts
    )
    sizes = {path: path.stat().st_size for path in files}
    if sum(sizes.values()) > MAX_BYTES:
        largest = max(files, key=lambda path: sizes[path])
        raise UsageError(
            f"the code is {sum(sizes.values()) / 1e6:.0f} MB and would be copied into every run; the largest is "
            f"{largest} ({sizes[largest] / 1e6:.0f} MB): move it elsewhere, or let jobs run the code in place: "
            "--no-snapshot"
        )
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    target = folder / digest.hexdigest()[:12]
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".snapshot-") as temporary:
        copy = Path(temporary) / "code"
        for path in files:
            destination = copy / path.relative_to(ROOT)
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, destination)
        atomic.write_json(copy / "SNAPSHOT.json", {"sha256": digest.hexdigest(), **revision()})
        if edits := changes():
            (copy / "CHANGES.diff").write_bytes(edits)
        try:
            copy.rename(target)
        except OSError:  # another launch has made the same copy
            if not target.exists():
                raise
    return target
