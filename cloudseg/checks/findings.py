"""What doctor makes of what it saw: pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cloudseg.performance.links import Measured
from cloudseg.slurm import durations
from cloudseg.slurm.sites import Resources, Site

FINE, NOTE, FAULT = "fine", "note", "FAULT"

SLOW_MEETING_S = 60
SLOW_DISK = 50e6
"""Bytes a second: a checkpoint of 300 MB then takes 6 seconds."""
SLOW_NETWORK = 0.2e9
"""Bytes a second of allreduce: the gradients of a ResNet-34 U-Net then take half a second a step."""
SMALL_TMPDIR = 10e9


@dataclasses.dataclass(frozen=True)
class Finding:
    what: str
    state: str
    found: str
    todo: str = ""


def of_partition(site: Site, need: Resources, said: Mapping[str, str]) -> Iterator[Finding]:
    """The site's file against `said`, what Slurm says of the partition that training asks for; empty if there is
    none."""
    what = f"partition {need.partition}"
    if not said:
        yield Finding(what, FAULT, "Slurm has none of this name", "name another in the site's file (sinfo lists them)")
        return
    longest, asked = durations.seconds(said.get("MaxTime", "")), durations.seconds(need.time)
    if longest is not None and asked is not None and asked > longest:
        yield Finding(what, FAULT, f"gives {said['MaxTime']}, and {need.time} is asked for", "lower `time` in the file")
    else:
        yield Finding(what, FINE, f"up to {said.get('MaxTime', '?')}, {said.get('TotalNodes', '?')} nodes")
    limit = site.partitions.get(need.partition)
    if limit and limit.time and longest is not None and durations.seconds(limit.time) != longest:
        yield Finding(
            "site file", NOTE, f"says {limit.time} for {need.partition}, Slurm {said['MaxTime']}", "correct the file"
        )


def of_ranks(ranks: Sequence[Mapping[str, Any]], asked: Resources, login: Mapping[str, str]) -> Iterator[Finding]:
    """From what the ranks left, see `cloudseg.checks.rank`; `login`: versions on the login node."""
    if len(ranks) < asked.nodes * asked.tasks_per_node:
        yield Finding(
            "ranks", FAULT, f"{len(ranks)} of {asked.nodes * asked.tasks_per_node} came to an end",
            "the reason is in the job's log",
        )  # fmt: skip
    if not ranks:
        return
    hosts = sorted({each["host"] for each in ranks})
    yield Finding("nodes", FINE, f"{len(ranks)} ranks on {', '.join(hosts)}; {ranks[0]['cpus']} CPUs a rank")
    differing = sorted({name for each in ranks for name in login if each["versions"].get(name) != login[name]})
    if differing:
        yield Finding("versions", FAULT, f"{', '.join(differing)} not as here", "run env/setup.sh, on a shared disk")
    else:
        yield Finding("versions", FINE, f"Python {login['python']} and all packages as on the login node")
    yield _of_gpus(ranks, asked)
    meeting = max(each["meeting_s"] for each in ranks)
    yield Finding(
        "start-up", NOTE if meeting > SLOW_MEETING_S else FINE, f"all had met after {meeting:.1f} s (Gloo, no PMI)",
        "the environment may lie on a slow disk" if meeting > SLOW_MEETING_S else "",
    )  # fmt: skip
    speeds = [each["allreduce_bytes_per_s"] for each in ranks if each["allreduce_bytes_per_s"]]
    if speeds:
        slow = min(speeds) < SLOW_NETWORK
        yield Finding(
            "allreduce", NOTE if slow else FINE, f"{min(speeds) / 1e9:.2f} GB/s over all ranks",
            "name the fast network in the site's file: [environment] CLOUDSEG_INTERFACE, NCCL_SOCKET_IFNAME" * slow,
        )  # fmt: skip
    yield from _of_disks(ranks)
    online = any(each["internet"] for each in ranks)
    yield Finding("internet", FINE, "nodes reach it; nothing needs it" if online else "none on nodes; nothing needs it")


def links(
    ranks: Sequence[Mapping[str, Any]], asked: Resources, day: str, conditions: dict[str, Any]
) -> Measured | None:
    """What the ranks' allreduce says of the links between them; None if they had none, or not all came, or only some
    had a GPU."""
    speeds = [each["allreduce_bytes_per_s"] for each in ranks]
    if len(ranks) < asked.nodes * asked.tasks_per_node or not speeds or None in speeds:
        return None
    kinds = {name for each in ranks for name in each["gpus"] or [""]}
    if "" in kinds and len(kinds) > 1:
        return None
    size = ranks[0]["allreduce_bytes"]
    gpu = ", ".join(sorted(kinds))
    return Measured(asked.nodes, asked.tasks_per_node, size, size / min(speeds), day, gpu, conditions)


def _of_gpus(ranks: Sequence[Mapping[str, Any]], asked: Resources) -> Finding:
    seen = sorted({name for each in ranks for name in each["gpus"]})
    without = sorted({each["rank"] for each in ranks if not each["gpus"]})
    if not asked.gpus_per_node:
        return Finding("GPUs", FINE, "none asked for")
    if without:
        return Finding(
            "GPUs", FAULT, f"ranks {', '.join(map(str, without))} see none; the job has {asked.gpus_per_node} a node",
            "does nvidia-smi work on the node? was env/setup.sh told of GPUs?",
        )  # fmt: skip
    memory = sorted({size for each in ranks for size in each["gpu_memory"]})
    return Finding("GPUs", FINE, f"each rank sees {', '.join(seen)} ({', '.join(memory) or 'memory unknown'})")


def _of_disks(ranks: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    winners, blind = sum(each["won"] for each in ranks), [each for each in ranks if each["sees"] < len(ranks)]
    if blind:
        yield Finding(
            "shared folder", FAULT, f"{blind[0]['host']} does not see what others renamed there within 30 s",
            "runs must lie on a disk that all nodes share",
        )  # fmt: skip
    elif winners != 1:
        yield Finding(
            "shared folder", FAULT, f"{winners} ranks made the same file", "locks do not work: use another disk"
        )
    else:
        yield Finding("shared folder", FINE, "renames are seen by all, of those who lock one wins")
    for what, key in (("shared folder", "shared_bytes_per_s"), ("TMPDIR", "tmpdir_bytes_per_s")):
        speed = min(each[key] for each in ranks)
        slow = speed < SLOW_DISK
        yield Finding(
            what, NOTE if slow else FINE, f"{speed / 1e6:.0f} MB/s a rank, all at once",
            "checkpoints will take long: [checkpoint] every_minutes, keep" * (slow and what != "TMPDIR"),
        )  # fmt: skip
    free, folder = min((each["tmpdir_free_bytes"], each["tmpdir"]) for each in ranks)
    small = free < SMALL_TMPDIR
    yield Finding(
        "TMPDIR", NOTE if small else FINE, f"{folder}: {free / 1e9:.0f} GB free",
        "too small for a copy of the shards (CLOUDSEG_NODE_FOLDER)" * small,
    )  # fmt: skip


def of_signals(heard: Mapping[str, float], ranks: int, requeued_s: float | None) -> Iterator[Finding]:
    """Seconds after which each rank heard the signal, and after which the job, requeued, ran again; None if it did
    not."""
    if len(heard) == ranks:
        yield Finding("signals", FINE, f"USR2 reached every rank within {max(heard.values()):.1f} s")
    else:
        yield Finding(
            "signals", FAULT, f"USR2 reached {len(heard)} of {ranks} ranks",
            "stages cannot save before the walltime: checkpoint often, new runs with --set checkpoint.every_minutes=2",
        )  # fmt: skip
    if requeued_s is not None:
        yield Finding("requeue", FINE, f"the job went back into the queue and ran again after {requeued_s:.0f} s")
    else:
        yield Finding(
            "requeue", FAULT, "the job did not run again",
            "is it allowed (scontrol show config | grep JobRequeue)? else, each time: python -m cloudseg.resume RUN",
        )  # fmt: skip
