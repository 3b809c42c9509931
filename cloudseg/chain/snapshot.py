"""A copy of the code in the run's folder, which its jobs run: what is edited later does not change queued jobs."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from cloudseg.core import atomic
from cloudseg.core.errors import UsageError
from cloudseg.core.provenance import CODE, ROOT, changes, revision

MOST_BYTES = 20_000_000
"""Of a copy: some twenty times what the project has."""


def code(run: Path, live: bool, dry_run: bool = False) -> str:
    """The folder whose code the jobs of `run` execute: a copy of ours, which is made unless `dry_run`; or, `live`, ours
    itself."""
    if live:
        return str(ROOT)
    folder = run / "code"
    return str(folder / "SNAPSHOT" if dry_run else take(folder))


def take(folder: Path) -> Path:
    """Copy the code into `folder`/DIGEST unless it is there, with SNAPSHOT.json and, if it was edited since its git
    revision, CHANGES.diff; returns the copy's folder.

    The digest is over the code's bytes, so equal code is kept once. Raises UsageError if it is more than MOST_BYTES.
    """
    files = sorted(
        path for part in CODE for path in (ROOT / part).rglob("*") if path.is_file() and "__pycache__" not in path.parts
    )
    sizes = {path: path.stat().st_size for path in files}
    if sum(sizes.values()) > MOST_BYTES:
        largest = max(files, key=lambda path: sizes[path])
        raise UsageError(
            f"the code is {sum(sizes.values()) / 1e6:.0f} MB and would be copied into every run; the largest is "
            f"{largest} ({sizes[largest] / 1e6:.0f} MB): move it elsewhere, or have launch run the code as it lies: "
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
        except OSError:  # another launch was as quick
            if not target.exists():
                raise
    return target
