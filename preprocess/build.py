"""Runs preprocessing: makes a plan, writes the missing shards in several processes, and assembles the manifest."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import cv2

from cloudseg.core.atomic import remove_temporary_files
from cloudseg.core.errors import CloudsegError, UsageError
from cloudseg.data.buffers import reuse_freed_memory
from cloudseg.data.labels import Rejection
from cloudseg.data.process_pool import Context, kill_all
from cloudseg.data.shards import MANIFEST
from preprocess.assemble import REJECTED, assemble
from preprocess.changes import check_unchanged
from preprocess.fingerprint import check_fingerprint, claim_folder
from preprocess.plan import Plan, PlannedImage, make_plan
from preprocess.progress import Progress
from preprocess.samples import Outcome
from preprocess.settings import Settings
from preprocess.write import Map, ShardJob, build_shard, read_record, strict_text

OUTPUTS = r"shard-\d{5}-of-\d{5}\.(?:h5|json)|manifest\.json|fingerprint\.json|rejected\.csv"
"""Regular expression of the names of the files that preprocessing writes."""


def build(settings: Settings, shard_index: int | None, workers: int, strict: bool) -> str:
    """Make all shards, or one, and return a summary line. Existing shards are kept.

    Raises UsageError for settings or data that cannot be used, CloudsegError if a process or the disk fails.
    """
    started = time.monotonic()
    plan = make_plan(settings)
    check_fingerprint(settings.out, plan.fingerprint)
    if plan.groups:
        print(plan.groups, file=sys.stderr)
    if strict and plan.rejected:
        raise UsageError(strict_text(plan.rejected[0]))
    claim_folder(settings.out, plan.fingerprint)
    remove_temporary_files(settings.out, of=OUTPUTS)
    wanted = _wanted(shard_index, len(plan.shards))
    records = {i: read_record(settings.out, i, plan.fingerprint) for i in wanted}
    for record in records.values():
        if strict and record and record["rejected"]:
            raise UsageError(strict_text(Rejection(**record["rejected"][0])))
    check_unchanged(settings.out, plan, wanted, workers)
    missing = [i for i in wanted if records[i] is None]
    if len(missing) < len(wanted):
        print(
            f"{len(wanted) - len(missing)} of {len(wanted)} shards exist and are kept",
            file=sys.stderr,
        )
    try:
        _build_missing([_job(settings, plan, i, strict) for i in missing], workers)
    except KeyboardInterrupt:
        remove_temporary_files(settings.out, of=OUTPUTS)  # temporary files of killed workers
        raise
    images = sum(len(plan.shards[i]) for i in missing)
    others = [i for i in range(len(plan.shards)) if i not in wanted]
    if others and _is_whole(settings.out, plan) and not (settings.out / MANIFEST).exists():
        # Only the last task of an array sees whether images have changed since the first task.
        check_unchanged(settings.out, plan, others, workers)
    return _summary(settings, plan, images, time.monotonic() - started)


def _wanted(shard_index: int | None, count: int) -> list[int]:
    if shard_index is None:
        return list(range(count))
    if not 0 <= shard_index < count:
        raise UsageError(f"--shard-index {shard_index}: the shards are numbered 0 to {count - 1} (--shards {count})")
    return [shard_index]


def _job(settings: Settings, plan: Plan, index: int, strict: bool) -> ShardJob:
    return ShardJob(
        out=settings.out,
        index=index,
        count=len(plan.shards),
        size=settings.size,
        fingerprint=plan.fingerprint,
        table=settings.table,
        any_size=settings.allow_resize,
        strict=strict,
        images=plan.shards[index],
    )


def _build_missing(jobs: list[ShardJob], workers: int) -> None:
    images = sum(len(job.images) for job in jobs)
    workers = min(workers, images)
    with Progress(images) as progress:
        if workers > 1:
            _build_in_pool(jobs, workers, progress)
            return
        cv2.setNumThreads(1)
        reuse_freed_memory()
        for job in jobs:
            build_shard(job, _counting(map, progress))


def _build_in_pool(jobs: list[ShardJob], workers: int, progress: Progress) -> None:
    with ProcessPoolExecutor(workers, Context(), _start_worker, (os.getpid(),)) as pool:
        try:
            # One process per shard, as long as all processes are busy; the images of the remaining shards are divided.
            whole = len(jobs) // workers * workers
            for done in as_completed([pool.submit(build_shard, job) for job in jobs[:whole]]):
                progress.advance(done.result())
            for job in jobs[whole:]:
                build_shard(job, _counting(pool.map, progress))
        except BrokenProcessPool as error:
            kill_all()  # the pool's SIGTERM is blocked in workers, and one may wait for a lock that the killed one held
            pool.shutdown(cancel_futures=True)  # its thread closes a pipe that Python's exit would write to
            raise CloudsegError(
                "a worker process was killed (out of memory?). Finished shards are kept; the same command resumes from "
                "here, with a smaller --workers if memory is short"
            ) from error
        except KeyboardInterrupt:
            kill_all()  # waiting for a shard may take minutes
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _counting(over: Map, progress: Progress) -> Map:
    """Wrap a map function so that `progress` counts its results."""

    def counted(make: Callable[[PlannedImage], Outcome], images: tuple[PlannedImage, ...]) -> Iterator[Outcome]:
        for outcome in over(make, images):
            yield outcome
            progress.advance(1)

    return counted


def _start_worker(parent: int) -> None:
    """Initialize a worker: one thread, and a watch that ends it if its parent is killed."""
    cv2.setNumThreads(1)
    reuse_freed_memory()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _summary(settings: Settings, plan: Plan, images: int, seconds: float) -> str:
    speed = f"{images} images read in {seconds:.1f} s, {images / max(seconds, 1e-9):.1f} images/s"
    manifest = assemble(settings.out, plan.fingerprint, settings.size, plan.rejected)
    if manifest is None:
        finished = _count(read_record(settings.out, i, plan.fingerprint) for i in range(len(plan.shards)))
        return (
            f"{speed}; {finished} of {len(plan.shards)} shards are in {settings.out}. The manifest is written with the "
            "last shard, or by the same command without --shard-index"
        )
    size = sum(shard["bytes"] for shard in manifest["shards"]) / 1e6
    return (
        f"{len(manifest['samples'])} samples in {len(plan.shards)} shards, {size:.0f} MB; "
        f"{manifest['rejected']} rejected (see {settings.out / REJECTED}); {speed}"
    )


def _is_whole(out: Path, plan: Plan) -> bool:
    return all(read_record(out, i, plan.fingerprint) for i in range(len(plan.shards)))


def _count(records: Iterable[object]) -> int:
    return sum(record is not None for record in records)
