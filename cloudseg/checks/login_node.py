"""doctor's checks on the login node."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from cloudseg.checks import findings, job
from cloudseg.checks.findings import FAULT, FINE, NOTE, Finding
from cloudseg.core import provenance
from cloudseg.core.config import Settings
from cloudseg.core.errors import DataError, UsageError
from cloudseg.nets import names, weights
from cloudseg.slurm import commands, sbatch, sites
from cloudseg.slurm.script import Job
from cloudseg.slurm.sites import Site


def check(site: Site, file: str, changes: Mapping[str, Any], slurm_needed: bool) -> Iterator[Finding]:
    """Check the environment, the encoder's weights, Slurm, the account, the partition, and what sbatch says of jobs.

    `file` is that of the `site`; `changes` replace resources of training in it. Without Slurm on this machine the
    checks end, with a fault if `slurm_needed`.
    """
    yield Finding("environment", FINE, f"Python {provenance.versions()['python']} in {sys.prefix}")
    yield _weights()
    if not sbatch.is_there():
        if slurm_needed:
            yield Finding("Slurm", FAULT, "no sbatch on this machine", "use a login node of the cluster, or: --here")
        return
    yield Finding("Slurm", FINE, commands.query(["sbatch", "--version"]) or "")
    try:
        sites.require_account(site)
    except UsageError as error:
        yield Finding("account", FAULT, "jobs are charged to a project", str(error).partition("type first: ")[2])
    need = dataclasses.replace(site.train, **changes)
    if "partition" in changes:
        need = dataclasses.replace(need, time=job.WALLTIME)
    yield from findings.of_partition(site, need, job.partition(need.partition))
    for kind, resources in {"train": need, "evaluate": site.evaluate, "preprocess": site.preprocess}.items():
        asked = Job(kind, resources, "true", "/dev/null", site.options(resources))
        yield findings.of_answer(kind, asked, sbatch.ask(asked), file)


def _weights() -> Finding:
    """Whether the default network's pretrained weights are in the cache, with the published digest."""
    defaults = Settings(data="")
    encoder = names.parse(defaults.network)[1]
    try:
        weights.require(defaults.weights, encoder)
    except UsageError as error:
        return Finding("weights", NOTE, "missing", str(error).partition("on the login node: ")[2])
    except DataError as error:
        return Finding("weights", FAULT, *str(error).split("; on the login node: "))
    return Finding("weights", FINE, str(weights.cached(encoder)))
