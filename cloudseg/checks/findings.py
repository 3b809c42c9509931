"""Findings of doctor, from its measurements. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cloudseg.performance.links import Measured
from cloudseg.slurm import durations, refusals
from cloudseg.slurm.sbatch import Answer
from cloudseg.slurm.script import Job
from cloudseg.slurm.sites import Resources, Site

FINE, NOTE, FAULT = "fine", "note", "FAULT"

SLOW_RENDEZVOUS_S = 60
SLOW_DISK = 50e6
"""Bytes per second; a checkpoint of 300 MB takes 6 s at this speed."""
SLOW_NETWORK = 0.2e9
"""Bytes per second of an allreduce; the gradients of a U-Net with ResNet-34 take half a second per step."""
SMALL_TMPDIR = 10e9
"""Bytes."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One row of doctor's table."""

    what: str
    """The checked part."""
    state: str
    """FINE, NOTE or FAULT."""
    found: str
    todo: str = ""


def of_partition(site: Site, need: Resources, partition: Mapping[str, str]) -> Iterator[Finding]:
    """Compare the site file with Slurm.

    `need`: resources of training; `partition`: fields of the partition from scontrol, {} if it does not exist.
    """
    what = f"partition {need.partition}"
    if not partition:
        yield Finding(what, FAULT, "Slurm has no partition of this name", "name another in the site file (see sinfo)")
        return
    limit_s, need_s = durations.seconds(partition.get("MaxTime", "")), durations.seconds(need.time)
    if limit_s is not None and need_s is not None and need_s > limit_s:
        yield Finding(
            what,
            FAULT,
            f"its limit is {partition['MaxTime']}, and {need.time} is requested",
            "lower `time` in the file",
        )
    else:
        yield Finding(what, FINE, f"up to {partition.get('MaxTime', '?')}, {partition.get('TotalNodes', '?')} nodes")
    known = site.partitions.get(need.partition)
    if known and known.time and limit_s is not None and durations.seconds(known.time) != limit_s:
        yield Finding(
            "site file",
            NOTE,
            f"has {known.time} for {need.partition}, Slurm has {partition['MaxTime']}",
            "correct the file",
        )


def of_answer(kind: str, job: Job, answer: Answer, file: str) -> Finding:
    """What sbatch says of a `job` of the table `kind` in the site `file`."""
    what = f"{kind} job"
    if not answer.accepted:
        return Finding(what, FAULT, f"Slurm refuses it: {answer.said}", refusals.advice(answer.said, kind, file))
    start = f"; {answer.said}" if answer.said else ""
    return Finding(what, FINE, f"Slurm would accept it in {job.resources.partition}{start}")


def of_ranks(ranks: Sequence[Mapping[str, Any]], need: Resources, login: Mapping[str, str]) -> Iterator[Finding]:
    """Findings from the measurements of the ranks, see `cloudseg.checks.rank`.

    `need`: resources of the job; `login`: package versions on the login node.
    """
    if len(ranks) < need.nodes * need.tasks_per_node:
        yield Finding(
            "ranks", FAULT, f"{len(ranks)} of {need.nodes * need.tasks_per_node} finished their checks",
            "the reason is in the job's log",
        )  # fmt: skip
    if not ranks:
        return
    hosts = sorted({each["host"] for each in ranks})
    yield Finding("nodes", FINE, f"{len(ranks)} ranks on {', '.join(hosts)}; {ranks[0]['cpus']} CPUs per rank")
    differing = sorted({name for each in ranks for name in login if each["versions"].get(name) != login[name]})
    if differing:
        yield Finding(
            "versions",
            FAULT,
            f"other than on the login node: {', '.join(differing)}",
            "run env/setup.sh, on a shared disk",
        )
    else:
        yield Finding("versions", FINE, f"Python {login['python']} and all packages as on the login node")
    yield _of_gpus(ranks, need)
    rendezvous = max(each["meeting_s"] for each in ranks)
    slow = rendezvous > SLOW_RENDEZVOUS_S
    yield Finding(
        "start-up", NOTE if slow else FINE, f"the rendezvous took {rendezvous:.1f} s (Gloo, no PMI)",
        "the environment may be on a slow disk" * slow,
    )  # fmt: skip
    speeds = [each["allreduce_bytes_per_s"] for each in ranks if each["allreduce_bytes_per_s"]]
    if speeds:
        slow = min(speeds) < SLOW_NETWORK
        yield Finding(
            "allreduce", NOTE if slow else FINE, f"{min(speeds) / 1e9:.2f} GB/s over all ranks",
            "name the fast network in the site file: [environment] CLOUDSEG_INTERFACE, NCCL_SOCKET_IFNAME" * slow,
        )  # fmt: skip
    yield from _of_disks(ranks)
    online = any(each["internet"] for each in ranks)
    yield Finding("internet", FINE, f"{'reachable' if online else 'not reachable'} from the nodes; not required")


def links(ranks: Sequence[Mapping[str, Any]], need: Resources, day: str, conditions: dict[str, Any]) -> Measured | None:
    """The measured allreduce of the ranks, from which `performance.links` computes the bandwidth of links.

    None for one rank, if a rank did not finish, or if only some ranks have a GPU.
    """
    speeds = [each["allreduce_bytes_per_s"] for each in ranks]
    if len(ranks) < need.nodes * need.tasks_per_node or not speeds or None in speeds:
        return None
    models = {name for each in ranks for name in each["gpus"] or [""]}
    if "" in models and len(models) > 1:
        return None
    size = ranks[0]["allreduce_bytes"]
    gpu = ", ".join(sorted(models))
    return Measured(need.nodes, need.tasks_per_node, size, size / min(speeds), day, gpu, conditions)


def _of_gpus(ranks: Sequence[Mapping[str, Any]], need: Resources) -> Finding:
    models = sorted({name for each in ranks for name in each["gpus"]})
    without = sorted({each["rank"] for each in ranks if not each["gpus"]})
    if not need.gpus_per_node:
        return Finding("GPUs", FINE, "none requested")
    if without:
        return Finding(
            "GPUs", FAULT, f"ranks {', '.join(map(str, without))} see none; the job has {need.gpus_per_node} per node",
            "check nvidia-smi on the node, and that the environment was made with env/setup.sh --gpu",
        )  # fmt: skip
    memory = sorted({size for each in ranks for size in each["gpu_memory"]})
    return Finding("GPUs", FINE, f"each rank sees {', '.join(models)} ({', '.join(memory) or 'memory unknown'})")


def _of_disks(ranks: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    creators = sum(each["won"] for each in ranks)
    stale = [each for each in ranks if each["sees"] < len(ranks)]
    if stale:
        yield Finding(
            "shared folder", FAULT, f"{stale[0]['host']} does not see files of other ranks within 30 s",
            "put runs on a disk that all nodes share",
        )  # fmt: skip
    elif creators != 1:
        yield Finding(
            "shared folder", FAULT, f"{creators} ranks created the same file", "locks do not work: use another disk"
        )
    else:
        yield Finding("shared folder", FINE, "all ranks see renamed files, and one of them gets the lock")
    for what, key in (("shared folder", "shared_bytes_per_s"), ("TMPDIR", "tmpdir_bytes_per_s")):
        speed = min(each[key] for each in ranks)
        slow = speed < SLOW_DISK
        yield Finding(
            what, NOTE if slow else FINE, f"{speed / 1e6:.0f} MB/s per rank, all ranks at once",
            "checkpoints take long: set [checkpoint] every_minutes, keep" * (slow and what != "TMPDIR"),
        )  # fmt: skip
    free, folder = min((each["tmpdir_free_bytes"], each["tmpdir"]) for each in ranks)
    small = free < SMALL_TMPDIR
    yield Finding(
        "TMPDIR", NOTE if small else FINE, f"{folder}: {free / 1e9:.0f} GB free",
        "too small for a copy of the shards (CLOUDSEG_NODE_FOLDER)" * small,
    )  # fmt: skip


def of_signals(received: Mapping[str, float], ranks: int, requeued_s: float | None) -> Iterator[Finding]:
    """Findings on signals and requeue.

    `received`: rank -> seconds until it received the signal; `ranks`: number of ranks; `requeued_s`: seconds until the
    requeued job ran again, None if it did not.
    """
    if len(received) == ranks:
        yield Finding("signals", FINE, f"USR2 reached every rank within {max(received.values()):.1f} s")
    else:
        yield Finding(
            "signals", FAULT, f"USR2 reached {len(received)} of {ranks} ranks",
            "stages cannot save before the walltime: checkpoint often, new runs with --set checkpoint.every_minutes=2",
        )  # fmt: skip
    if requeued_s is not None:
        yield Finding("requeue", FINE, f"the requeued job ran again after {requeued_s:.0f} s")
    else:
        yield Finding(
            "requeue", FAULT, "the requeued job did not run again",
            "is it allowed (scontrol show config | grep JobRequeue)? else, each time: python -m cloudseg.resume RUN",
        )  # fmt: skip
