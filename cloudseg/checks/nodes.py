"""What doctor checks on the nodes: submits its job, waits for it and reads what its ranks left."""

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
    """Run doctor's job in a new folder below `folder`, and keep the links that it measured there.

    `changes` replace what the site says of training's resources. Raises UsageError for what the site would refuse,
    CloudsegError if the job has not ended within `patience_s` seconds.
    """
    site = sites.load(site_name)
    need = job.asked(site, changes)
    sites.refuse(site, need)
    now = folder.resolve() / time.strftime("%Y%m%d-%H%M%S")
    now.mkdir(parents=True)
    exports = plan.job_exports(site_name, snapshot.code(now, live=False))
    batch = script.Job("doctor", need, "", str(now / "doctor.log"), site.sbatch, exports)
    number = job.submit(now, batch)
    print(f"job {number}: {need.nodes} x {need.tasks_per_node} ranks, {need.partition}; log {batch.log}", flush=True)
    job.wait(now, number, patience_s, lambda line: print(line, flush=True))
    seen = job.seen(now)
    conditions = links.conditions(site, need.partition)
    if measured := findings.links(seen.ranks, need, time.strftime("%Y-%m-%d"), conditions):
        links.save(measured, sites.file(site_name).stem, folder)
    yield from findings.of_ranks(seen.ranks, need, provenance.versions())
    yield from findings.of_signals(seen.heard, need.nodes * need.tasks_per_node, seen.requeued_s)
