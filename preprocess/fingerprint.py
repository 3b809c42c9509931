"""Fingerprint of a folder's shards, their inputs and settings, and checks against mixing shards of different ones."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from cloudseg.core.atomic import create
from cloudseg.core.errors import UsageError
from cloudseg.data.shards import FINGERPRINT, MANIFEST

FLAGS = {
    "format": "the shards' format",
    "labels": "the kind of label table",
    "labels_sha256": "the content of the label table",
    "images_sha256": "the names or sizes of the files in --images",
    "size": "--size",
    "shards": "--shards",
    "folds": "--folds",
    "seed": "--seed",
    "allow_resize": "--allow-resize",
    "groups": "--groups",
    "groups_sha256": "the grouping of the images",
}
"""Entries of a fingerprint, and their names for users. A data set without groups lacks the last two."""


def claim_folder(out: Path, fingerprint: dict[str, Any]) -> None:
    """Make the folder `out` and write its fingerprint file, unless it exists.

    If two commands with different settings start at the same time, one raises UsageError, as `check_fingerprint` does.
    """
    check_fingerprint(out, fingerprint)
    out.mkdir(parents=True, exist_ok=True)
    content = json.dumps({"fingerprint": fingerprint}, indent=1) + "\n"
    if not create(out / FINGERPRINT, content.encode()):
        check_fingerprint(out, fingerprint)


def check_fingerprint(out: Path, fingerprint: dict[str, Any]) -> None:
    """Raises UsageError if `out` holds shards with another fingerprint. They are neither mixed nor deleted."""
    for path in [out / FINGERPRINT, *sorted(out.glob("shard-*-of-*.json")), out / MANIFEST]:
        try:
            recorded = json.loads(path.read_bytes())["fingerprint"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        differences = [
            _difference(key, recorded.get(key), value)
            for key in FLAGS
            if recorded.get(key) != (value := fingerprint.get(key))
        ]
        if differences:
            raise UsageError(
                f"{out} holds shards with other settings ({path.name}: {'; '.join(differences)}). Give another folder "
                f"with --out, or delete them first: {delete_command(out, 'shard-*-of-*.*', FINGERPRINT, MANIFEST)}"
            )


def delete_command(out: Path, *patterns: str) -> str:
    """The shell command that deletes files of `out`; `patterns` are shell patterns. The files need not exist."""
    folder = shlex.quote(str(out))
    return " ".join(["rm -f", *(f"{folder}/{pattern}" for pattern in patterns)])


def _difference(key: str, recorded: Any, given: Any) -> str:
    if key.endswith("sha256"):
        return f"{FLAGS[key]} is another"
    there, here = ("not given" if value is None else value for value in (recorded, given))
    return f"{FLAGS[key]} is {there} there, {here} here"
