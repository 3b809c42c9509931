"""Limits of a cluster on numbers of jobs, as far as Slurm's commands answer. Parsing and comparing are pure."""

from __future__ import annotations

import dataclasses
import getpass
import os
import re
from collections.abc import Iterable, Mapping, Sequence

from cloudseg.core.errors import UsageError
from cloudseg.core.run import PREPROCESS
from cloudseg.slurm import commands
from cloudseg.slurm.script import Job


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of a cluster; None and missing keys for unknown limits and no limit."""

    array_size: int | None = None
    """MaxArraySize: one more than the largest index of an array."""
    account: int | None = None
    """MaxSubmitJobs of the user's account: jobs in the queue, with each task of an array counted."""
    qos: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Name of a quality of service -> its MaxSubmitJobsPerUser."""
    partition_qos: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Partition -> the quality of service whose limits its jobs have besides their own."""


def read(jobs: Sequence[Job]) -> Limits:
    """The limits that apply to `jobs`; those that scontrol or sacctmgr do not tell are unknown."""
    show = ("sacctmgr", "--noheader", "--parsable2", "show")
    associations = commands.query([*show, "associations", f"user={getpass.getuser()}", "format=account,maxsubmitjobs"])
    partitions = {
        name: commands.query(["scontrol", "show", "partition", name, "--oneliner"]) or ""
        for name in sorted({job.resources.partition for job in jobs})
    }
    account = option_value([option for job in jobs for option in job.sbatch], "--account", "-A")
    return Limits(
        array_size=parse_array_size(commands.query(["scontrol", "show", "config"]) or ""),
        account=parse_associations(associations or "", account or os.environ.get("SBATCH_ACCOUNT", "")),
        qos=parse_qos(commands.query([*show, "qos", "format=name,maxsubmitjobsperuser"]) or ""),
        partition_qos={
            name: found[1] for name, text in partitions.items() if (found := re.search(r"\bQoS=([^/\s]+)(\s|$)", text))
        },
    )


def parse_array_size(config: str) -> int | None:
    """MaxArraySize in the output of `scontrol show config`."""
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", config, re.MULTILINE)
    return int(found[1]) if found else None


def parse_associations(text: str, account: str) -> int | None:
    """The largest limit in lines of "account|limit" for the `account`, or for all accounts if it is "".

    None if one of them has no limit.
    """
    rows = [line.split("|") for line in text.splitlines() if line.count("|") == 1]
    limits = [limit for name, limit in rows if account in ("", name)]
    return max(map(int, limits)) if limits and all(limit.isdecimal() for limit in limits) else None


def parse_qos(text: str) -> dict[str, int]:
    """Name -> limit, from lines of "name|limit"."""
    rows = (line.split("|") for line in text.splitlines() if line.count("|") == 1)
    return {name: int(limit) for name, limit in rows if limit.isdecimal()}


def option_value(options: Iterable[str], name: str, short: str) -> str:
    """The value of the last of the sbatch `options` with this name, as --qos=NAME or -qNAME; "" without one."""
    values = [
        option.removeprefix(prefix)
        for option in options
        for prefix in (f"{name}=", short)
        if option.startswith(prefix) and not (prefix == short and option.startswith("--"))
    ]
    return values[-1] if values else ""


def require(jobs: Sequence[Job], limits: Limits) -> None:
    """Raises UsageError, with what to type, if `jobs`, submitted together, exceed `limits`."""
    for job in jobs:
        if limits.array_size is not None and max(job.indices, default=0) >= limits.array_size:
            raise UsageError(
                f"{job.name}: its last array index is {max(job.indices)}, and this cluster has "
                f"MaxArraySize={limits.array_size}; type: --shards {limits.array_size}"
            )
    number = sum(job.tasks for job in jobs)
    counts: list[tuple[str, int | None, int]] = [("your account", limits.account, number)]
    for name, of_user in limits.qos.items():
        of_qos = [job for job in jobs if name in (option_value(job.sbatch, "--qos", "-q"), _of_partition(job, limits))]
        counts.append((f"the quality of service {name}", of_user, sum(job.tasks for job in of_qos)))
    shards = sum(job.tasks for job in jobs if job.name == PREPROCESS)
    for what, limit, counted in counts:
        if limit is None or counted <= limit:
            continue
        rest = limit - (counted - shards)
        fewer = f"type: --shards {rest}" if 0 < rest < shards else "queue fewer stages at a time, with --stages"
        raise UsageError(
            f"these are {counted} jobs, counting each task of an array, and {what} takes {limit} of a user at a time; "
            f"{fewer}"
        )


def _of_partition(job: Job, limits: Limits) -> str | None:
    return limits.partition_qos.get(job.resources.partition)
