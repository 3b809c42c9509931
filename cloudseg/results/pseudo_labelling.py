"""Labels pictures with the network of the stage before, and writes them as shards that the stage trains on.

Every step can be repeated: files of probabilities and shards are kept, and do not depend on the rank that writes them.
"""

from __future__ import annotations

import gc
import hashlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tensorflow as tf

from cloudseg.core import atomic
from cloudseg.core.errors import CloudsegError, Stopped, UsageError, to_type
from cloudseg.core.recipes import PSEUDO
from cloudseg.core.run import EVALUATE, Run
from cloudseg.data import pseudo_labels
from cloudseg.data.bitmask import has_data
from cloudseg.data.labels import Rejection
from cloudseg.data.shards import FINGERPRINT, FORMAT, MANIFEST, NO_FOLD, Manifest
from cloudseg.results import inference
from cloudseg.results.probabilities import Store, store_of
from cloudseg.results.sources import Pictures
from cloudseg.training import restore
from cloudseg.training.build import data_of
from cloudseg.training.log import log_line
from cloudseg.training.rank import Rank, on_rank_zero
from preprocess.assemble import REJECTED, assemble
from preprocess.build import OUTPUTS
from preprocess.samples import MadeSample
from preprocess.write import Target, read_record, write_record, write_shard


def prepare(run: Run, stage: str, rank: Rank) -> None:
    """Write the shards of the pictures that the network of the stage before labels, unless they are complete.

    There is a shard for each file of probabilities; ranks divide them. Pictures that cannot be read, and those that are
    not sure enough, are in rejected.csv. Once the shards are complete, the pictures are not read again.

    Raises UsageError if the stage before is not done, if pictures or weights have changed since the first shard, or if
    no picture is sure enough; Stopped after a signal, with the files so far on disk.
    """
    weights = restore.finished_before(run, stage)["weights_sha256"]
    folder, settings, manifest = run.pseudo_labels(stage), run.settings, data_of(run)
    # Only rank 0 looks for the manifest: an NFS client caches for up to a minute that a file does not exist.
    if rank.comm.gather(rank.comm.rank == 0 and _complete(folder, weights))[0]:
        return
    source = Pictures(Path(settings.unlabelled), None, True, "--unlabelled", "it is left out")
    pseudo_labels.check_names(source.names, manifest)
    rank.heartbeat.report_preparation(f"reads the pictures of {source.folder}")
    inference.find_digests(source, rank)
    before = str(run.previous_stage(stage))
    store = store_of(run, before, source, False, run.probabilities)
    rank.heartbeat.report_preparation(f"predicts {len(store)} pictures with the network of stage {before}")
    inference.fill(run, [(before, store)], source, rank)
    # The stage builds its own network, whose layers must have the same names as after a resume without prediction.
    tf.keras.backend.clear_session()
    gc.collect()

    fingerprint = _fingerprint(run, manifest, source, store, weights)
    problem = _claim(folder, fingerprint) if rank.comm.rank == 0 else ""
    if problem := rank.comm.gather(problem)[0]:
        raise UsageError(problem)
    rank.heartbeat.report_preparation(f"writes the labels of {len(store)} pictures")
    for part in range(rank.comm.rank, len(store.parts()), rank.comm.size):
        if read_record(folder, part, fingerprint) is None:
            target = Target(folder, part, len(store.parts()), manifest.size, fingerprint)
            _write_shard(target, run, store, source, weights, rank)
    rank.comm.barrier()
    on_rank_zero(rank, lambda: _write_manifest(run, folder, fingerprint, manifest.size, rank))


def _complete(folder: Path, weights: str) -> bool:
    """Whether `folder` has its manifest and all shards, of labels by the network with these `weights` (sha256)."""
    if not (folder / MANIFEST).exists():
        return False
    fingerprint = Manifest.load(folder).fingerprint
    shards = range(fingerprint["shards"])
    return fingerprint["weights_sha256"] == weights and all(read_record(folder, i, fingerprint) for i in shards)


def _fingerprint(run: Run, manifest: Manifest, source: Pictures, store: Store, weights: str) -> dict[str, Any]:
    """All that decides the bytes of the shards."""
    pictures = json.dumps([source.names, source.digests, source.about(manifest.size)], sort_keys=True)
    return {
        "format": FORMAT,
        "labels": PSEUDO,
        "weights_sha256": weights,
        "images_sha256": hashlib.sha256(pictures.encode(errors="surrogateescape")).hexdigest(),
        "pseudo_sure": run.settings.pseudo_sure,
        "pseudo_weight": run.settings.pseudo_weight,
        "size": f"{manifest.size[0]}x{manifest.size[1]}",
        "shards": len(store.parts()),
        "folds": manifest.folds,
        "seed": manifest.seed,
    }


def _claim(folder: Path, fingerprint: dict[str, Any]) -> str:
    """Write the fingerprint of the shards in `folder` unless it exists; returns why other shards cannot be added."""
    folder.mkdir(parents=True, exist_ok=True)
    atomic.remove_temporary_files(folder, of=OUTPUTS)
    content = json.dumps({"fingerprint": fingerprint}, indent=1) + "\n"
    if atomic.create(folder / FINGERPRINT, content.encode()):
        return ""
    recorded = json.loads((folder / FINGERPRINT).read_bytes())["fingerprint"]
    differing = [key for key in fingerprint if recorded.get(key) != fingerprint[key]]
    if not differing:
        return ""
    return (
        f"{folder} has labels of other pictures or weights ({', '.join(differing)} differ): restore them, or delete "
        f"{folder.parent}, and the same command labels and trains anew"
    )


def _write_shard(target: Target, run: Run, store: Store, source: Pictures, weights: str, rank: Rank) -> None:
    """Write one shard and its record, of the pictures of the file of probabilities with the number of the shard."""
    samples: list[MadeSample] = []
    rejected: list[Rejection] = []
    unreadable = store.skipped(target.index)
    for number in store.parts()[target.index]:
        if rank.stop.requested:
            raise Stopped("stopped while labelling pictures; the same command resumes from here")
        made: MadeSample | str = "cannot be read"
        if number not in unreadable:
            made = _sample(number, run, store, source, target.size, weights)
        if isinstance(made, MadeSample):
            samples.append(made)
        else:
            rejected.append(Rejection(0, source.names[number], "image", made))
        rank.heartbeat.progressed()
    digests = source.digests or []
    read = {source.names[number]: digests[number] or None for number in store.parts()[target.index]}
    atomic.with_retries(lambda: write_record(target, *write_shard(target, samples), rejected, read))


def _sample(
    number: int, run: Run, store: Store, source: Pictures, size: tuple[int, int], weights: str
) -> MadeSample | str:
    """The sample of a picture, or the reason why it is left out."""
    settings, probability, valid = run.settings, store.read(number), store.valid(number)
    if not valid.any():
        return "no pixel has data"
    confidence = pseudo_labels.confidence(probability, valid)
    truth = pseudo_labels.labels(probability, valid, settings.pseudo_sure)
    mask = cv2.resize(truth, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    if confidence < settings.pseudo_sure or not has_data(mask).any():
        return f"its mean confidence is {confidence:.3f}, and pseudo_sure is {settings.pseudo_sure:g}"
    return MadeSample(
        source.names[number],
        NO_FOLD,
        np.ascontiguousarray(source.read(number, size).image),
        mask,
        truth,
        settings.pseudo_weight * confidence,
        pseudo_labels.source(weights),
    )


def _write_manifest(run: Run, folder: Path, fingerprint: dict[str, Any], size: tuple[int, int], rank: Rank) -> None:
    """Write rejected.csv and manifest.json. Raises UsageError if no picture is sure enough."""
    try:
        written = assemble(folder, fingerprint, size)
    except UsageError as error:
        lower = run.relaunch(f"pseudo_sure={(0.5 + run.settings.pseudo_sure) / 2:g}")
        evaluate = to_type("cloudseg.launch", "--stages", EVALUATE, "--run", run.path)
        raise UsageError(
            f"no picture of {run.settings.unlabelled} is sure enough to be labelled, see {folder / REJECTED}; begin "
            f"another run with a lower limit: {lower}; or score the stages that are done: {evaluate}"
        ) from error
    if written is None:
        raise CloudsegError(f"{folder}: shards of other ranks are not visible on this node; the same command resumes")
    made = Manifest.load(folder)
    log_line(
        rank.comm,
        f"pseudo-labels of {len(made.samples)} pictures in {folder}; {made.rejected} left out, see {folder / REJECTED}",
    )
