"""A copy of a data set on a node's own disk, for shared file systems that are slow or crowded."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

from cloudseg.core.atomic import clear_leftovers, replacing
from cloudseg.core.errors import CloudsegError, DataError, to_type
from cloudseg.data.shards import MANIFEST, Manifest, ShardFile

PIECE = 8 << 20


def copy_to_node(manifest: Manifest, folder: Path) -> str:
    """Copy the shards into a folder of their own in `folder`, by one process of a node; says in a line what was done.

    What is there already, from a start before, stays if its digest is right. Without room, or if the copy fails,
    nothing is copied: the data set is then read where it is. Raises DataError for a shard that is not what was written.
    """
    target = _target(manifest, folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
        clear_leftovers(target, "|".join(re.escape(name) for name in (MANIFEST, *(s.file for s in manifest.shards))))
        missing = [shard for shard in manifest.shards if not _is_there(target / shard.file, shard)]
        size, room = sum(shard.bytes for shard in missing), shutil.disk_usage(target).free
        if size > room:
            return f"{folder} has room for {room >> 20} of {size >> 20} MiB; shards are read from the data folder"
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
    """The copy that `copy_to_node` made on this node if there is one, else the data set itself."""
    target = _target(manifest, folder)
    if not (target / MANIFEST).exists():
        return manifest
    copied = Manifest.load(target)
    return copied if copied.digest == manifest.digest else manifest


def _target(manifest: Manifest, folder: Path) -> Path:
    return folder / f"cloudseg-{manifest.digest[:16]}"


def _is_there(path: Path, shard: ShardFile) -> bool:
    """Whether a copy from a start before is whole. Read to its end: a disk that was full or switched off may leave the
    right size and other bytes."""
    if not path.exists() or path.stat().st_size != shard.bytes:
        return False
    with path.open("rb") as copy:
        return hashlib.file_digest(copy, "sha256").hexdigest() == shard.sha256


def _copy(source: Path, target: Path, shard: ShardFile) -> None:
    digest = hashlib.sha256()
    with replacing(target) as temporary, source.open("rb") as reader, temporary.open("wb") as writer:
        while piece := reader.read(PIECE):
            digest.update(piece)
            writer.write(piece)
        if digest.hexdigest() != shard.sha256:
            raise DataError(f"{source} is damaged: type: {to_type('preprocess', '--verify', source.parent)}")
