"""Queues the jobs of a run and prevents that a job is queued twice."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterable, Iterator

from cloudseg.chain import launch_options, plan, preprocessing, snapshot
from cloudseg.core import atomic, lock, run
from cloudseg.core.errors import to_type
from cloudseg.core.run import Run
from cloudseg.core.signals import stop
from cloudseg.slurm import limits, sbatch, script, sites


@contextlib.contextmanager
def launch_lock(prepared: Run, args: argparse.Namespace) -> Iterator[None]:
    """Context manager: holds the launch lock of the run, so that no other launch queues jobs of it.

    Raises UsageError if jobs cannot be submitted here or another launch holds the lock.
    """
    sbatch.require(sites.load(args.site))
    prepared.jobs.mkdir(parents=True, exist_ok=True)
    refusal = "wait until it has queued its jobs; if it is gone, delete that file"
    # The lock covers the query of queued jobs and the submission: a second launch then finds the jobs of the first.
    with lock.hold(prepared.jobs / "launch.lock", "", lambda owner: False, refusal), stop.deferred():
        yield  # a signal between submission and record would cause the job to be queued again


def announce(name: str, job: script.Job, number: str) -> None:
    """Print the line of a queued job: its id, resources and log."""
    need = job.resources
    shape = f"{need.nodes} node{'s' * (need.nodes > 1)} x {need.tasks_per_node} ranks"
    if name == run.PREPROCESS:
        shape = f"{job.tasks} tasks of {need.cpus_per_task} CPUs"
    if planned := dict(job.exports).get(script.PLANNED_RANKS):
        shape += f" that do the work of {planned} ranks"
    print(f"{name:9} job {number}: {shape}, {need.partition}, at most {need.time}; log {job.log}", flush=True)


def require_limits(prepared: Run, args: argparse.Namespace, code: str, jobs: Iterable[script.Job]) -> None:
    """Raises UsageError if `jobs`, with preprocessing if `args.source` is set, exceed limits of the cluster."""
    together = [*([plan.preprocessing_job(prepared.path, args, code)] if args.source else []), *jobs]
    limits.require(together, limits.read(together))


def queue_preprocessing(prepared: Run, args: argparse.Namespace, code: str) -> str:
    """Submit the preprocessing array if `args.source` is set; returns its id, else ""."""
    if not args.source:
        return ""
    if note := preprocessing.left_out_note(sites.load(args.site)):
        print(note, file=sys.stderr)
    job = plan.preprocessing_job(prepared.path, args, code)
    number = sbatch.submit(job, prepared.jobs / f"{run.PREPROCESS}.sbatch")
    atomic.write_json(prepared.jobs / "queued.json", {**prepared.queued(), run.PREPROCESS: number})
    announce(run.PREPROCESS, job, number)
    return number


def queue_chain(prepared: Run, stages: list[str], args: argparse.Namespace) -> None:
    """Submit `stages` as a chain, unless jobs of this run are queued already."""
    from cloudseg.chain import submission  # imports submitit, which --help does not need

    active = submission.queued(prepared)
    if active:
        listed = ", ".join(f"{stage} {number}" for stage, number in active.items())
        print(f"{args.run}: these jobs are queued already, so nothing is queued twice: {listed}")
        print(f"to stop them: {to_type('cloudseg.cancel', args.run)}")
        return
    code = snapshot.code(prepared.path, args.no_snapshot)
    jobs = plan.stage_jobs(prepared.path, stages, args, code, prepared.settings)
    require_limits(prepared, args, code, jobs.values())
    after = queue_preprocessing(prepared, args, code)
    submission.submit(prepared, jobs, lambda stage, number: announce(stage, jobs[stage], number), after)
    epilogue(prepared, args, "each job starts when the one before has succeeded")


def epilogue(prepared: Run, args: argparse.Namespace, order: str) -> None:
    """Save the options for `resume`, and print `order`, in which jobs start, and the commands to type next."""
    launch_options.save(prepared, args)
    print(order)
    print(f"watch: {to_type('cloudseg.status', args.run, '--watch')}")
    print(f"follow: {to_type('cloudseg.logs', args.run, '--follow')}")
    print(f"stop all: {to_type('cloudseg.cancel', args.run)}")
