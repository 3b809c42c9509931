"""Writes manifest.json and rejected.csv from the records of all shards; the process that finishes last does it."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cloudseg.core.atomic import replacing
from cloudseg.core.errors import UsageError
from cloudseg.data.labels import CLASSES, Rejection
from cloudseg.data.shards import FORMAT, MANIFEST, TRUTH_SIZE
from preprocess.write import read_record

REJECTED = "rejected.csv"


def assemble(
    out: Path, fingerprint: dict[str, Any], size: tuple[int, int], rejected: Sequence[Rejection] = ()
) -> dict[str, Any] | None:
    """Write rejected.csv and then manifest.json if all shards exist; returns the manifest's content, or None.

    `rejected` are the rejections that are in no record of a shard.
    Several processes may do this at the same time, as they write the same bytes. Raises UsageError, after writing
    rejected.csv, if all images are rejected.
    """
    count = fingerprint["shards"]
    records = [record for i in range(count) if (record := read_record(out, i, fingerprint))]
    if len(records) < count:
        return None
    rejected = [*rejected, *(Rejection(**entry) for record in records for entry in record["rejected"])]
    write_rejected(out / REJECTED, rejected)
    manifest = {
        "format": FORMAT,
        "classes": CLASSES,
        "size": size,
        "truth_size": TRUTH_SIZE,
        "folds": fingerprint["folds"],
        "seed": fingerprint["seed"],
        "fingerprint": fingerprint,
        "rejected": len(rejected),
        "shards": [record["file"] for record in records],
        "samples": [sample for record in records for sample in record["samples"]],
    }
    if not manifest["samples"]:
        raise UsageError(f"all images are rejected: see {out / REJECTED} for the reasons")
    with replacing(out / MANIFEST) as temporary:
        temporary.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return manifest


def write_rejected(path: Path, rejected: list[Rejection]) -> None:
    """Write the rejected rows and images, in order of line, below a header."""
    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as handle,
    ):
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(("line", "image", "field", "reason"))
        for rejection in sorted(rejected, key=lambda r: (r.line, r.image, r.field)):
            writer.writerow((rejection.line or "", rejection.image, rejection.field, rejection.reason))
