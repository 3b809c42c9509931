"""`launch --check`: asks Slurm whether it would accept the jobs of a launch. Writes and submits nothing."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from cloudseg.core import tables
from cloudseg.core.errors import UsageError
from cloudseg.slurm import limits, refusals, sbatch, sites
from cloudseg.slurm.sbatch import Answer
from cloudseg.slurm.script import Job


def require_slurm(in_slurm: bool) -> None:
    """Raises UsageError if the jobs would run on this machine, without Slurm."""
    if not in_slurm:
        raise UsageError(
            "--check asks Slurm, and these jobs would run on this machine without it; leave out --check, or type the "
            "same on a login node of a cluster"
        )


def show(args: argparse.Namespace, jobs: Sequence[Job]) -> None:
    """Print one line for each kind of job among `jobs`: what it requests, and what Slurm says.

    Raises UsageError, with what to change, if Slurm refuses a kind or if `jobs` exceed limits of the cluster.
    """
    sbatch.require(sites.load(args.site))
    file = str(sites.file(args.site))
    asked = [(kind, job, sbatch.ask(job)) for kind, job in kinds(jobs).items()]
    header = ("jobs", "request", "Slurm")
    print("\n".join(tables.table([header, *(row(kind, job, answer) for kind, job, answer in asked)])), flush=True)
    todo = [
        f"{kind}: {refusals.advice(answer.said, refusals.table(job.name), file)}"
        for kind, job, answer in asked
        if not answer.accepted
    ]
    limits.require(jobs, limits.read(jobs))  # first: of a large array Slurm says only that it is invalid
    if todo:
        raise UsageError(f"Slurm refuses {len(todo)} of {len(asked)} kinds of jobs; {'; '.join(todo)}")


def kinds(jobs: Sequence[Job]) -> dict[str, Job]:
    """Names of jobs with equal requests, separated by commas -> one of these jobs."""
    equal: dict[tuple[object, ...], list[Job]] = {}
    for job in jobs:
        equal.setdefault((job.resources, job.sbatch, job.array, job.elastic), []).append(job)
    return {", ".join(dict.fromkeys(job.name for job in of_kind)): of_kind[0] for of_kind in equal.values()}


def row(kind: str, job: Job, answer: Answer) -> tuple[str, str, str]:
    """The line of one kind of job: its name, what it requests, and the answer."""
    need = job.resources
    shape = f"{need.nodes} x {need.tasks_per_node}" if need.gpus_per_node else f"{need.cpus_per_task} CPUs"
    said = "; ".join(filter(None, ["accepted", answer.said])) if answer.accepted else f"refused: {answer.said}"
    return kind, f"{need.partition}, {shape}, {need.time}", said
