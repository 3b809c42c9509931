"""A copy of the code in the run's folder, which its jobs run: what is edited later does not change queued jobs."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from cloudseg.atomic import write_json
from cloudseg.provenance import CODE, ROOT, revision


def take(folder: Path) -> Path:
    """Copy the code into `folder`/DIGEST unless it is there, with SNAPSHOT.json; returns the copy's folder.

    The digest is over the code's bytes, so equal code is kept once.
    """
    files = sorted(
        path for part in CODE for path in (ROOT / part).rglob("*") if path.is_file() and "__pycache__" not in path.parts
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
        write_json(copy / "SNAPSHOT.json", {"sha256": digest.hexdigest(), **revision()})
        try:
            copy.rename(target)
        except OSError:  # another launch was as quick
            if not target.exists():
                raise
    return target
