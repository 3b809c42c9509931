"""doctor's checks on compute nodes: submits its job, waits for it and reads its measurements."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cloudseg.chain import plan, snapshot
from cloudseg.checks import findings, job
from cloudseg.checks.findings import Finding
from cloudseg.core import provenance
from cloudseg.performance import links
from cloudseg.slurm import script, sites


def check(site_name: str | None, changes: Mapping[str, Any], folder: Path, patience_s: float) -> Iterator[Finding]:
    """Run doctor's job in a new folder below `folder`, and save its allreduce measurement for `performance.links`.

    `changes` replace resources of training in the site file. Raises UsageError if the job exceeds limits of the site,
    CloudsegError if the job has not ended within `patience_s` seconds.
    """
    site = sites.load(site_name)
    need = job.resources(site, changes)
    sites.check_limits(site, need)
    job_folder = folder.resolve() / time.strftime("%Y%m%d-%H%M%S")
    job_folder.mkdir(parents=True)
    exports = plan.job_exports(site_name, snapshot.code(job_folder, live=False))
    batch = script.Job("doctor", need, "", str(job_folder / "doctor.log"), site.options(need), exports)
    number = job.submit(job_folder, batch)
    print(f"job {number}: {need.nodes} x {need.tasks_per_node} ranks, {need.partition}; log {batch.log}", flush=True)
    job.wait(job_folder, number, patience_s, lambda line: print(line, flush=True))
    results = job.results(job_folder)
    conditions = links.conditions(site, need.partition)
    if measured := findings.links(results.ranks, need, time.strftime("%Y-%m-%d"), conditions):
        links.save(measured, sites.file(site_name).stem, folder)
    yield from findings.of_ranks(results.ranks, need, provenance.versions())
    yield from findings.of_signals(results.received, need.nodes * need.tasks_per_node, results.requeued_s)
