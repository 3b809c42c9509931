"""Copies a data set to a node's local disk, for slow or busy shared file systems."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

from cloudseg.core.atomic import remove_temporary_files, replacing
from cloudseg.core.errors import CloudsegError, DataError, to_type
from cloudseg.data.shards import MANIFEST, Manifest, ShardFile

BLOCK = 8 << 20


def copy_to_node(manifest: Manifest, folder: Path) -> str:
    """Copy the shards into a subfolder of `folder`; returns a log line. Call it in one process per node.

    Intact shards of an earlier copy are kept. If there is not enough space or the copy fails, the data set is read from
    its own folder. Raises DataError for a shard whose digest is wrong.
    """
    target = _target(manifest, folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
        remove_temporary_files(
            target, "|".join(re.escape(name) for name in (MANIFEST, *(s.file for s in manifest.shards)))
        )
        missing = [shard for shard in manifest.shards if not _is_intact(target / shard.file, shard)]
        size, free = sum(shard.bytes for shard in missing), shutil.disk_usage(target).free
        if size > free:
            return f"{folder} has {free >> 20} MiB free of {size >> 20} needed; shards are read from the data folder"
        for shard in missing:
            _copy(manifest.folder / shard.file, target / shard.file, shard)
        with replacing(target / MANIFEST) as temporary:
            shutil.copyfile(manifest.folder / MANIFEST, temporary)
    except DataError:
        raise
    except (OSError, CloudsegError) as error:
        return f"the shards are read from the data folder, as they could not be copied: {error}"
    return f"{size >> 20} MiB of shards copied to {target}"


def on_node(manifest: Manifest, folder: Path) -> Manifest:
    """Manifest of the copy that `copy_to_node` made on this node; `manifest` if there is none."""
    target = _target(manifest, folder)
    if not (target / MANIFEST).exists():
        return manifest
    copied = Manifest.load(target)
    return copied if copied.digest == manifest.digest else manifest


def _target(manifest: Manifest, folder: Path) -> Path:
    return folder / f"cloudseg-{manifest.digest[:16]}"


def _is_intact(path: Path, shard: ShardFile) -> bool:
    """Whether an earlier copy has the right content. The whole file is read: after a full disk or a power failure it
    may have the right size and other bytes."""
    if not path.exists() or path.stat().st_size != shard.bytes:
        return False
    with path.open("rb") as copy:
        return hashlib.file_digest(copy, "sha256").hexdigest() == shard.sha256


def _copy(source: Path, target: Path, shard: ShardFile) -> None:
    digest = hashlib.sha256()
    with replacing(target) as temporary, source.open("rb") as reader, temporary.open("wb") as writer:
        while block := reader.read(BLOCK):
            digest.update(block)
            writer.write(block)
        if digest.hexdigest() != shard.sha256:
            raise DataError(f"{source} is damaged: type: {to_type('preprocess', '--verify', source.parent)}")
