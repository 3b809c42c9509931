"""The records of all shards -> manifest.json and rejected.csv, by whichever process finishes last."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from cloudseg.core.atomic import replacing
from cloudseg.core.errors import UsageError
from cloudseg.data.labels import CLASSES, Rejection
from cloudseg.data.shards import FORMAT, MANIFEST, TRUTH_SIZE
from preprocess.plan import Plan
from preprocess.write import read_record

REJECTED = "rejected.csv"


def assemble(out: Path, plan: Plan, size: tuple[int, int]) -> dict[str, Any] | None:
    """Write rejected.csv and then manifest.json if every shard is there; gives the manifest's content, or
    None.

    Several processes may do so at the same time: each writes the same bytes. Raises UsageError, with
    rejected.csv written, if not one image was good.
    """
    records = [record for i in range(len(plan.shards)) if (record := read_record(out, i, plan.fingerprint))]
    if len(records) < len(plan.shards):
        return None
    rejected = [*plan.rejected, *(Rejection(**entry) for record in records for entry in record["rejected"])]
    write_rejected(out / REJECTED, rejected)
    manifest = {
        "format": FORMAT,
        "classes": CLASSES,
        "size": size,
        "truth_size": TRUTH_SIZE,
        "folds": plan.fingerprint["folds"],
        "seed": plan.fingerprint["seed"],
        "fingerprint": plan.fingerprint,
        "rejected": len(rejected),
        "shards": [record["file"] for record in records],
        "samples": [sample for record in records for sample in record["samples"]],
    }
    if not manifest["samples"]:
        raise UsageError(f"not one image is good: see {out / REJECTED} for the reasons")
    with replacing(out / MANIFEST) as temporary:
        temporary.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return manifest


def write_rejected(path: Path, rejected: list[Rejection]) -> None:
    """Write the list of what was left out, ordered by line; an empty list gives the header alone."""
    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as handle,
    ):
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(("line", "image", "field", "reason"))
        for rejection in sorted(rejected, key=lambda r: (r.line, r.image, r.field)):
            writer.writerow((rejection.line or "", rejection.image, rejection.field, rejection.reason))
