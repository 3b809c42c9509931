"""Checks that images have not changed since their shards were made. The fingerprint has only their names and sizes."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cloudseg.core.errors import UsageError
from cloudseg.data.shards import MANIFEST
from preprocess.fingerprint import delete_command
from preprocess.images import ImageError, read_file
from preprocess.plan import Plan
from preprocess.write import read_record


def check_unchanged(out: Path, plan: Plan, shards: Iterable[int], threads: int) -> None:
    """Raises UsageError, which names an image and what to type, if an image of an existing shard has changed.

    Then shards are neither mixed nor deleted. Shards of versions that recorded no digests of images are not checked.
    """
    records = {i: record for i in shards if (record := read_record(out, i, plan.fingerprint))}
    digests = {i: record["image_digests"] for i, record in records.items() if "image_digests" in record}
    images = [(i, planned) for i in digests for planned in plan.shards[i]]
    if images:
        print(f"reading {len(images)} images to check that they have not changed since", file=sys.stderr)
    with ThreadPoolExecutor(threads) as pool:
        current = pool.map(lambda image: _digest(image[1].path), images)
        changed = [
            (i, planned.path)
            for (i, planned), digest in zip(images, current, strict=True)
            if digests[i].get(planned.labels.name) != digest
        ]
    if changed:
        shards_to_delete = sorted({f"{Path(records[i]['file']['file']).stem}.*" for i, _ in changed})
        more = f" ({len(changed) - 1} more images have changed)" if len(changed) > 1 else ""
        raise UsageError(
            f"{changed[0][1]} is not the image that {records[changed[0][0]]['file']['file']} was made of{more}. Give "
            f"another folder with --out, or delete the shards of changed images first: "
            f"{delete_command(out, *shards_to_delete, MANIFEST)}"
        )


def _digest(path: Path) -> str | None:
    """SHA-256 of a file, None if it cannot be read."""
    try:
        return hashlib.sha256(read_file(path)).hexdigest()
    except ImageError:
        return None
