"""Are the images still those that shards were made of? Names and sizes alone do not tell: a fingerprint has those."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cloudseg.core.errors import UsageError
from cloudseg.data.shards import MANIFEST
from preprocess.fingerprint import to_delete
from preprocess.images import ImageError, read_file
from preprocess.plan import Plan
from preprocess.write import read_record


def refuse_changed(out: Path, plan: Plan, shards: Iterable[int], threads: int) -> None:
    """Raises UsageError, which names an image and what to type, if one of these shards that are there was made of other
    content than the image has now: they are neither mixed with others nor deleted. Shards whose records are older than
    digests of images pass."""
    records = {i: record for i in shards if (record := read_record(out, i, plan.fingerprint))}
    digests = {i: record["image_digests"] for i, record in records.items() if "image_digests" in record}
    images = [(i, planned) for i in digests for planned in plan.shards[i]]
    if images:
        print(f"reading {len(images)} images, to see that they are those that shards were made of", file=sys.stderr)
    with ThreadPoolExecutor(threads) as pool:
        found = pool.map(lambda image: _digest(image[1].path), images)
        changed = [
            (i, planned.path)
            for (i, planned), digest in zip(images, found, strict=True)
            if digests[i].get(planned.labels.name) != digest
        ]
    if changed:
        others = sorted({f"{Path(records[i]['file']['file']).stem}.*" for i, _ in changed})
        more = f" (nor are {len(changed) - 1} more)" if len(changed) > 1 else ""
        raise UsageError(
            f"{changed[0][1]} is not the image that {records[changed[0][0]]['file']['file']} was made of{more}. Give "
            f"another folder with --out, or delete what was made of other images first: "
            f"{to_delete(out, *others, MANIFEST)}"
        )


def _digest(path: Path) -> str | None:
    """SHA-256 of a file, None if it cannot be read."""
    try:
        return hashlib.sha256(read_file(path)).hexdigest()
    except ImageError:
        return None
