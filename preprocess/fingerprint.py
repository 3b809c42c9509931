"""What a folder's shards were made from and how, and the refusal to mix them with shards made otherwise."""

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
}
"""The entries of a fingerprint, and what a user knows them as."""


def claim(out: Path, fingerprint: dict[str, Any]) -> None:
    """Make `out` a folder for shards of this fingerprint, so that of two runs that begin at once with different
    settings one is refused. Raises UsageError as `refuse_other` does."""
    refuse_other(out, fingerprint)
    out.mkdir(parents=True, exist_ok=True)
    content = json.dumps({"fingerprint": fingerprint}, indent=1) + "\n"
    if not create(out / FINGERPRINT, content.encode()):
        refuse_other(out, fingerprint)


def refuse_other(out: Path, fingerprint: dict[str, Any]) -> None:
    """Raises UsageError if `out` holds shards of another fingerprint: they are neither mixed with nor
    deleted."""
    for path in [out / FINGERPRINT, *sorted(out.glob("shard-*-of-*.json")), out / MANIFEST]:
        try:
            there = json.loads(path.read_bytes())["fingerprint"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        differing = [
            _difference(key, there.get(key), fingerprint[key]) for key in FLAGS if there.get(key) != fingerprint[key]
        ]
        if differing:
            raise UsageError(
                f"{out} holds shards made otherwise ({path.name}: {'; '.join(differing)}). Give another folder with "
                f"--out, or delete them first: {to_delete(out, 'shard-*-of-*.*', FINGERPRINT, MANIFEST)}"
            )


def to_delete(out: Path, *patterns: str) -> str:
    """What to type to delete files of `out`, some of which may not be there; `patterns` as the shell takes them."""
    folder = shlex.quote(str(out))
    return " ".join(["rm -f", *(f"{folder}/{pattern}" for pattern in patterns)])


def _difference(key: str, there: Any, here: Any) -> str:
    if key.endswith("sha256"):
        return f"{FLAGS[key]} is another"
    return f"{FLAGS[key]} is {there} there, {here} here"
